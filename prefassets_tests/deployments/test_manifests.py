"""Every manifest that we ship is one that Kubernetes takes, in old and new versions."""

import json
import re

import kubernetes_validate
import pytest

from prefassets.settings import Settings
from prefassets_tests.deployments.manifests import FILES, SHOWN, VERSIONS, documents, validated


def test_all_manifests_are_looked_at():
    assert {"namespace.yaml", "rbac.yaml", "settings.yaml", "storage/volume.yaml"} <= set(FILES)
    assert len(set(VERSIONS)) >= 2


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", [*FILES, SHOWN])
def test_kubernetes_takes_every_manifest(name, version):
    for manifest in documents(name):
        validated(manifest, version)


def test_an_unknown_field_is_an_error():
    (volume,) = documents("storage/volume.yaml")
    volume["spec"]["accessMode"] = "ReadWriteMany"
    with pytest.raises(kubernetes_validate.ValidationError):
        validated(volume, VERSIONS[0])


@pytest.mark.parametrize("name", FILES)
def test_everything_is_in_one_namespace(name):
    """So that deleting the namespace leaves nothing behind."""
    for manifest in documents(name):
        namespace = manifest["metadata"]["name" if manifest["kind"] == "Namespace" else "namespace"]
        assert namespace == "prefassets"


@pytest.mark.parametrize("name", FILES)
def test_no_manifest_holds_a_secret(name):
    for manifest in documents(name):
        assert manifest["kind"] != "Secret"
        assert not re.search(r"(?i)password|secret|token_|access_key", json.dumps(manifest.get("data", {})))


def test_settings_are_settings(monkeypatch):
    """Each variable of settings.yaml is one that prefassets reads, with a value that it takes."""
    (settings,) = documents("settings.yaml")
    for name, value in settings["data"].items():
        assert name.removeprefix("PREFASSETS_").lower() in Settings.model_fields, name
        monkeypatch.setenv(name, value)
    Settings()
