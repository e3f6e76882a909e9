"""What the tests of many cells and their code location both know. Imports neither torch nor the definitions."""

from dataclasses import replace

from prefassets.studies import demo

STUDY = replace(demo.STUDY, activations=None, seeds=tuple(range(1, 35)))
STEPS, STEPS_AT_ONCE = 12, 3  # of the job `crowd`
