"""The command line with the short demo of two splits: fifteen cells, few enough to be trained over and over."""

from dataclasses import replace

from prefassets_tests.short_demo import demo, models

TINY_STEPS = 60
SPLITS = ("personalisation", "safety")
STUDY = replace(demo.STUDY, activations=None, expected={split: demo.STUDY.expected[split] for split in SPLITS})


def instead_of_the_demo() -> None:
    """Let it be the demo of this process; before the definitions are read, and never in a process of tests."""
    demo.STUDY = STUDY
    models.TINY_STEPS = TINY_STEPS


if __name__ == "__main__":
    instead_of_the_demo()
    from prefassets.cli import cli

    cli(prog_name="prefassets")
