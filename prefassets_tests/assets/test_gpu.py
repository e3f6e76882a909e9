"""What GPU steps ask of Kubernetes, as dagster-k8s turns it into a Job; nothing of it reaches a laptop."""

import json
import os
import subprocess
import sys

import kubernetes_validate
import pytest
from dagster_k8s.job import DagsterK8sJobConfig, construct_dagster_k8s_job, get_user_defined_k8s_config
from kubernetes.client import ApiClient

from prefassets.assets.gpu import job_tags
from prefassets.studies.hardware import Hardware

DEFINED = """
import json
from prefassets.definitions import defs

jobs = defs.get_repository_def().get_all_jobs()
steps = {node.name: node.definition for job in jobs for node in job.nodes if getattr(node.definition, "pool", None)}
retries = lambda step: step.retry_policy and step.retry_policy.max_retries
print(json.dumps({name: [step.tags, retries(step)] for name, step in steps.items()}))
(executor,) = {job.executor_def.name for job in jobs}
print(executor)
"""


def as_job(hardware: Hardware) -> dict:
    """The Kubernetes Job of a step that wants this hardware, as JSON."""
    tags = {key: json.dumps(value) for key, value in job_tags(hardware).items()}
    job = construct_dagster_k8s_job(
        DagsterK8sJobConfig(job_image="prefassets:1", dagster_home="/dagster"),
        args=["true"],
        job_name="step",
        user_defined_k8s_config=get_user_defined_k8s_config(tags),
    )
    return ApiClient().sanitize_for_serialization(job)


@pytest.mark.parametrize("version", ["1.30", "1.34"])
@pytest.mark.parametrize(
    "hardware",
    [
        Hardware(),
        Hardware(gpus=0),
        Hardware(gpu_product="NVIDIA-L4", node_labels={"pool": "spot"}, tolerates=("spot",)),
    ],
)
def test_the_job_of_a_step_fits_the_schema_of_kubernetes(hardware, version):
    kubernetes_validate.validate(as_job(hardware), version, strict=True)


def test_a_job_asks_for_one_gpu_its_memory_and_an_end_and_is_kept_over_a_weekend():
    spec = as_job(Hardware(memory_gib=48, most_hours=2))["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"memory": "48Gi", "nvidia.com/gpu": "1"}
    assert spec["activeDeadlineSeconds"] == 7200
    assert spec["ttlSecondsAfterFinished"] >= 2 * 24 * 3600
    assert spec["backoffLimit"] == 0, "Dagster's policy retries; Kubernetes' would come on top"
    assert spec["template"]["spec"]["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]


def test_a_study_can_ask_for_a_product_of_its_own_and_for_none():
    asked = as_job(Hardware(gpu_product="NVIDIA-L4", node_labels={"pool": "spot"}))["spec"]["template"]["spec"]
    assert asked["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-L4", "pool": "spot"}
    on_cpus = as_job(Hardware(gpus=0))["spec"]["template"]["spec"]
    assert "nodeSelector" not in on_cpus
    assert "nvidia.com/gpu" not in json.dumps(on_cpus)


def defined(**settings: str) -> tuple[dict[str, list], str]:
    """Tags and retries of every step that wants a GPU, and the executor's name, under these settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFASSETS_")}
    done = subprocess.run(
        [sys.executable, "-c", DEFINED],
        env=environment | {f"PREFASSETS_{name}": value for name, value in settings.items()},
        capture_output=True,
        text=True,
        check=True,
    )
    steps, executor = done.stdout.splitlines()
    return json.loads(steps), executor


def test_in_a_cluster_every_gpu_step_carries_its_config_the_nodes_labels_and_the_one_retry_policy():
    steps, executor = defined(EXECUTOR="k8s", GPU_NODES='{"cloud/accelerator": "h100"}')
    assert executor == "k8s"
    assert {"demo__adapters", "demo__margins", "train_and_score_demo", "model__reference"} <= steps.keys()
    for tags, retries in steps.values():
        assert "cloud/accelerator" in tags["dagster-k8s/config"]
        assert retries == 2


def test_on_a_laptop_the_same_steps_are_not_retried():
    steps, executor = defined()
    assert executor == "in_process"
    assert {retries for _, retries in steps.values()} == {None}
