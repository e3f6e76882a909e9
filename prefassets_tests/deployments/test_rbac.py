"""The service account may do what is asked of Kubernetes in its name, each with its reason, and nothing else."""

import ast
from pathlib import Path

import dagster_k8s

from prefassets_tests.deployments import chart
from prefassets_tests.deployments.manifests import documents

# (API group, resource, verb): who asks
NEEDED = {
    ("batch", "jobs", "create"): "the run launcher starts a run, the executor a step",
    ("batch", "jobs", "delete"): "the run launcher ends a run, the executor a step, that someone cancels",
    ("batch", "jobs", "list"): "the run launcher says why a run never started",
    ("batch", "jobs/status", "get"): "run monitoring and the executor look whether a run and a step still live",
    ("", "pods", "list"): "the pods of a job, to delete them with it and to say why they failed",
    ("", "pods", "delete"): "Kubernetes leaves the pods of a job that its API deletes: they are deleted too",
    ("", "pods", "get"): "a step reads its own pod, to record which image digest trained a cell",
    ("", "pods/log", "get"): "the last lines of a pod that failed go into the run's message",
    ("", "events", "list"): "why a pod could not be scheduled or its image not be pulled goes there too",
}
CALLS = {  # calls of the Kubernetes client in dagster_k8s's launcher, executor and client: what each asks for
    "create_namespaced_job": ("batch", "jobs", "create"),
    "delete_namespaced_job": ("batch", "jobs", "delete"),
    "list_namespaced_job": ("batch", "jobs", "list"),
    "read_namespaced_job_status": ("batch", "jobs/status", "get"),
    "list_namespaced_pod": ("", "pods", "list"),
    "delete_namespaced_pod": ("", "pods", "delete"),
    "read_namespaced_pod": ("", "pods", "get"),
    "read_namespaced_pod_log": ("", "pods/log", "get"),
    "list_namespaced_event": ("", "events", "list"),
}


def granted():
    (role,) = [document for document in documents("rbac.yaml") if document["kind"] == "Role"]
    return [
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def test_exactly_what_is_needed_is_granted():
    assert sorted(granted()) == sorted(NEEDED)


def test_every_call_of_dagster_is_known():
    """A version of dagster-k8s that asks for more fails here, not in a cluster at night."""
    folder = Path(dagster_k8s.__file__).parent
    called = {
        node.attr
        for name in ("client.py", "executor.py", "launcher.py")
        for node in ast.walk(ast.parse((folder / name).read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith(("batch_api", "core_api"))
    }
    assert called == set(CALLS)
    assert set(CALLS.values()) == set(NEEDED)


def test_the_role_is_of_one_namespace_and_one_account():
    kinds = {document["kind"]: document for document in documents("rbac.yaml")}
    assert set(kinds) == {"ServiceAccount", "Role", "RoleBinding"}
    assert kinds["RoleBinding"]["roleRef"]["name"] == kinds["Role"]["metadata"]["name"]
    (subject,) = kinds["RoleBinding"]["subjects"]
    assert subject == {"kind": "ServiceAccount", "name": "prefassets", "namespace": "prefassets"}


def test_helm_adds_no_role_and_no_account():
    values = chart.shipped()
    assert values["global"]["serviceAccountName"] == "prefassets"
    for of_chart in (values, values["dagster-user-deployments"]):
        assert of_chart["rbacEnabled"] is False
        assert of_chart["serviceAccount"] == {"create": False}
