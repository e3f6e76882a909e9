"""What every page is rendered with: the templates beside this file, and numbers as pages print them."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup, escape


def template(name: str) -> jinja2.Template:
    """The template of that file name; whatever it is given is text and never markup, but for what is marked as such."""
    return _environment().get_template(name)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("prefassets.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "points": _points,
        "interval": _interval,
        "between": _between,
        "p": _p,
        "words": _words,
        "breakable": _breakable,
        "thousands": _thousands,
        "percent": _percent,
        "real": _real,
        "within": _within,
    }
    return environment


def _points(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f}"


def _interval(lower: float | None, upper: float | None) -> str:
    return "no interval" if lower is None or upper is None else f"[{lower:+.1f}, {upper:+.1f}]"


def _between(row: Mapping[str, Any]) -> str:
    """The interval of a weight or a correlation."""
    return "[no interval]" if row["lower"] is None else f"[{row['lower']:.3f}, {row['upper']:.3f}]"


def _p(value: float | None) -> str:
    if value is None:
        return ""
    if value < 1e-4:
        return "< .0001"
    return f"{value:.2f}" if value >= 0.095 else f"{value:.2g}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _breakable(name: str) -> Markup:
    """A long name that a browser may break after each of its words."""
    return escape(name).replace("_", Markup("_<wbr>"))


def _thousands(count: int | None) -> str:
    return "unknown" if count is None else f"{count:,}"


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"


def _real(value: float | None, form: str = ".2f") -> str:
    return "none" if value is None else f"{value:{form}}"


def _within(row: Mapping[str, Any], name: str = "", form: str = ".2f", scale: float = 1) -> str:
    """The interval of `name` in a row that has `name_lower` and `name_upper`; without a name, `lower` and `upper`."""
    lower, upper = (row[f"{name}_{end}" if name else end] for end in ("lower", "upper"))
    return "" if lower is None or upper is None else f"[{scale * lower:{form}}, {scale * upper:{form}}]"
