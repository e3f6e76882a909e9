"""The Helm values that we ship make a dagster.yaml that Dagster takes, with what the platform relies on."""

import kubernetes.client
import pytest
import yaml
from dagster._config import validate_config
from dagster._core.instance.config import dagster_instance_config, dagster_instance_config_schema
from dagster._serdes.config_class import class_from_code_pointer
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import DagsterK8sJobConfig, construct_dagster_k8s_job

from prefassets.launch import DAGSTER_YAML
from prefassets_tests.deployments import chart
from prefassets_tests.deployments.manifests import VERSIONS, validated

LAYERS = [(), ("storage/volume-values.yaml",), ("storage/s3-keys-values.yaml",)]
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


def test_an_api_server_that_is_silent_for_a_minute_uses_up_no_run():
    """Dagster takes a worker that it cannot ask about for dead, at every poll: resumes must outlast the minute."""
    monitoring = chart.dagster_yaml(chart.shipped())["run_monitoring"]
    polls_in_a_minute = 60 // monitoring["poll_interval_seconds"] + 1
    assert monitoring["max_resume_run_attempts"] >= polls_in_a_minute


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


def run_job(*more):
    """The Job that Dagster would make of a run, from our values alone."""
    values = chart.shipped(*more)
    instance, location = chart.dagster_yaml(values), chart.code_location(values)
    launcher = dict(instance["run_launcher"]["config"])
    of_launcher = {key: value for key, value in launcher.items() if key in DagsterK8sJobConfig.config_type_container()}
    context = K8sContainerContext(
        **{key: value for key, value in of_launcher.items() if key != "run_k8s_config"},
        namespace=launcher["job_namespace"],
    )
    for config in (launcher["run_k8s_config"],):
        context = context.merge(K8sContainerContext.create_from_config({"k8s": {"run_k8s_config": config}}))
    context = context.merge(K8sContainerContext.create_from_config(location.container_context))
    job = construct_dagster_k8s_job(
        job_config=DagsterK8sJobConfig(
            job_image=location.image,
            dagster_home=launcher["dagster_home"],
            instance_config_map=launcher["instance_config_map"],
            postgres_password_secret=launcher["postgres_password_secret"],
        ),
        args=["dagster", "api", "execute_run"],
        job_name="dagster-run-example",
        user_defined_k8s_config=context.run_k8s_config,
    )
    return kubernetes.client.ApiClient().sanitize_for_serialization(job)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("more", LAYERS, ids=str)
def test_run_pods_are_valid_and_may_do_little(more, version):
    job = run_job(*more)
    validated(job, version)
    pod = job["spec"]["template"]["spec"]
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


def test_run_pods_get_the_environment_of_the_code_location():
    (container,) = run_job()["spec"]["template"]["spec"]["containers"]
    assert {"name": "PREFASSETS_EXECUTOR", "value": "k8s"} in container["env"]
    assert {"configMapRef": {"name": "prefassets"}} in container["envFrom"]
    assert {"name": "scratch", "mountPath": "/scratch"} in container["volumeMounts"]
    assert container["resources"]["limits"] == {"memory": "8Gi"}


def test_run_pods_see_the_shared_volume_or_the_keys():
    volume, keys = (
        run_job(f"storage/{name}-values.yaml")["spec"]["template"]["spec"] for name in ("volume", "s3-keys")
    )
    assert {"name": "home", "mountPath": "/home/prefassets"} in volume["containers"][0]["volumeMounts"]
    assert {"name": "home", "persistentVolumeClaim": {"claimName": "prefassets-home"}} in volume["volumes"]
    assert {"secretRef": {"name": "prefassets-s3"}} in keys["containers"][0]["envFrom"]


def test_finished_jobs_stay_for_a_day():
    """Long enough to read the log of what died at night; Kubernetes removes them then."""
    assert run_job()["spec"]["ttlSecondsAfterFinished"] == 24 * 60 * 60


def test_images_of_dagster_itself_are_of_the_version_that_is_installed():
    import dagster

    values = chart.shipped()
    assert values["dagsterDaemon"]["image"]["tag"] == dagster.__version__
    assert values["dagsterWebserver"]["image"] == values["dagsterDaemon"]["image"]


def test_local_instance_file_is_whole():
    """Dagster takes `deployments/local/dagster.yaml`, with pools, run monitoring and retention."""
    local = yaml.safe_load(DAGSTER_YAML.read_text())
    outcome = validate_config(dagster_instance_config_schema(), local)
    assert outcome.success, outcome.errors
    assert {"concurrency", "run_monitoring", "retention"} <= set(local)
    assert local["concurrency"]["pools"]["default_limit"] == 1
