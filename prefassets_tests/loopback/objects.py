"""What the loopback cluster knows of Kubernetes' object model: kinds, names, selectors, conditions, errors."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import jsonschema
from kubernetes_validate import utils as schemas
from referencing import Registry, Resource

Object = dict[str, Any]

# The oldest and the newest version whose schemas `kubernetes-validate` has.
API_VERSIONS = (schemas.all_versions()[0], schemas.all_versions()[-1])

NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")


class ApiError(Exception):
    """What the API server answers instead of an object: a Status with this code and reason."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message

    def status(self) -> Object:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }


@dataclass(frozen=True)
class Kind:
    """One resource type of the API."""

    plural: str
    name: str
    group: str = ""
    fields: frozenset[str] = field(default_factory=frozenset)  # that field selectors may name, beside metadata's
    namespaced: bool = True
    short_names: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/v1" if self.group else "v1"

    @property
    def full_name(self) -> str:
        """As error messages write it: `pods`, `jobs.batch`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


EVENT_FIELDS = frozenset(
    {f"involvedObject.{name}" for name in ("kind", "namespace", "name", "uid", "apiVersion", "fieldPath")}
    | {"reason", "type", "source", "reportingComponent"}
)
KINDS = {
    kind.plural: kind
    for kind in (
        Kind("namespaces", "Namespace", namespaced=False, short_names=("ns",)),
        Kind("nodes", "Node", namespaced=False, short_names=("no",)),
        Kind("pods", "Pod", fields=frozenset({"spec.nodeName", "status.phase"}), short_names=("po",)),
        Kind("jobs", "Job", group="batch"),
        Kind("events", "Event", fields=EVENT_FIELDS, short_names=("ev",)),
        Kind("configmaps", "ConfigMap", short_names=("cm",)),
        Kind("secrets", "Secret"),
        Kind("serviceaccounts", "ServiceAccount", short_names=("sa",)),
    )
}


def now() -> str:
    """This moment as metadata writes it, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_since(moment: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


@cache
def _validator(kind: str, api_version: str, version: str) -> Any:
    """The strict schema of one kind, as `kubernetes_validate.validate` builds it anew on every call."""
    folder = f"kubernetes-json-schema/v{version}-local-strict"
    versioned = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    schema = schemas.schema_contents(f"{folder}/{kind.lower()}-{versioned}.json", version)
    definitions = schemas.schema_contents(f"{folder}/_definitions.json", version)
    registry: Registry = Resource.from_contents(definitions) @ (Resource.from_contents(schema) @ Registry())
    return jsonschema.validators.Draft202012Validator(schema, registry=registry)


def validate(kind: Kind, body: Object) -> None:
    """Refuse what a real API server would refuse: unknown or ill-typed fields, bad names, bad label values.

    Raises:
        ApiError: 422 with the first field that does not fit and the API version whose schema says so.
    """
    name = body.get("metadata", {}).get("name", "")
    subject = f'{kind.name}{f".{kind.group}" if kind.group else ""} "{name}" is invalid'
    for version in API_VERSIONS:
        for error in _validator(kind.name, kind.api_version, version).iter_errors(body):
            at = ".".join(str(part) for part in error.path) or "(root)"
            raise ApiError(422, "Invalid", f"{subject}: {at}: {error.message} (schema of {version})")
    longest = 63 if kind.plural == "jobs" else 253  # a Job's name becomes a label's value
    if not NAME.fullmatch(name) or len(name) > longest:
        raise ApiError(422, "Invalid", f"{subject}: metadata.name: a lowercase RFC 1123 subdomain, {longest} at most")
    for key, value in body["metadata"].get("labels", {}).items():
        if len(value) > 63 or not LABEL_VALUE.fullmatch(value):
            raise ApiError(422, "Invalid", f"{subject}: metadata.labels: {key}: invalid value {value!r}")


def at_path(thing: Object, path: str) -> Any:
    """The value at a dotted path, None where there is none."""
    for part in path.split("."):
        if not isinstance(thing, dict):
            return None
        thing = thing.get(part)  # type: ignore[assignment]
    return thing


def field_selector(kind: Kind, text: str) -> Callable[[Object], bool]:
    """Whether an object fits `a.b=c,d!=e`.

    Raises:
        ApiError: 400, the kind cannot be selected by such a field.
    """
    terms = []
    for term in filter(None, text.split(",")):
        parts = re.fullmatch(r"([^=!]+)(==|=|!=)(.*)", term)
        if parts is None:
            raise ApiError(400, "BadRequest", f"invalid field selector: {term!r}")
        path, operator, wanted = parts.groups()
        if path not in {"metadata.name", "metadata.namespace"} | kind.fields:
            raise ApiError(400, "BadRequest", f"field label not supported: {path}")
        terms.append((path, operator != "!=", wanted))
    return lambda thing: all(((at_path(thing, path) or "") == wanted) is equal for path, equal, wanted in terms)


def label_selector(text: str) -> Callable[[Object], bool]:
    """Whether an object's labels fit `a=b,c!=d,e in (f,g),h notin (i),j,!k`.

    Raises:
        ApiError: 400, the selector cannot be read.
    """
    tests: list[Callable[[dict[str, str]], bool]] = []
    for term in filter(None, map(str.strip, re.split(r",(?![^(]*\))", text))):
        if among := re.fullmatch(r"(\S+)\s+(in|notin)\s+\(([^)]*)\)", term):
            key, operator, values = among[1], among[2], {value.strip() for value in among[3].split(",")}
            tests.append(lambda labels, k=key, v=values, o=operator: (labels.get(k) in v) is (o == "in"))  # type: ignore[misc]
        elif compared := re.fullmatch(r"([^=!\s]+)\s*(==|=|!=)\s*(\S*)", term):
            key, operator, value = compared.groups()
            tests.append(lambda labels, k=key, v=value, o=operator: (labels.get(k) == v) is (o != "!="))  # type: ignore[misc]
        elif present := re.fullmatch(r"(!?)([^=!\s]+)", term):
            tests.append(lambda labels, k=present[2], wanted=not present[1]: (k in labels) is wanted)  # type: ignore[misc]
        else:
            raise ApiError(400, "BadRequest", f"unable to parse requirement: {term!r}")
    return lambda thing: all(test(thing["metadata"].get("labels") or {}) for test in tests)


def set_condition(thing: Object, kind: str, status: str, reason: str = "", message: str = "") -> None:
    """Add or replace one of `status.conditions`."""
    conditions = thing["status"].setdefault("conditions", [])
    conditions[:] = [condition for condition in conditions if condition["type"] != kind]
    told = {"reason": reason, "message": message}
    conditions.append(
        {"type": kind, "status": status, "lastTransitionTime": now(), **{k: v for k, v in told.items() if v}}
    )


def has_condition(thing: Object, *kinds: str) -> bool:
    return any(
        condition["type"] in kinds and condition["status"] == "True"
        for condition in thing["status"].get("conditions", [])
    )


def as_events_v1(event: Object) -> Object:
    """A core/v1 Event as events.k8s.io/v1 shows it."""
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": event["metadata"],
        "eventTime": event["firstTimestamp"].replace("Z", ".000000Z"),
        "reportingController": event["source"]["component"],
        "reportingInstance": event["source"]["component"],
        "action": event["reason"],
        "reason": event["reason"],
        "regarding": event["involvedObject"],
        "note": event["message"],
        "type": event["type"],
        "deprecatedCount": event["count"],
        "deprecatedFirstTimestamp": event["firstTimestamp"],
        "deprecatedLastTimestamp": event["lastTimestamp"],
        "deprecatedSource": event["source"],
    }
