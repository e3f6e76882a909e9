"""The command line: one command for each question that a researcher asks of a home, or of files of their own."""

from prefassets.cli import arena, demo, home, measurements, own_files, training, verdicts  # noqa: F401  they add commands
from prefassets.cli.group import cli

__all__ = ["cli"]
