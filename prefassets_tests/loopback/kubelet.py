"""What a kubelet does, for a pod that is a local process: its environment, its mounts, its logs, its end.

A process has no file system of its own. So each pod gets a folder as root, volumes are laid out below it, and an
absolute path in the pod's command, arguments or environment that leads to a mount is turned to that place.
"""

import base64
import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

from prefassets_tests.loopback.fork_server import forked
from prefassets_tests.loopback.objects import Object, at_path
from prefassets_tests.loopback.watchdog import ends_with_us

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


class NotYet(Exception):
    """A container cannot be made now; the kubelet says why and tries again."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


Lookup = Callable[[str, str], Object | None]  # plural, name: an object of the pod's namespace


def expand(text: str, environment: Mapping[str, str]) -> str:
    """`$(NAME)` by its value if there is one, `$$(NAME)` as `$(NAME)`, as container `env`, `command` and `args` are.

    https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
    """

    def replaced(found: re.Match[str]) -> str:
        if found[0].startswith("$$"):
            return found[0][1:]
        return environment.get(found[1], found[0])

    return re.sub(r"\$?\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)", replaced, text)


def environment(pod: Object, container: Object, image: Mapping[str, str], find: Lookup) -> dict[str, str]:
    """The variables a container starts with: the image's, then `envFrom`, then `env`, later ones winning.

    Raises:
        NotYet: CreateContainerConfigError, a Secret or ConfigMap or one of its keys is not there and not optional.
    """
    made = dict(image)
    for source in container.get("envFrom", []):
        for kind, plural in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
            if kind in source:
                data = _data(find, plural, source[kind])
                made |= {source.get("prefix", "") + key: value for key, value in data.items()}
    for variable in container.get("env", []):
        if "valueFrom" not in variable:
            made[variable["name"]] = expand(variable.get("value", ""), made)
            continue
        ((kind, source),) = variable["valueFrom"].items()
        if kind == "fieldRef":
            made[variable["name"]] = _field(pod, source["fieldPath"])
        else:
            plural = {"configMapKeyRef": "configmaps", "secretKeyRef": "secrets"}[kind]
            data = _data(find, plural, source)
            if source["key"] in data:
                made[variable["name"]] = data[source["key"]]
            elif not source.get("optional"):
                found = f"{source['key']} in {plural[:-1]} {pod['metadata']['namespace']}/{source['name']}"
                raise NotYet("CreateContainerConfigError", f"couldn't find key {found}")
    return made


def _data(find: Lookup, plural: str, source: Object) -> dict[str, str]:
    found = find(plural, source["name"])
    if found is None:
        if source.get("optional"):
            return {}
        raise NotYet("CreateContainerConfigError", f'{plural[:-1]} "{source["name"]}" not found')
    return texts(found)


def texts(holder: Object) -> dict[str, str]:
    """The contents of a ConfigMap or a Secret, decoded."""
    data = holder.get("data") or {}
    if holder["kind"] == "Secret":
        return {key: base64.b64decode(value).decode() for key, value in data.items()}
    return data


def _field(pod: Object, path: str) -> str:
    if part := re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", path):
        return pod["metadata"].get(part[1], {}).get(part[2], "")
    return str(at_path(pod, path) or "")


class Root:
    """A pod's files: volumes below one folder."""

    def __init__(self, folder: Path, image_folders: Collection[str] = ()) -> None:
        """`image_folders` are those that the image lets its user write to."""
        self.folder = folder
        self.mounts = [SERVICE_ACCOUNT, *image_folders]
        for path in ("/", *image_folders):
            self.at(path).mkdir(parents=True, exist_ok=True)

    def mount(self, pod: Object, container: Object, find: Lookup, shared: Mapping[str, Path]) -> None:
        """Lay out the container's volumes; persistent claims lead to `shared`.

        Raises:
            NotYet: ContainerCreating, a volume's Secret, ConfigMap or claim is not there.
        """
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
        for mounted in container.get("volumeMounts", []):
            volume, path = volumes[mounted["name"]], mounted["mountPath"].rstrip("/")
            self.mounts.append(path)
            at = self.at(path)
            if "persistentVolumeClaim" in volume or "hostPath" in volume:
                claim = at_path(volume, "persistentVolumeClaim.claimName") or volume["hostPath"]["path"]
                if claim not in shared:
                    raise NotYet("ContainerCreating", f'persistentvolumeclaim "{claim}" not found')
                at.parent.mkdir(parents=True, exist_ok=True)
                if not at.exists():
                    at.symlink_to(shared[claim], target_is_directory=True)
            elif "emptyDir" in volume:
                at.mkdir(parents=True, exist_ok=True)
            elif "configMap" in volume or "secret" in volume:
                plural = "configmaps" if "configMap" in volume else "secrets"
                name = at_path(volume, "configMap.name") or at_path(volume, "secret.secretName")
                holder = find(plural, str(name))
                if holder is None:
                    message = (
                        f'MountVolume.SetUp failed for volume "{volume["name"]}" : {plural[:-1]} "{name}" not found'
                    )
                    raise NotYet("ContainerCreating", message)
                if "subPath" in mounted:
                    self.write(path, texts(holder)[mounted["subPath"]])
                else:
                    for key, text in texts(holder).items():
                        self.write(f"{path}/{key}", text)
            else:
                raise NotYet("ContainerCreating", f"the loopback cluster has no volumes of this kind: {volume}")

    def write(self, path: str, text: str) -> None:
        at = self.at(path)
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(text)

    def at(self, path: str) -> Path:
        """Where the pod's absolute `path` is on this machine."""
        return self.folder / path.lstrip("/")

    def turned(self, text: str) -> str:
        """A path to a mount, or to a folder that holds one, at its place below the root; anything else unchanged."""
        path = text.rstrip("/") + "/"
        if path.startswith("/") and path != "/":
            for mount in self.mounts:
                if path.startswith(mount + "/") or (mount + "/").startswith(path):
                    return str(self.at(text))
        return text


class ContainerProcess:
    """One container's process group and what it printed."""

    def __init__(self, command: list[str], environment: Mapping[str, str], folder: Path, ended: Callable[[int], None]):
        """Start it; `ended` is called once, with its exit code as a container runtime gives it (128 + signal).

        Raises:
            OSError: there is no such command, or it cannot be run.
        """
        self.lines: list[tuple[str, str]] = []  # when, in RFC 3339 with nanoseconds, and what
        self.said = threading.Condition()
        self.over = False
        printed, output = os.pipe()
        try:
            self._process = forked(command, environment, folder, output) or subprocess.Popen(
                command,
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError:
            os.close(printed)
            raise
        finally:
            os.close(output)
        self._reader = threading.Thread(target=self._read, args=(printed,), daemon=True)
        self._waiter = threading.Thread(target=self._wait, args=(ended,), daemon=True)
        self._reader.start()
        self._waiter.start()

    def terminate(self) -> None:
        """Send SIGTERM to the container's first process, as a kubelet does; not to its children."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the container's processes; nothing if they are gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def join(self, seconds: float) -> bool:
        """Whether it was over within so many seconds."""
        self._waiter.join(seconds)
        return not self._waiter.is_alive()

    def _read(self, printed: int) -> None:
        with open(printed, errors="replace") as lines:
            for line in lines:
                moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
                with self.said:
                    self.lines.append((moment, line.rstrip("\n")))
                    self.said.notify_all()

    def _wait(self, ended: Callable[[int], None]) -> None:
        with ends_with_us(process_group=self._process.pid):
            code = self._process.wait()
            self.signal(signal.SIGKILL)  # a container takes its children along
        self._reader.join(5)
        with self.said:
            self.over = True
            self.said.notify_all()
        ended(128 - code if code < 0 else code)
