"""The files of a home: in a folder, or as objects in a bucket. Nothing outside this file writes or fetches one.

A new kind of storage is a change to this file alone. Names are relative to the home: `tables/prism/folds/part.parquet`.
"""

import errno
import logging
import os
import random
import re
import shutil
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from prefassets.settings import is_url, local_folder

_TEMPORARY = ".unfinished-"
_AT_ONCE = 16  # objects fetched at the same time
_PATIENCE = 90.0  # seconds that an object store may answer "busy" or not at all before it is given up
_LONGEST_PAUSE = 8.0  # seconds between two tries
_KEPT_SECONDS = 3600  # an old version in the cache outlives its last use by this, so that nobody loses what he reads
_logger = logging.getLogger(__name__)
T = TypeVar("T")


class HomeUnreachable(OSError):
    """The home cannot be used: no such bucket, no right to it, or no answer."""


@dataclass(frozen=True)
class Stored:
    """What a listing says of a file: a version that changes with its content, its size in bytes, and when it came."""

    version: str
    size: int
    written: str


def files_of(home: str, local: str) -> "Files":
    """The files of the home at a path or URL; `local` is the setting of that name."""
    return Objects(home, local_folder(home, local) / "files") if is_url(home) else Folder(Path(home))


class Files(ABC):
    """What the store asks of storage. A file is replaced whole or not at all, and no reader waits for a writer."""

    @property
    @abstractmethod
    def disk(self) -> Path:
        """The folder of this machine that fills up with what is stored or fetched; it may not exist yet."""

    @abstractmethod
    def place(self, name: str) -> str:
        """Where a file is, for people: an absolute path or a URL."""

    @abstractmethod
    def listing(self, under: str = "") -> dict[str, Stored]:
        """Every file below a folder, by name, in order."""

    @abstractmethod
    def find(self, name: str) -> Stored | None:
        """What a listing would say of one file; None if there is none."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The present content.

        Raises:
            FileNotFoundError: there is none.
        """

    @abstractmethod
    def local(self, files: Mapping[str, Stored | None]) -> dict[str, Path]:
        """Paths on this machine to read files from, by name; what is gone by now is left out.

        Args:
            files: what a listing said of each; None where nobody asked.
        """

    @abstractmethod
    def replacing(self, name: str) -> Any:
        """A context that gives a temporary local path. What is written there becomes the file when it ends well."""

    def write(self, name: str, content: bytes) -> None:
        """Make `content` the whole of a file."""
        with self.replacing(name) as temporary:
            temporary.write_bytes(content)

    @abstractmethod
    def write_same(self, name: str, other: str) -> None:
        """Make a file of the present content of another one, without moving that through this process.

        Replacing either later leaves the other as it is.

        Raises:
            FileNotFoundError: there is no other.
        """

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    @abstractmethod
    def leftovers(self) -> list[str]:
        """Temporary files that a killed process left behind; they are never read and may be deleted."""

    @abstractmethod
    def fetched(self) -> int | None:
        """Bytes of fetched files on this machine; None where files are read in place."""


class Folder(Files):
    """A folder. A file is written under a temporary name, synced to disk and renamed."""

    def __init__(self, root: Path) -> None:
        self._root = root.expanduser().absolute()

    @property
    def disk(self) -> Path:
        return self._root

    def place(self, name: str) -> str:
        return str(self._root / name)

    def listing(self, under: str = "") -> dict[str, Stored]:
        start = len(str(self._root)) + 1
        found = {}
        for entry in _files_below(self._root / under):
            if not entry.name.startswith(_TEMPORARY):
                with suppress(FileNotFoundError):  # removed by now
                    found[entry.path[start:]] = _stored(entry.stat())
        return dict(sorted(found.items()))

    def find(self, name: str) -> Stored | None:
        try:
            return _stored((self._root / name).stat())
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes:
        return (self._root / name).read_bytes()

    def local(self, files: Mapping[str, Stored | None]) -> dict[str, Path]:
        return {name: self._root / name for name, stored in files.items() if stored or (self._root / name).exists()}

    @contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}")
        try:
            yield temporary
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)  # a rename survives a power cut only with its folder
        finally:
            temporary.unlink(missing_ok=True)

    def write_same(self, name: str, other: str) -> None:
        with self.replacing(name) as temporary:
            try:
                os.link(self._root / other, temporary)
            except FileNotFoundError:
                raise
            except OSError:  # not every file system can
                shutil.copyfile(self._root / other, temporary)

    def remove(self, name: str) -> None:
        (self._root / name).unlink(missing_ok=True)

    def leftovers(self) -> list[str]:
        return [entry.path for entry in _files_below(self._root) if entry.name.startswith(_TEMPORARY)]

    def fetched(self) -> None:
        return None


class Objects(Files):
    """Objects below a URL of any object store that fsspec knows. A file is one object, written by one PUT.

    What is read through a path is fetched once per version and machine into the folder `cache`, which all processes
    share: a version is named there for itself, written whole, and never changes.
    """

    def __init__(self, url: str, cache: Path) -> None:
        self._url = url.rstrip("/")
        self._cache = cache

    @property
    def disk(self) -> Path:
        return self._cache

    def place(self, name: str) -> str:
        return f"{self._url}/{name}" if name else self._url

    def listing(self, under: str = "") -> dict[str, Stored]:
        prefix = f"{under}/" if under else ""
        start = len(self._root) + 1

        def found() -> Mapping[str, Mapping[str, Any]]:
            # With a prefix, s3fs spares two more requests where nothing is below it.
            return self._store.find(self._root, detail=True, **({"prefix": prefix} if prefix else {}))

        return {
            path[start:]: _described(info)
            for path, info in sorted(self._ask("list", under, found).items())
            if path.startswith(f"{self._root}/{prefix}")
        }

    def find(self, name: str) -> Stored | None:
        try:
            info = self._ask("read", name, lambda: self._store.info(self._path(name)))
        except FileNotFoundError:
            return None
        return _described(info)

    def read(self, name: str) -> bytes:
        return self._ask("read", name, lambda: self._store.cat_file(self._path(name)))

    def local(self, files: Mapping[str, Stored | None]) -> dict[str, Path]:
        found = {name: self._held(name, stored) for name, stored in files.items() if stored is not None}
        wanted = [name for name in files if found.get(name) is None]
        if len(wanted) > 1:
            self._opened  # noqa: B018  made once, before threads ask for it
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                try:
                    found.update(zip(wanted, pool.map(self._fetch, wanted), strict=True))
                except BaseException:
                    pool.shutdown(cancel_futures=True)  # those that wait would each ask as patiently again
                    raise
        elif wanted:
            found[wanted[0]] = self._fetch(wanted[0])
        return {name: path for name in files if (path := found[name]) is not None}

    @contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="prefassets-") as folder:
            temporary = Path(folder) / Path(name).name
            yield temporary
            self._ask("write", name, lambda: self._store.put_file(str(temporary), self._path(name)))

    def write(self, name: str, content: bytes) -> None:
        self._ask("write", name, lambda: self._store.pipe_file(self._path(name), content))

    def write_same(self, name: str, other: str) -> None:
        self._ask("copy", other, lambda: self._store.cp_file(self._path(other), self._path(name)))

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._ask("remove", name, lambda: self._store.rm_file(self._path(name)))

    def leftovers(self) -> list[str]:
        return []

    def fetched(self) -> int:
        total = 0
        for entry in _files_below(self._cache):
            with suppress(FileNotFoundError):  # another process renamed or dropped it
                total += entry.stat().st_size
        return total

    # ---- the cache

    def _place_in_cache(self, name: str, version: str) -> Path:
        folder, _, file = name.rpartition("/")
        stem, dot, ending = file.partition(".")
        return self._cache / folder / f"{stem}@{version}{dot}{ending}"

    def _held(self, name: str, stored: Stored) -> Path | None:
        """The cached file of exactly this version. Its use is noted, so that it is not dropped under a reader."""
        path = self._place_in_cache(name, stored.version)
        try:
            if path.stat().st_size != stored.size:  # cut short by a full disk or a power cut
                return None
            os.utime(path)
        except FileNotFoundError:
            return None
        return path

    def _fetch(self, name: str) -> Path | None:
        """Bring the present version of an object into the cache, unless it is there; None if the object is gone."""
        try:
            return self._ask("read", name, lambda: self._fetch_present(name))
        except FileNotFoundError:
            return None

    def _fetch_present(self, name: str) -> Path:
        # The version is that of the content which is read: s3fs asks for it first and then for that version only, and
        # fails with FileExpired, which is tried again, if it is replaced in between.
        with self._store.open(self._path(name), "rb", cache_type="none") as opened:
            info = getattr(opened, "details", None) or self._store.info(self._path(name))
            stored = _described(info)
            if (held := self._held(name, stored)) is not None:
                return held
            content = opened.read()
        path = self._place_in_cache(name, stored.version)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}")
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        self._drop_old(name, path)
        return path

    def _drop_old(self, name: str, present: Path) -> None:
        """Remove other versions of a file from the cache, and half-written files, that nobody used for an hour."""
        pattern = re.compile(re.escape(self._place_in_cache(name, "*").name).replace(r"\*", "[^@]+"))
        with os.scandir(present.parent) as entries:
            for entry in entries:
                if entry.name != present.name and (pattern.fullmatch(entry.name) or entry.name.startswith(_TEMPORARY)):
                    with suppress(FileNotFoundError):
                        if time.time() - entry.stat().st_mtime > _KEPT_SECONDS:
                            os.remove(entry.path)

    # ---- the object store

    @property
    def _store(self) -> fsspec.AbstractFileSystem:
        return self._opened[0]

    @property
    def _root(self) -> str:
        return self._opened[1]

    @cached_property
    def _opened(self) -> tuple[fsspec.AbstractFileSystem, str]:
        """The object store, and the bucket and prefix of the home in it."""
        options: dict[str, Any] = {"use_listings_cache": False}  # another pod's objects must be seen at once
        if self._url.startswith(("s3://", "s3a://")):
            options |= {
                # Reads an object by one request, so that no two versions can be mixed.
                "max_concurrency": 1,
                # Part of what fsspec tells clients apart by; botocore alone would read it only once.
                "endpoint_url": _endpoint(),
                "config_kwargs": {
                    "max_pool_connections": 2 * _AT_ONCE,
                    "connect_timeout": 10,
                    "read_timeout": 30,
                    "retries": {"total_max_attempts": 1},
                },
            }
        try:
            store, root = fsspec.core.url_to_fs(self._url, **options)
        except (ValueError, ImportError) as error:  # no such kind of URL, or nothing installed that knows it
            raise HomeUnreachable(
                f"the home {self._url} cannot be used: {error}. A folder and s3://bucket/prefix always can."
            ) from error
        store.retries = 1  # s3fs's own; as botocore's above, they would multiply with ours
        return store, root.rstrip("/")

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _ask(self, what: str, name: str, request: Callable[[], T]) -> T:
        """The one policy for an object store that is busy or silent: ask again for a while, then say so.

        Not botocore's: its retries draw on one budget of a client, which sixteen requests at once use up in seconds.

        Raises:
            FileNotFoundError: there is no such object.
            HomeUnreachable: no such bucket, no right, no credentials, or no answer in time.
        """
        began, pause, tries = time.monotonic(), 0.25, 0
        while True:
            tries += 1
            try:
                return request()
            except Exception as error:
                if (problem := self._problem(error)) is not None:
                    raise HomeUnreachable(f"cannot {what} {self.place(name)}: {problem}") from error
                if isinstance(error, FileNotFoundError):
                    raise FileNotFoundError(f"{self.place(name)} does not exist") from error
                if not _may_pass(error):
                    raise
                waited = time.monotonic() - began
                if waited + pause > _PATIENCE:
                    raise HomeUnreachable(
                        f"cannot {what} {self.place(name)}: {_told(error)}, for {waited:.0f} s ({tries} tries). "
                        f"Nothing that was stored is lost; check {_who_answers()} and start the same again."
                    ) from error
                if tries == 2:
                    _logger.warning(
                        "cannot %s %s yet (%s); trying for %.0f s more",
                        what,
                        self.place(name),
                        _told(error),
                        _PATIENCE - waited,
                    )
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _problem(self, error: Exception) -> str | None:
        """What is wrong that waiting does not cure, and what to do; None for anything else."""
        bucket = self._root.partition("/")[0]
        if _code(error) == "NoSuchBucket":
            return f"there is no bucket {bucket!r} at {_who_answers()}; make it, or set PREFASSETS_HOME to another"
        if isinstance(error, PermissionError):
            return (
                f"{_who_answers()} refuses ({_code(error) or 'access denied'}: {error}). This process's identity needs "
                f"s3:ListBucket on {bucket}, and s3:GetObject, s3:PutObject and s3:DeleteObject on what is in it."
            )
        if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
            return (
                "this process has no credentials. They come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, from a "
                "profile (AWS_PROFILE), or from the identity of the pod or machine; see the README on clusters."
            )
        return None


def _may_pass(error: BaseException) -> bool:
    """Whether an error is one of the moment: the store is busy, or the network failed."""
    from aiohttp import ClientError
    from botocore.exceptions import ConnectionError as NoConnection
    from botocore.exceptions import HTTPClientError
    from botocore.parsers import ResponseParserError

    passing = (TimeoutError, ConnectionError, ClientError, NoConnection, HTTPClientError, ResponseParserError)
    return isinstance(error, passing) or (
        isinstance(error, OSError) and error.errno in (errno.EBUSY, errno.EREMOTEIO, errno.EIO)
    )


def _code(error: BaseException) -> str:
    """The object store's own name of an error, if there is one."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def _told(error: BaseException) -> str:
    return f"{_code(error) or type(error).__name__}: {' '.join(str(error).split())}"


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def _who_answers() -> str:
    return _endpoint() or "the object store"


def _stored(info: os.stat_result) -> Stored:
    return Stored(f"{info.st_mtime_ns}-{info.st_ino}-{info.st_size}", info.st_size, str(info.st_mtime_ns))


def _described(info: Mapping[str, Any]) -> Stored:
    """An object by what its store says of it; each kind of store has names of its own."""
    said = [str(info[name]) for name in ("ETag", "etag", "generation", "mtime", "created") if info.get(name)]
    if not said:
        raise ValueError(f"the object store does not say which version {info.get('name')} is")
    written = next((str(info[name]) for name in ("LastModified", "updated", "mtime", "created") if info.get(name)), "")
    return Stored(re.sub(r"[^\w.-]", "", said[0]), info["size"], written)


def _files_below(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Every file below a folder; none if there is no such folder, or while it is being removed."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _files_below(Path(entry.path))
            else:
                yield entry


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
