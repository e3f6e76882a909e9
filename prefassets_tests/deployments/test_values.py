"""The Helm values that we ship make a dagster.yaml that Dagster takes, with what the platform relies on."""

import dagster
import pytest
import yaml
from dagster._config import validate_config
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.instance.config import dagster_instance_config, dagster_instance_config_schema
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.storage.dagster_run import DagsterRun
from dagster._serdes.config_class import class_from_code_pointer
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import DagsterK8sJobConfig, UserDefinedDagsterK8sConfig, construct_dagster_k8s_job
from kubernetes.client import ApiClient

from prefassets.assets.gpu import job_tags
from prefassets.runs.here import DAGSTER_YAML
from prefassets.studies.hardware import GPU
from prefassets_tests.deployments import chart
from prefassets_tests.deployments.manifests import VERSIONS, validated

LAYERS = [(), *((f"storage/{kind}-values.yaml",) for kind in ("volume", "s3-keys", "node-cache"))]
COMPONENTS = ["run_storage", "event_log_storage", "schedule_storage", "run_launcher", "run_coordinator", "compute_logs"]


@pytest.mark.parametrize("more", LAYERS, ids=str)
def test_dagster_takes_the_whole_instance_file(tmp_path, more):
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(chart.dagster_yaml(chart.shipped(*more))))
    taken, _ = dagster_instance_config(str(tmp_path))
    assert taken["run_monitoring"]["max_resume_run_attempts"] == 3


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("more", LAYERS, ids=str)
def test_every_component_takes_its_own_configuration(monkeypatch, component, more):
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", "of this test")
    given = chart.dagster_yaml(chart.shipped(*more))[component]
    its_class = class_from_code_pointer(given["module"], given["class"])
    outcome = validate_config(its_class.config_type() or {}, given.get("config", {}))
    assert outcome.success, outcome.errors


def test_code_location_takes_what_it_is_told_of_runs():
    location = chart.code_location(chart.shipped())
    outcome = validate_config(DagsterK8sJobConfig.config_type_container_context(), location.container_context["k8s"])
    assert outcome.success, outcome.errors


def test_one_retry_policy_and_resumed_run_workers():
    """Run retries and op retries would multiply; a dead run worker is replaced and its steps go on."""
    instance = chart.dagster_yaml(chart.shipped())
    assert "run_retries" not in instance
    assert instance["run_monitoring"]["enabled"]
    assert instance["run_monitoring"]["max_resume_run_attempts"] > 0


def test_gpu_limit_holds_before_the_first_run():
    """`gpu` is the only pool of the code, and unknown pools have the default limit: nothing has to be set by hand."""
    from prefassets.definitions import defs

    graph = defs.resolve_asset_graph()
    assert {pool for key in graph.get_all_asset_keys() for pool in graph.get(key).pools or ()} == {"gpu"}
    pools = chart.dagster_yaml(chart.shipped())["concurrency"]["pools"]
    assert pools == {"granularity": "op", "default_limit": 1}


def test_a_site_raises_the_gpu_limit_and_nothing_else():
    shipped = chart.shipped()
    site = chart.merged(shipped, {"concurrency": {"pools": {"defaultLimit": 8}}})
    ours, theirs = chart.dagster_yaml(shipped), chart.dagster_yaml(site)
    assert theirs["concurrency"]["pools"].pop("default_limit") == 8
    assert ours["concurrency"]["pools"].pop("default_limit") == 1
    assert ours == theirs


def test_a_site_s_pull_secret_reaches_runs_and_steps(job_of_site):
    pull = [{"name": "registry"}]
    for hardware in (None, GPU):
        made = job_of_site({"imagePullSecrets": pull, "dagster-user-deployments": {"imagePullSecrets": pull}}, hardware)
        assert made["spec"]["template"]["spec"]["imagePullSecrets"] == pull


def test_existing_postgresql_is_four_lines_of_a_site():
    """The commented alternative in values.yaml, as it would be written."""
    comment = (chart.KUBERNETES / "values.yaml").read_text().split("write into site.yaml\n")[1].split("# and put")[0]
    site = yaml.safe_load("\n".join(line.removeprefix("# ") for line in comment.splitlines()))
    storage = chart.dagster_yaml(chart.merged(chart.shipped(), site))["run_storage"]["config"]["postgres_db"]
    assert storage["hostname"] == "postgresql.example.org"
    assert storage["params"] == {"sslmode": "require"}
    assert storage["password"] == {"env": "DAGSTER_PG_PASSWORD"}


@pytest.mark.parametrize(
    "site",
    [
        {"dagsterDaemon": {"runRetries": {"enabled": True}}},
        {"dagsterDaemon": {"runMonitoring": {"maxRuntimeSeconds": 7200}}},
        {"runLauncher": {"type": "CeleryK8sRunLauncher"}},
        {"pythonLogs": {"pythonLogLevel": "DEBUG"}},
    ],
    ids=str,
)
def test_a_key_that_is_not_translated_is_refused(site):
    with pytest.raises(chart.UnknownKey):
        chart.dagster_yaml(chart.merged(chart.shipped(), site))


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory):
    """A cluster that is never called: Dagster's launcher wants to know of one before it says what it would ask."""
    server = {"name": "none", "cluster": {"server": "http://127.0.0.1:9"}}
    context = {"name": "none", "context": {"cluster": "none", "user": "none"}}
    user = {"name": "none", "user": {}}
    config = {"clusters": [server], "contexts": [context], "users": [user], "current-context": "none"}
    path = tmp_path_factory.mktemp("kubernetes") / "config"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def job_of(launcher_config, location, hardware=None):
    """The Job that Dagster makes of a run, or of its step that asks for this hardware, for these values."""
    launcher = K8sRunLauncher(**launcher_config)
    repository = RepositoryPythonOrigin(
        executable_path="python",
        code_pointer=ModuleCodePointer("prefassets.definitions", "defs"),
        container_image=location.image,
        entry_point=["dagster"],
        container_context=location.container_context,
    )
    run = DagsterRun(job_name="demo_cells", job_code_origin=JobPythonOrigin("demo_cells", repository))
    context = K8sContainerContext.create_for_run(run, launcher, include_run_tags=False)
    if hardware:
        asked = UserDefinedDagsterK8sConfig.from_dict(job_tags(hardware)["dagster-k8s/config"])
        context = context.merge(K8sContainerContext(run_k8s_config=asked))
    made = construct_dagster_k8s_job(
        job_config=context.get_k8s_job_config(location.image, launcher),
        args=["dagster", "api", "execute_step" if hardware else "execute_run"],
        job_name="dagster-step-example" if hardware else "dagster-run-example",
        component="step_worker" if hardware else "run_worker",
        user_defined_k8s_config=context.run_k8s_config,
    )
    return ApiClient().sanitize_for_serialization(made)


@pytest.fixture
def job_of_site(kubeconfig):
    def of(site, hardware=None, more=()):
        values = chart.merged(chart.shipped(*more), site)
        config = chart.dagster_yaml(values)["run_launcher"]["config"]
        reachable = {"load_incluster_config": False, "kubeconfig_file": kubeconfig}
        return job_of(config | reachable, chart.code_location(values), hardware)

    return of


@pytest.fixture
def job(job_of_site):
    return lambda *more, hardware=None: job_of_site({}, hardware, more)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("more", LAYERS, ids=str)
@pytest.mark.parametrize("hardware", [None, GPU], ids=["run", "step"])
def test_pods_are_valid_and_may_do_little(job, more, hardware, version):
    made = job(*more, hardware=hardware)
    validated(made, version)
    pod = made["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["serviceAccountName"] == "prefassets"
    assert not pod["enableServiceLinks"]


@pytest.mark.parametrize("hardware", [None, GPU], ids=["run", "step"])
def test_pods_get_the_environment_of_the_code_location(job, hardware):
    (container,) = job(hardware=hardware)["spec"]["template"]["spec"]["containers"]
    assert {"name": "PREFASSETS_EXECUTOR", "value": "k8s"} in container["env"]
    assert {"configMapRef": {"name": "prefassets"}} in container["envFrom"]
    assert {"name": "scratch", "mountPath": "/scratch"} in container["volumeMounts"]
    memory = f"{hardware.memory_gib}Gi" if hardware else "8Gi"
    assert container["resources"]["limits"]["memory"] == memory


@pytest.mark.parametrize("hardware", [None, GPU], ids=["run", "step"])
def test_pods_see_the_shared_volume_or_the_keys(job, hardware):
    seen = [job(f"storage/{kind}-values.yaml", hardware=hardware) for kind in ("volume", "s3-keys")]
    volume, keys = (made["spec"]["template"]["spec"] for made in seen)
    assert {"name": "home", "mountPath": "/home/prefassets"} in volume["containers"][0]["volumeMounts"]
    assert {"name": "home", "persistentVolumeClaim": {"claimName": "prefassets-home"}} in volume["volumes"]
    assert {"secretRef": {"name": "prefassets-s3"}} in keys["containers"][0]["envFrom"]


@pytest.mark.parametrize("hardware", [None, GPU], ids=["run", "step"])
def test_pods_keep_what_they_fetch_on_their_node_if_asked_to(job, hardware):
    pod = job("storage/node-cache-values.yaml", hardware=hardware)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert [entry["value"] for entry in container["env"] if entry["name"] == "PREFASSETS_LOCAL"] == ["/fetched"]
    assert {"name": "fetched", "mountPath": "/fetched"} in container["volumeMounts"]
    assert {"name": "fetched", "hostPath": {"path": "/var/lib/prefassets", "type": "Directory"}} in pod["volumes"]


def test_run_jobs_stay_for_a_day(job):
    """Long enough to read the log of what died at night; Kubernetes removes them then."""
    assert job()["spec"]["ttlSecondsAfterFinished"] == 24 * 60 * 60


def test_job_of_a_gpu_step_is_as_documented(job):
    """`step-job.yaml` shows a cluster's owner what will be asked of the cluster; it says what Dagster makes."""
    documented = yaml.safe_load((chart.KUBERNETES / "step-job.yaml").read_text())
    made = job(hardware=GPU)
    for of_this_version in (made["metadata"]["labels"], made["spec"]["template"]["metadata"]["labels"]):
        assert of_this_version.pop("app.kubernetes.io/version") == dagster.__version__
    assert documented == made


def test_one_image_is_everywhere():
    """The daemon and the web server load the run launcher of this package."""
    values = chart.shipped()
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    assert values["dagsterDaemon"]["image"] == values["dagsterWebserver"]["image"] == deployment["image"]


def test_local_instance_file_is_whole():
    """Dagster takes `deployments/local/dagster.yaml`, with pools, run monitoring and retention."""
    local = yaml.safe_load(DAGSTER_YAML.read_text())
    outcome = validate_config(dagster_instance_config_schema(), local)
    assert outcome.success, outcome.errors
    assert {"concurrency", "run_monitoring", "retention"} <= set(local)
    assert local["concurrency"]["pools"]["default_limit"] == 1
