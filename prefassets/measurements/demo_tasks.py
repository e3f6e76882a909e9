"""The tiny model's own preferences, small enough for a laptop: does the trunk say "nothing there" where nothing is?"""

from prefassets.domain.preferences.active_learning import Plan
from prefassets.domain.preferences.measurement import Measurement, Revealed, Stated
from prefassets.domain.preferences.rating_questions import FRAMINGS, OPTIONS
from prefassets.domain.preferences.template import Template

MEASUREMENT = Measurement(
    name="demo_tasks",
    question="Does a model that knows nothing of tasks seem to prefer some, and does the way of asking decide which?",
    model="tiny",
    answering="constrained",  # it cannot follow an instruction
    revealed=Revealed(
        templates=(
            Template(),
            Template(seed=1),
            Template(instruction_position="after"),
            Template(instruction_position="after", seed=1),
            Template(task_label_names="number"),
            Template(task_order="canonical"),
            Template(task_order="reversed"),
        ),
        plan=Plan(policy="all", samples=2),
    ),
    stated=Stated(framings=tuple(FRAMINGS), options=tuple(OPTIONS)),
    tasks=24,
    most_completion_tokens=32,
    precision="float32",
)
