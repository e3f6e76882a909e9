"""What the environment says, read once into one frozen `Settings`."""

import re
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class BadSetting(ValueError):
    """An environment variable has a value that prefassets cannot use."""


def is_url(home: str) -> bool:
    """Whether a home lies in an object store, and not in a folder of this machine."""
    return "://" in home


def local_folder(home: str, local: str) -> Path:
    """The folder of this machine for what belongs to a home on object storage but cannot lie there.

    Named for the home's URL so that a person recognises it and no two homes share it: `s3+bucket+prefix`.
    """
    names = home.replace("://", "/").split("/")
    return Path(local).expanduser().absolute() / "+".join(quote(name, safe="") for name in names if name)


class Settings(BaseSettings):
    """Where everything is and how it runs. Each field is the environment variable `PREFASSETS_<FIELD>`.

    What `source` holds is only read when a home is new: a home pins it on first use (`Store.pin`).
    """

    model_config = SettingsConfigDict(env_prefix="PREFASSETS_", frozen=True, extra="ignore")

    home: str = Field(
        default="home",
        description="folder, or URL of an object store (s3://bucket/prefix), that holds tables, adapters and "
        "warehouse.duckdb; a folder holds Dagster's own state too",
    )
    local: str = Field(
        default="~/.prefassets",
        description="folder on this machine for what a home on object storage cannot hold: files fetched from it, and "
        "Dagster's own state when it runs here",
    )
    prism: str | None = Field(
        default=None, description="`synthetic`, `hub`, or a folder with survey.jsonl and utterances.jsonl"
    )
    scale: float | None = Field(
        default=None, gt=0, le=1, description="share of synthetic PRISM's 1,500 users and of synthetic battles to make"
    )
    seed: int | None = Field(default=None, ge=0, description="seed of what is synthetic, of the folds and of the tasks")
    tasks: str | None = Field(
        default=None, description="`synthetic`, `hub`, or a folder with files of MATH, Alpaca, WildChat or BailBench"
    )
    arena: str | None = Field(
        default=None,
        description="`synthetic`, `hub`, or a file of battles like Chatbot Arena 55k's train.csv",
    )
    executor: Literal["in_process", "multiprocess", "k8s"] = Field(
        default="in_process",
        description="how Dagster runs steps: in the run's process, in a process each, or GPU steps as Kubernetes Jobs",
    )
    step_jobs: int = Field(default=8, ge=1, description="most Kubernetes Jobs that one run has at once")
    gpu_nodes: dict[str, str] = Field(
        default_factory=dict, description='labels of nodes with GPUs, as JSON: {"cloud/accelerator": "h100"}'
    )
    start_seconds: float = Field(
        default=3600, gt=0, description="seconds that a step's pod may wait for a free GPU before its step fails"
    )
    cells_per_job: int = Field(default=32, ge=1, description="most cells that one training run takes")
    engine: Literal["packed", "trl"] = Field(
        default="packed", description="what trains: `packed`, many cells at once, or `trl`, one after the other"
    )
    cells_per_pack: int | None = Field(
        default=None, ge=1, description="cells trained at once; by default as many as pay and fit into memory"
    )
    checkpoint_seconds: float = Field(
        default=300, ge=0, description="seconds between two writes of the state of the cells in training"
    )
    requests_at_once: int = Field(default=16, ge=1, description="most requests that an endpoint of models has at once")
    request_seconds: float = Field(
        default=120,
        gt=0,
        description="seconds after which a request to an endpoint of models is given up and sent again",
    )
    patience_seconds: float = Field(
        default=600,
        gt=0,
        description="seconds for which a request to an endpoint of models is sent again while it is busy or silent",
    )
    dagster: str | None = Field(
        default=None,
        description="address of a Dagster web server elsewhere, `https://dagster.example.org`; runs are launched there",
    )
    dagster_token: SecretStr | None = Field(
        default=None, description="what that server's proxy asks for; sent as `Authorization: Bearer ...`"
    )

    @field_validator("home")
    @classmethod
    def _home_is_absolute(cls, home: str) -> str:
        return home.rstrip("/") if is_url(home) else str(Path(home).expanduser().absolute())

    @field_validator("prism", "tasks", "arena")
    @classmethod
    def _path_is_absolute(cls, source: str | None) -> str | None:
        """A home remembers its sources; a relative path would mean another one from elsewhere."""
        return source if source in (None, "synthetic", "hub") else str(Path(source).absolute())

    @field_validator("dagster")
    @classmethod
    def _is_the_address_of_a_server(cls, dagster: str | None) -> str | None:
        """Without the slash at its end. A path is kept: a proxy may serve Dagster under one."""
        if dagster is None:
            return None
        address = urlsplit(dagster)
        _ = address.port  # raises if it is no number
        if address.scheme not in ("http", "https") or not address.hostname or address.query or address.fragment:
            raise ValueError("an address such as https://dagster.example.org was wanted, http:// or https://")
        if address.username is not None:
            raise ValueError("it must not hold a user or password; PREFASSETS_DAGSTER_TOKEN is for that")
        return dagster.rstrip("/").removesuffix("/graphql")

    @property
    def source(self) -> dict[str, Any]:
        """What is asked for of where a home's data come from, as `Store.source` takes it; None for whatever it has."""
        return {name: getattr(self, name) for name in ("prism", "scale", "seed", "tasks", "arena")}

    @property
    def dagster_home(self) -> Path:
        """Dagster's own state lives in the home too, so that one folder is the whole project; beside it for a URL."""
        return (local_folder(self.home, self.local) if is_url(self.home) else Path(self.home)) / "dagster"


@cache
def settings() -> Settings:
    """The settings of this process.

    Raises:
        BadSetting: a variable is malformed; the message names the variable, its value and what was wanted.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"PREFASSETS_{'_'.join(map(str, first['loc'])).upper()}"
        meaning = Settings.model_fields[str(first["loc"][0])].description
        given = re.sub("//[^/]*@", "//...@", str(first["input"]))  # never a password
        raise BadSetting(f"{name} is {given!r}: {first['msg']}. It says: {meaning}.") from error
