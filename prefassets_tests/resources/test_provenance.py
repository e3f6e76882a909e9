"""A cell says where it was trained; what the cluster does not tell is empty, never a failure."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from prefassets.resources.provenance import Place, place

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "step-1", "namespace": "preferences"},
    "spec": {"containers": [{"name": "dagster", "image": "registry/prefassets:1"}]},
    "status": {
        "containerStatuses": [
            {
                "name": "dagster",
                "image": "registry/prefassets:1",
                "imageID": f"registry/prefassets@sha256:{'a' * 64}",
                "ready": True,
                "restartCount": 0,
                "state": {"running": {}},
            }
        ]
    },
}


@pytest.fixture(autouse=True)
def _ask_anew():
    place.cache_clear()
    yield
    place.cache_clear()


@pytest.fixture
def in_pod(monkeypatch):
    for name, value in (("POD", "step-1"), ("NAMESPACE", "preferences"), ("NODE", "gpu-node-7")):
        monkeypatch.setenv(f"PREFASSETS_{name}", value)


@pytest.fixture
def api(tmp_path, monkeypatch):
    """A Kubernetes API that knows one pod."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            found = self.path == "/api/v1/namespaces/preferences/pods/step-1"
            body = json.dumps(POD if found else {"kind": "Status", "code": 404}).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": address}}],
        "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    yield server
    server.shutdown()


def test_outside_a_cluster_the_node_is_this_machine():
    assert place() == Place(node=socket.gethostname(), pod=None, image=None)


@pytest.mark.usefixtures("in_pod", "api")
def test_a_pod_tells_its_node_and_the_digest_of_its_image():
    assert place() == Place(node="gpu-node-7", pod="step-1", image=f"registry/prefassets@sha256:{'a' * 64}")


@pytest.mark.usefixtures("in_pod")
def test_a_pod_that_may_not_ask_still_tells_its_node(api, monkeypatch, caplog):
    monkeypatch.setenv("PREFASSETS_POD", "another")
    assert place() == Place(node="gpu-node-7", pod="another", image=None)
    assert "pod another cannot ask which image it runs" in caplog.text
