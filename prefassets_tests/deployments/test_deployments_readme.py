"""The cluster owner's page names what is there: files, manifests, values and commands."""

import re
import shlex
import subprocess

import yaml
from click import Group

from prefassets.cli import cli
from prefassets_tests.deployments import chart
from prefassets_tests.deployments.manifests import FILES, VERSIONS, validated

FOLDER = chart.KUBERNETES.parent
README = (FOLDER / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]


def test_every_file_that_is_named_is_there():
    yours = {"site.yaml"}
    named = {word for word in re.findall(r"[\w./-]+\.yaml", README) if word not in yours}
    for name in named:
        assert any((root / name).exists() for root in (FOLDER, FOLDER.parent)), name


def test_every_manifest_is_applied_and_every_values_file_given():
    commands = "\n".join(COMMANDS)
    for name in FILES:
        assert f"-f kubernetes/{name}" in commands, name
    for path in chart.KUBERNETES.rglob("*values.yaml"):
        assert f"--values kubernetes/{path.relative_to(chart.KUBERNETES)}" in commands, path


def test_example_documents_are_what_the_chart_or_kubernetes_takes():
    for block in blocks("yaml"):
        for document in yaml.safe_load_all(block):
            if "apiVersion" in document:
                for version in VERSIONS:
                    validated(document, version)
            else:
                chart.dagster_yaml(chart.merged(chart.shipped(), document))


def test_image_is_set_wherever_the_values_have_one():
    """The shell makes the flags: run here as they stand in the page."""
    (making,) = [line for line in COMMANDS if line.startswith("export IMAGES=")]
    script = f'IMAGE=registry.example.org/prefassets DIGEST=sha256:0; {making}; echo "${{IMAGES%,}}"'
    flags = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    given = dict(pair.split("=", 1) for pair in flags.split(","))
    pods = ["dagsterDaemon", "dagsterWebserver", "dagster-user-deployments.deployments[0]"]
    assert given == {
        f"{pod}.image.{key}": value
        for pod in pods
        for key, value in (("repository", "registry.example.org/prefassets"), ("digest", "sha256:0"))
    }
    (helm,) = [line for line in COMMANDS if line.startswith("helm upgrade")]
    assert helm.endswith('--set-string "${IMAGES%,}"')


def test_chart_is_of_the_version_of_dagster():
    import dagster

    assert re.findall(r"--version (\S+)", README) == [dagster.__version__]


def test_every_command_of_ours_exists():
    assert isinstance(cli, Group)
    ours = [shlex.split(line) for line in COMMANDS if line.startswith("prefassets ")]
    assert {words[1] for words in ours} == {"doctor", "missing", "verdicts"}
    assert all(words[1] in cli.commands for words in ours)


def test_secrets_come_from_the_shell():
    for line in COMMANDS:
        for value in re.findall(r"--from-literal=[\w-]+=(\S+)", line):
            assert value.startswith("$"), line
