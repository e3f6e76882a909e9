"""Where the assets run that want a GPU: one pool, one retry policy, and what Kubernetes is asked for."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from prefassets.settings import settings
from prefassets.studies.hardware import GPU, Hardware

POOL = "gpu"
DAYS_KEPT = 3  # so that a job that failed on Friday can be looked at on Monday

# The only retries there are: a job that died goes on from its cells' checkpoints (a recipe of Arena begins anew). A
# run's own process is resumed instead (`runMonitoring` in deployments/kubernetes/values.yaml). Without a cluster, a
# person waits and sees the error.
RETRIES = dg.RetryPolicy(max_retries=2, delay=30, backoff=dg.Backoff.EXPONENTIAL)


def on_gpu(hardware: Hardware = GPU) -> dict[str, Any]:
    """Arguments of `@dg.asset` for an asset that wants this hardware."""
    return {"pool": POOL, "op_tags": job_tags(hardware), "retry_policy": retries()}


def retries() -> dg.RetryPolicy | None:
    return RETRIES if settings().executor == "k8s" else None


def job_tags(hardware: Hardware) -> Mapping[str, Any]:
    """Tags of a step that give its Kubernetes Job this hardware, and tell its pod where it runs (`provenance.py`)."""
    memory = f"{hardware.memory_gib}Gi"
    gpus = {"nvidia.com/gpu": str(hardware.gpus)} if hardware.gpus else {}
    product = {"nvidia.com/gpu.product": hardware.gpu_product} if hardware.gpu_product else {}
    labels = {**(settings().gpu_nodes if hardware.gpus else {}), **product, **hardware.node_labels}
    tolerations = [{"key": taint, "operator": "Exists"} for taint in hardware.tolerates if hardware.gpus]
    return {
        "dagster-k8s/config": {
            "container_config": {
                "resources": {
                    "requests": {"cpu": str(hardware.cpus), "memory": memory, **gpus},
                    "limits": {"memory": memory, **gpus},
                },
                "env": [
                    {"name": f"PREFASSETS_{name}", "value_from": {"field_ref": {"field_path": path}}}
                    for name, path in (
                        ("POD", "metadata.name"),
                        ("NAMESPACE", "metadata.namespace"),
                        ("NODE", "spec.nodeName"),
                    )
                ],
            },
            "pod_spec_config": {
                **({"node_selector": labels} if labels else {}),
                **({"tolerations": tolerations} if tolerations else {}),
            },
            "job_spec_config": {
                "active_deadline_seconds": round(hardware.most_hours * 3600),
                "ttl_seconds_after_finished": DAYS_KEPT * 24 * 3600,
            },
        }
    }
