"""The command line with a demo of 20 steps instead of 110, for tests that need a finished home, not a good model."""

from dataclasses import replace

from prefassets.studies import demo

STEPS = 20

demo.STUDY = replace(demo.STUDY, hyperparameters=replace(demo.STUDY.hyperparameters, steps=STEPS))

if __name__ == "__main__":
    from prefassets.cli import cli

    cli(prog_name="prefassets")
