"""The studies, one file each. A new study is a new file here that defines `STUDY`; nothing else lists it."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from prefassets.studies.study import Study


@cache
def all_studies() -> dict[str, Study]:
    """Every `STUDY` of this package by name, in order of file name.

    Raises:
        ValueError: two studies share a name, or one is a variant of no other study.
    """
    modules = (import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__))
    studies = [module.STUDY for module in modules if hasattr(module, "STUDY")]
    by_name = {study.name: study for study in studies}
    if len(by_name) < len(studies):
        raise ValueError(f"two study files share a name: {sorted(study.name for study in studies)}")
    for study in studies:
        if study.variant_of is not None and study.variant_of not in by_name.keys() - {study.name}:
            others = ", ".join(by_name.keys() - {study.name})
            raise ValueError(f"{study.name}: variant_of is {study.variant_of!r}, no other study; others are {others}")
    return by_name
