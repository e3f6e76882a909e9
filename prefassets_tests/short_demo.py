"""The command line with a short demo, for tests that need a finished home, not a good model."""

from dataclasses import replace

from prefassets import arena_recipes
from prefassets.measurements import demo_tasks
from prefassets.studies import demo

STEPS, TINY_STEPS, ON_POLICY_PROMPTS = 20, 100, 16

demo.STUDY = replace(demo.STUDY, hyperparameters=replace(demo.STUDY.hyperparameters, steps=STEPS))
demo_tasks.MEASUREMENT = replace(
    demo_tasks.MEASUREMENT,
    revealed=replace(demo_tasks.MEASUREMENT.revealed, templates=demo_tasks.MEASUREMENT.revealed.templates[:3]),
    stated=replace(demo_tasks.MEASUREMENT.stated, framings=("standard", "honest"), options=("yes_somewhat_no",)),
    tasks=8,
    most_completion_tokens=8,
)
arena_recipes._RECIPES = tuple(
    replace(recipe, steps=6, warmup_steps=1, evaluate_every=3) if recipe.model == "tiny" else recipe
    for recipe in arena_recipes._RECIPES
)

from prefassets.resources import models  # noqa: E402  studies that repeat the demo are read after it is shortened

models.TINY_STEPS, models.ON_POLICY_PROMPTS = TINY_STEPS, ON_POLICY_PROMPTS

if __name__ == "__main__":
    from prefassets.cli import cli

    cli(prog_name="prefassets")
