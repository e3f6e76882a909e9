"""The image is pinned, runs as nobody in particular, holds no secret, and is made of little more than the package."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deployments/docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
INSTRUCTIONS = [
    line.strip()
    for line in DOCKERFILE.replace("\\\n", " ").splitlines()
    if line.strip() and not line.lstrip().startswith("#")
]


def of(instruction):
    return [line.split(maxsplit=1)[1] for line in INSTRUCTIONS if line.split()[0] == instruction]


def pins(path):
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {Requirement(line).name.lower().replace("_", "-"): Requirement(line) for line in lines}


def test_base_image_is_of_one_python_and_one_debian():
    (base,) = [argument.removeprefix("PYTHON=") for argument in of("ARG") if argument.startswith("PYTHON=")]
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-[a-z]+", base)
    stages = {words.split(" AS ")[-1] for words in of("FROM")} | {"torch-${TORCH}"}
    assert {words.split()[0] for words in of("FROM")} <= stages | {"${PYTHON}"}, (
        "every other image is one of its stages"
    )
    assert ":latest" not in DOCKERFILE


def test_user_is_a_number_and_the_one_that_helm_asks_for():
    (user,) = of("USER")
    assert user == "10001:10001"


def test_every_installed_version_is_pinned():
    constraints = "--constraint constraints.txt --constraint image-constraints.txt"
    for command in of("RUN"):
        if "pip install" in command:
            assert constraints in command or "--no-deps" in command, command
    ours, images = pins(ROOT / "constraints.txt"), pins(DOCKER / "constraints.txt")
    assert not ours.keys() & images.keys(), "one place for each version"
    assert all(str(pin.specifier).startswith("==") for pin in [*ours.values(), *images.values()])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["cluster"]]
    for requirement in map(Requirement, wanted):
        (pinned,) = ours[requirement.name.lower()].specifier
        assert requirement.specifier.contains(pinned.version), requirement


def test_no_secret_is_asked_for_or_set():
    for named in [*of("ENV"), *of("ARG")]:
        assert not re.search(r"(?i)(secret|token|password|passwd|credential|access_?key|api_?key)", named), named


def test_what_is_written_is_on_the_scratch_volume():
    (environment,) = [block for block in of("ENV") if "PREFASSETS_LOCAL" in block]
    paths = dict(pair.split("=", 1) for pair in environment.split())
    for name in ("HOME", "TMPDIR", "HF_HOME", "PREFASSETS_LOCAL", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
        assert paths[name].startswith("/scratch"), name


def test_all_that_the_wheel_is_made_of_is_copied_and_sent():
    """The build sees only what .dockerignore lets through; the wheel takes what pyproject.toml names."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], "pyproject.toml", "README.md", "LICENSE"}
    sent = {
        line.removeprefix("!")
        for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {source for words in of("COPY") for source in words.split()[:-1]}
    assert needed <= copied
    assert copied <= sent
    assert all((ROOT / name).exists() for name in sent)


def test_the_chart_can_give_the_command():
    """The chart sets `args` only: an entry point would be put before them."""
    assert not of("ENTRYPOINT")
