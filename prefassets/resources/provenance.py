"""Where this process runs: its pod, node and image in a cluster, else this machine."""

import logging
import os
import socket
from dataclasses import dataclass
from functools import cache

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where a cell is trained. `image` has the digest that the node pulled, so a moved tag cannot hide what ran."""

    node: str
    pod: str | None = None
    image: str | None = None


@cache
def place() -> Place:
    """The place of this process, asked once: `assets/gpu.py` gives a step's pod the names to ask by."""
    pod, namespace, node = (os.environ.get(f"PREFASSETS_{name}") for name in ("POD", "NAMESPACE", "NODE"))
    if pod is None or namespace is None or node is None:
        return Place(node=socket.gethostname())
    return Place(node=node, pod=pod, image=_image(pod, namespace))


def _image(pod: str, namespace: str) -> str | None:
    """The image of a pod's first container with its digest; None, and a warning, if the cluster does not say."""
    import kubernetes  # only in a cluster: it takes a second

    try:
        if config := os.environ.get("KUBECONFIG"):
            kubernetes.config.load_kube_config(config)
        else:
            kubernetes.config.load_incluster_config()
        found = kubernetes.client.CoreV1Api().read_namespaced_pod(pod, namespace, _request_timeout=30)
        return found.status.container_statuses[0].image_id or None
    except Exception as error:  # no training is lost for want of a label
        _logger.warning("pod %s cannot ask which image it runs: %s", pod, error)
        return None
