"""The Kubernetes manifests that we ship, and what they are held against."""

from typing import Any

import kubernetes_validate
import yaml

from prefassets_tests.deployments.chart import KUBERNETES

VERSIONS = ("1.30", "1.33", kubernetes_validate.latest_version())
SHOWN = "step-job.yaml"  # what Dagster will make; nobody applies it
FILES = sorted(
    path.relative_to(KUBERNETES).as_posix()
    for path in KUBERNETES.rglob("*.yaml")
    if not path.name.endswith("values.yaml") and path.name != SHOWN
)


def documents(name: str) -> list[dict[str, Any]]:
    """Every document of a file under `deployments/kubernetes`."""
    return [document for document in yaml.safe_load_all((KUBERNETES / name).read_text()) if document]


def validated(manifest: dict[str, Any], version: str) -> None:
    """Raise unless Kubernetes of this version takes the manifest, unknown fields being errors."""
    kubernetes_validate.validate(manifest, version, strict=True)
