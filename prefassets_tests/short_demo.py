"""The command line with a short demo, for tests that need a finished home, not a good model."""

from dataclasses import replace

from prefassets.studies import demo

STEPS, TINY_STEPS, ON_POLICY_PROMPTS = 20, 60, 16

demo.STUDY = replace(demo.STUDY, hyperparameters=replace(demo.STUDY.hyperparameters, steps=STEPS))

from prefassets.resources import models  # noqa: E402  studies that repeat the demo are read after it is shortened

models.ON_POLICY_PROMPTS = ON_POLICY_PROMPTS
models.TINY_STEPS = TINY_STEPS

if __name__ == "__main__":
    from prefassets.cli import cli

    cli(prog_name="prefassets")
