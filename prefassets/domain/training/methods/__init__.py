"""The training methods, one file each. A new method is a new file here that defines `METHOD`; nothing else lists it.

Import-light on purpose: a declaration is read wherever a study is, also where torch is not wanted.
"""

from importlib import import_module
from pkgutil import iter_modules

from prefassets.domain.training.methods.method import Method

__all__ = ["METHODS", "Method"]


def _declared() -> dict[str, Method]:
    modules = (import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__))
    methods = [module.METHOD for module in modules if hasattr(module, "METHOD")]
    by_name = {method.name: method for method in methods}
    if len(by_name) < len(methods):
        raise ValueError(f"two method files share a name: {sorted(method.name for method in methods)}")
    return by_name


METHODS = _declared()
