"""The command line with the short demo of three splits and two seeds: fourteen cells, few enough to be trained anew.

A backfill has a run for each seed, so twelve cells of two seeds are two runs, at once on the two GPUs of a test.

Of the other studies it has one: a look of the sensor at sixteen takes a processor two seconds, and so does each page.
"""

from dataclasses import replace
from pkgutil import iter_modules

from prefassets import studies
from prefassets_tests.short_demo import demo, models

TINY_STEPS = 20
SPLITS = ("personalisation", "safety", "age")
STUDIES = ("demo", "demo_placebos")
STUDY = replace(
    demo.STUDY,
    activations=None,
    expected={split: demo.STUDY.expected[split] for split in SPLITS},
    seeds=demo.STUDY.seeds[:2],
)


def instead_of_the_demo() -> None:
    """Let it be the demo of this process; before the definitions are read, and never in a process of tests."""
    studies.iter_modules = lambda path: (found for found in iter_modules(path) if found.name in STUDIES)
    demo.STUDY = STUDY
    models.TINY_STEPS = TINY_STEPS


if __name__ == "__main__":
    instead_of_the_demo()
    from prefassets.cli import cli

    cli(prog_name="prefassets")
