"""The command line with the short demo of two splits: fifteen cells, few enough to be trained over and over."""

from dataclasses import replace

from prefassets_tests.short_demo import demo

SPLITS = ("personalisation", "safety")

demo.STUDY = replace(demo.STUDY, expected={split: demo.STUDY.expected[split] for split in SPLITS})

if __name__ == "__main__":
    from prefassets.cli import cli

    cli(prog_name="prefassets")
