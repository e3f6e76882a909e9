"""The command line with the short demo of two splits: fifteen cells, few enough to be trained over and over.

Of the other studies it has one: a look of the sensor at sixteen takes a processor two seconds, and so does each page.
"""

from dataclasses import replace
from pkgutil import iter_modules

from prefassets import studies
from prefassets_tests.short_demo import demo, models

TINY_STEPS = 20
SPLITS = ("personalisation", "safety")
STUDIES = ("demo", "demo_placebos")
STUDY = replace(demo.STUDY, activations=None, expected={split: demo.STUDY.expected[split] for split in SPLITS})


def instead_of_the_demo() -> None:
    """Let it be the demo of this process; before the definitions are read, and never in a process of tests."""
    studies.iter_modules = lambda path: (found for found in iter_modules(path) if found.name in STUDIES)
    demo.STUDY = STUDY
    models.TINY_STEPS = TINY_STEPS


if __name__ == "__main__":
    instead_of_the_demo()
    from prefassets.cli import cli

    cli(prog_name="prefassets")
