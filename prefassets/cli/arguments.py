"""What commands are given: studies and measurements by name, and how to print."""

from typing import Any, Literal

import click

from prefassets.arena_recipes import all_recipes
from prefassets.domain.arena.recipe import ArenaRecipe
from prefassets.domain.preferences.measurement import Measurement
from prefassets.measurements import all_measurements
from prefassets.studies import all_studies
from prefassets.studies.study import Study

Page = Study | Measurement | Literal["arena"]

format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to print the rows.",
)


class StudyName(click.ParamType):
    """A study by its name."""

    name = "study"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Study:
        if isinstance(value, Study):
            return value
        if value not in all_studies():
            self.fail(f"there is no study {value!r}; there are {', '.join(all_studies())} (prefassets/studies/)")
        return all_studies()[value]


class MeasurementName(click.ParamType):
    """A measurement by its name."""

    name = "measurement"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Measurement:
        if isinstance(value, Measurement):
            return value
        if value not in all_measurements():
            self.fail(f"there is no measurement {value!r}; there are {', '.join(all_measurements())}")
        return all_measurements()[value]


class RecipeName(click.ParamType):
    """A recipe of Arena by its name."""

    name = "recipe"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ArenaRecipe:
        if isinstance(value, ArenaRecipe):
            return value
        if value not in all_recipes():
            self.fail(
                f"there is no recipe {value!r}; there are {', '.join(all_recipes())} (prefassets/arena_recipes.py)"
            )
        return all_recipes()[value]


class PageName(click.ParamType):
    """A study or a measurement by its name, or `arena`: each has a page."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "Page":
        if isinstance(value, (Study, Measurement)):
            return value
        known: dict[str, Page] = {**all_studies(), **all_measurements(), "arena": "arena"}
        if value not in known:
            self.fail(f"there is no page of {value!r}; there are {', '.join(known)}")
        return known[value]
