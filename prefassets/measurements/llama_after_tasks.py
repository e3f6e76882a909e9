"""The report's positivity experiment, with more tasks and bail-outs, and choices asked once the tasks are done."""

from prefassets.domain.preferences.active_learning import Plan
from prefassets.domain.preferences.measurement import Measurement, Revealed, Stated
from prefassets.domain.preferences.rating_questions import FRAMINGS, OPTIONS
from prefassets.domain.preferences.template import Template
from prefassets.domain.probes.extraction import Extraction

MEASUREMENT = Measurement(
    name="llama_after_tasks",
    question="How positive is Llama-3.1-8B about tasks, and does it choose differently once it has done them?",
    model="meta-llama/Llama-3.1-8B-Instruct",
    backend="in_process",
    revealed=Revealed(
        templates=(Template(instruction_position="after"), Template(instruction_position="after", seed=1)),
        asked=("before", "after"),
        plan=Plan(samples=2, pairs_per_round=500, most_comparisons=10_000),
    ),
    stated=Stated(framings=tuple(FRAMINGS), options=tuple(OPTIONS)),
    tasks=200,
    activations=Extraction(),
)
