"""The command line with a short demo, for tests that need a finished home, not a good model."""

from dataclasses import replace

from prefassets.measurements import demo_tasks
from prefassets.studies import demo

STEPS, ON_POLICY_PROMPTS = 20, 16

demo.STUDY = replace(demo.STUDY, hyperparameters=replace(demo.STUDY.hyperparameters, steps=STEPS))
demo_tasks.MEASUREMENT = replace(
    demo_tasks.MEASUREMENT,
    revealed=replace(demo_tasks.MEASUREMENT.revealed, templates=demo_tasks.MEASUREMENT.revealed.templates[:3]),
    stated=replace(demo_tasks.MEASUREMENT.stated, framings=("standard", "honest"), options=("yes_somewhat_no",)),
    tasks=8,
    most_completion_tokens=8,
)

from prefassets.resources import models  # noqa: E402  studies that repeat the demo are read after it is shortened

models.ON_POLICY_PROMPTS = ON_POLICY_PROMPTS

if __name__ == "__main__":
    from prefassets.cli import cli

    cli(prog_name="prefassets")
