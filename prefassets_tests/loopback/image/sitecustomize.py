"""Python in a pod of the loopback cluster: the service account's files, which a kubelet would mount, are elsewhere.

A subprocess has no file system of its own, so `/var/run/secrets/...` lies below `LOOPBACK_ROOT`. The two modules that
name it in their code are told so when they are imported, and not before: most pods never import them. In a pod that was
forked (`fork_server.py`) they may be there already.
"""

import importlib.util
import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import ClassVar

MOUNTED = Path(os.environ.get("LOOPBACK_ROOT", "/")) / "var/run/secrets/kubernetes.io/serviceaccount"


def _client(module: ModuleType) -> None:
    vars(module).update(SERVICE_TOKEN_FILENAME=str(MOUNTED / "token"), SERVICE_CERT_FILENAME=str(MOUNTED / "ca.crt"))


def _dagster_k8s(module: ModuleType) -> None:
    module.detect_current_namespace.__defaults__ = (MOUNTED / "namespace",)


class Mounts(MetaPathFinder):
    """Finds a module as usual, and tells it where the files are once it has run."""

    told: ClassVar = {"kubernetes.config.incluster_config": _client, "dagster_k8s.utils": _dagster_k8s}

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name not in self.told:
            return None
        tell = self.told.pop(name)
        spec = importlib.util.find_spec(name)
        assert spec
        assert spec.loader
        execute = spec.loader.exec_module

        def execute_and_tell(module: ModuleType) -> None:
            execute(module)
            tell(module)

        spec.loader.exec_module = execute_and_tell  # type: ignore[method-assign]
        return spec


for name in Mounts.told.keys() & sys.modules.keys():
    Mounts.told.pop(name)(sys.modules[name])
sys.meta_path.insert(0, Mounts())
