"""The kinds of probe, one file each. A new kind is a new file here that defines `KIND`; nothing else lists it."""

from importlib import import_module
from pkgutil import iter_modules

from prefassets.domain.probes.kinds.kind import Kind, LeftOut, Path

__all__ = ["KINDS", "Kind", "LeftOut", "Path"]


def _declared() -> dict[str, Kind]:
    modules = (import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__))
    kinds = [module.KIND for module in modules if hasattr(module, "KIND")]
    for what in ("name", "target"):
        if len({getattr(kind, what) for kind in kinds}) < len(kinds):
            raise ValueError(f"two kinds of probe share a {what}: {sorted(getattr(kind, what) for kind in kinds)}")
    return {kind.target: kind for kind in kinds}


KINDS = _declared()  # by the kind of target that it is fitted to
