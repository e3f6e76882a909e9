"""The measurements of what models prefer, one file each. A new one is a new file here that defines `MEASUREMENT`."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from prefassets.domain.preferences.measurement import Measurement


@cache
def all_measurements() -> dict[str, Measurement]:
    """Every `MEASUREMENT` of this package by name, in order of file name.

    Raises:
        ValueError: two measurements share a name.
    """
    modules = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]
    measurements = [module.MEASUREMENT for module in modules]
    by_name = {measurement.name: measurement for measurement in measurements}
    if len(by_name) < len(measurements):
        raise ValueError(f"two measurement files share a name: {sorted(found.name for found in measurements)}")
    return by_name
