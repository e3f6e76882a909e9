"""The tiny model's own preferences, small enough for a laptop: does the trunk say "nothing there" where nothing is?"""

from dataclasses import replace

from prefassets.domain.preferences.active_learning import Plan
from prefassets.domain.preferences.measurement import Measurement, Revealed, Stated
from prefassets.domain.preferences.rating_questions import FRAMINGS, OPTIONS
from prefassets.domain.preferences.template import Template
from prefassets.domain.probes.extraction import Extraction

NUMBERED = Template(
    task_label_names="number"
)  # after "Task ", the model writes an A whatever it is asked: see the last

MEASUREMENT = Measurement(
    name="demo_tasks",
    question="Does a model that knows nothing of tasks seem to prefer some, and does the way of asking decide which?",
    model="tiny",
    answering="constrained",  # it cannot follow an instruction
    temperature=0.25,  # at 1, its answers are nearly coins
    revealed=Revealed(
        templates=(
            NUMBERED,
            replace(NUMBERED, seed=1),
            replace(NUMBERED, instruction_position="after"),
            replace(NUMBERED, instruction_position="after", seed=1),
            replace(NUMBERED, phrasing=2),
            replace(NUMBERED, phrasing=2, seed=1),
            replace(NUMBERED, response_format="xml"),
            replace(NUMBERED, task_order="canonical"),
            replace(NUMBERED, task_order="reversed"),
            Template(),
        ),
        plan=Plan(policy="all", samples=2),
    ),
    stated=Stated(framings=tuple(FRAMINGS), options=tuple(OPTIONS)),
    tasks=32,
    activations=Extraction(),
    most_completion_tokens=32,
    precision="float32",
)
