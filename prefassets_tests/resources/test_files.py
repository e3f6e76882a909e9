"""What files promise on object storage: one PUT each, fetched once, never under a wrong version, patient and clear."""

import os
import signal
import subprocess
import sys
import threading
import time

import polars as pl
import pytest
import s3fs

from prefassets.resources import files
from prefassets.resources.files import HomeUnreachable, Objects, files_of
from prefassets.resources.store import DataSource, Store
from prefassets_tests.loopback.object_storage import BUCKET
from prefassets_tests.resources.test_store import finish, folds, margins


@pytest.fixture
def objects(storage, tmp_path) -> Objects:
    return files_of(storage.new_home(), str(tmp_path / "local"))


@pytest.fixture
def store(storage, tmp_path) -> Store:
    return Store(home=storage.new_home(), local=str(tmp_path / "local"))


def path_of(objects, name):
    """The path on this machine to read the file from, as after a listing."""
    return objects.local({name: objects.listing()[name]})[name]


def key_of(store, name):
    return f"{store.home.removeprefix('s3://' + BUCKET + '/')}/{name}"


# ---- writing


def test_every_file_is_one_put_and_nothing_is_copied_or_renamed(storage, store):
    store.pin(DataSource())
    store.replace("prism.folds", folds(("u1", 0)))
    finish(store, 1, result="r")
    store.write_checkpoint("f", b"state")
    store.write_file("reports/s.html", b"<p>")
    with store.replacing_file("warehouse.duckdb") as (temporary, _):
        temporary.write_bytes(b"database")
    written = {path.removeprefix(f"{BUCKET}/") for method, path in storage.requests if method == "PUT"}
    assert written == {
        key_of(store, name)
        for name in (
            "home.json",
            "tables/prism/folds/part.parquet",
            "artifacts/s/age.A/seed-1/r/adapter_model.safetensors",
            "artifacts/s/age.A/seed-1/record.json",
            "checkpoints/f",
            "reports/s.html",
            "warehouse.duckdb",
        )
    }
    assert storage.count("PUT") == len(written)
    assert storage.count("POST") == 0, "an upload in parts"


def test_an_adopted_adapter_is_not_moved_through_this_process(storage, store):
    finish(store, 1)
    twin = store.record("s/age.A/seed-1")
    storage.forget()
    store.put_same("t/age.A/seed-1", "s/age.A/seed-1", twin, {"fingerprint": "f"}, "r")
    assert storage.count("GET", "safetensors") == 0
    assert store.files("t/age.A/seed-1") == {"adapter_model.safetensors": b"weights"}


MURDERED = """
import sys
from prefassets.resources.store import Store
Store(home=sys.argv[1]).write_file("reports/s.html", b"new " * 2_000_000)
"""


def test_a_writer_killed_in_the_middle_of_a_put_leaves_the_old_content(storage, store):
    store.write_file("reports/s.html", b"old")
    with storage.holding("PUT", "reports/s.html") as came:
        writer = subprocess.Popen([sys.executable, "-c", MURDERED, store.home])
        assert came.wait(30)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
    assert store.local_file("reports/s.html").read_bytes() == b"old"


# ---- reading


def test_an_object_is_fetched_once_for_all_processes_of_a_machine(storage, store):
    for seed in (1, 2, 3):
        finish(store, seed)
        store.replace("training.margins", margins(seed, 0.5), ("s", "age.A", str(seed), "0"))
    storage.forget()
    rows = store.query("from training.margins order by seed")
    fetched = [path for method, path in storage.requests if method == "GET"]
    assert len(fetched) == len(set(fetched)) == 3 + 3, "three records, three parts"
    storage.forget()
    again = Store(home=store.home, local=store.local)
    assert again.query("from training.margins order by seed").equals(rows)
    assert storage.count() == storage.count("LIST") == 2, "artifacts, and the table's folder"


def test_what_another_process_wrote_is_seen_at_once_and_fetched_anew(store):
    for fold in (1, 2, 1):  # back to what it was before
        Store(home=store.home, local=store.local).replace("prism.folds", folds(("u", fold)))
        assert store.read("prism.folds").rows() == store.read("prism.folds", ()).rows() == [("u", fold)]


def test_an_object_that_changes_after_it_was_listed_is_not_cached_as_what_was_listed(objects):
    objects.write("reports/s.html", b"before")
    listed = objects.listing()
    objects.write("reports/s.html", b"later!")
    path = objects.local(listed)["reports/s.html"]
    assert path.read_bytes() == b"later!"
    assert path == path_of(objects, "reports/s.html")
    objects.write("reports/s.html", b"before")
    assert objects.local(listed)["reports/s.html"].read_bytes() == b"before"


def test_an_object_that_changes_between_two_requests_of_one_fetch_is_cached_as_what_it_is(storage, objects):
    objects.write("reports/s.html", b"before")
    found = []
    with storage.holding("GET", "reports/s.html") as came:
        reader = threading.Thread(target=lambda: found.append(objects.local({"reports/s.html": None})))
        reader.start()
        assert came.wait(30)
        objects.write("reports/s.html", b"later!")
    reader.join()
    assert found[0]["reports/s.html"].read_bytes() == b"later!"
    assert found[0]["reports/s.html"] == path_of(objects, "reports/s.html")


def test_a_cached_file_that_was_cut_short_is_fetched_again(objects):
    objects.write("reports/s.html", b"whole")
    path_of(objects, "reports/s.html").write_bytes(b"who")
    assert path_of(objects, "reports/s.html").read_bytes() == b"whole"


def test_old_versions_leave_the_cache_once_nobody_has_read_them_for_an_hour(objects):
    for content in (b"first", b"second", b"third"):
        objects.write("reports/s.html", content)
        objects.write("reports/s2.html", content)
        path_of(objects, "reports/s2.html")
        path = path_of(objects, "reports/s.html")
        if content == b"first":
            long_ago = time.time() - 2 * 3600
            os.utime(path, (long_ago, long_ago))
    assert {file.read_bytes() for file in path.parent.glob("s@*")} == {b"second", b"third"}
    assert len(list(path.parent.glob("s2@*"))) == 3, "another file's"
    assert objects.fetched() == len(b"second" + b"third" + b"first" + b"second" + b"third")


def test_reading_through_the_cache_keeps_a_version_in_use(objects):
    objects.write("reports/s.html", b"first")
    path = path_of(objects, "reports/s.html")
    long_ago = time.time() - 2 * 3600
    os.utime(path, (long_ago, long_ago))
    assert path_of(objects, "reports/s.html") == path
    objects.write("reports/s.html", b"second")
    path_of(objects, "reports/s.html")
    assert path.read_bytes() == b"first", "somebody was given it a moment ago"


def test_a_home_that_is_a_whole_bucket_and_one_whose_name_begins_another_s_are_apart(storage, tmp_path):
    storage.make_bucket("whole")
    for url in ("s3://whole", "s3://whole/a", "s3://whole/ab/"):
        objects = files_of(url, str(tmp_path))
        objects.write("home.json", url.encode())
        assert objects.read("home.json") == url.encode()
        assert path_of(objects, "home.json").read_bytes() == url.encode()
    assert list(files_of("s3://whole/a", str(tmp_path)).listing()) == ["home.json"]


def test_other_object_stores_that_fsspec_knows_hold_a_home_too(tmp_path):
    store = Store(home="memory://bucket/home", local=str(tmp_path))
    finish(store, 1)
    for margin in (0.5, 0.25):
        store.replace("training.margins", margins(1, margin), ("s", "age.A", "1", "0"))
        assert store.query("from training.margins")["margin"].to_list() == [margin]
    assert store.files("s/age.A/seed-1") == {"adapter_model.safetensors": b"weights"}
    store.discard("s/age.A/seed-1")
    assert store.records() == {}


# ---- trouble


def test_a_store_that_is_busy_for_a_while_is_outlived(storage, store):
    for seed in range(20):
        finish(store, seed)
    storage.busy(seconds=1.5)
    assert len(store.records()) == 20
    for method in ("PUT", "HEAD", "GET", "LIST", "DELETE"):
        storage.busy(requests=2, method=method)
        store.replace("prism.folds", folds((method, 0)))
        assert store.read("prism.folds").rows() == [(method, 0)]
        store.discard("s/age.A/seed-1")


def test_a_store_that_stays_busy_is_a_clear_error_that_names_what_was_asked(storage, store, monkeypatch):
    monkeypatch.setattr(files, "_PATIENCE", 0.5)
    for seed in range(40):
        finish(store, seed)
    storage.busy()
    with pytest.raises(HomeUnreachable) as told:
        store.replace("prism.folds", folds(("u", 0)))
    for part in (f"cannot write {store.home}/tables/prism/folds/part.parquet", "SlowDown", "tries", storage.url):
        assert part in str(told.value)
    storage.busy(method="GET")
    began = time.monotonic()
    with pytest.raises(HomeUnreachable, match="cannot read"):
        store.records()
    assert time.monotonic() - began < 20, "sixteen at once are given up once, not one after the other"


def test_a_server_that_is_not_there_is_a_clear_error(storage, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_PATIENCE", 0.5)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(
        HomeUnreachable, match=r"cannot read s3://homes/x/home.json: EndpointConnectionError.*127.0.0.1:9"
    ):
        Store(home="s3://homes/x", local=str(tmp_path)).pinned()


@pytest.mark.parametrize("ask", [Store.pinned, Store.records, lambda store: store.pin(DataSource())])
def test_a_missing_bucket_is_not_an_empty_home(storage, tmp_path, ask):
    with pytest.raises(HomeUnreachable, match="there is no bucket 'nowhere' at http://127"):
        ask(Store(home="s3://nowhere/home", local=str(tmp_path)))


@pytest.mark.parametrize(("url", "why"), [("s4://b/h", "Protocol not known: s4"), ("gs://b/h", "install gcsfs")])
def test_a_url_that_nothing_here_can_read_says_so(tmp_path, url, why):
    with pytest.raises(HomeUnreachable, match=f"the home {url} cannot be used: .*{why}"):
        Store(home=url, local=str(tmp_path)).pinned()


@pytest.mark.parametrize("ask", [Store.pinned, Store.records, lambda store: store.local_file("home.json")])
def test_a_refusal_says_which_rights_are_needed(storage, store, ask):
    storage.busy(code="AccessDenied")
    with pytest.raises(HomeUnreachable, match="needs s3:ListBucket on homes, and s3:GetObject, s3:PutObject"):
        ask(store)
    assert storage.count() == 1, "asking again would not help"


def test_without_credentials_it_says_where_they_come_from(storage, store, monkeypatch):
    s3fs.S3FileSystem.clear_instance_cache()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(HomeUnreachable, match=r"no credentials\. They come from AWS_ACCESS_KEY_ID"):
        store.pinned()
    s3fs.S3FileSystem.clear_instance_cache()


# ---- many at once

WRITERS, READERS, PARTS, ROWS = 8, 2, 2, 200
WRITER = """
import sys
from pathlib import Path
from prefassets.resources.files import files_of  # not the whole store: eight processes import this
home, local, *written = sys.argv[1:]
objects = files_of(home, local)
for folder in map(Path, written):
    for path in folder.rglob("*.parquet"):
        objects.write(str(path.relative_to(folder)), path.read_bytes())
"""


def written_by(writer, number, folder):
    """The files of one round of one writer's parts, in a folder."""
    store = Store(home=str(folder / f"{writer}-{number}"))
    for seed in range(PARTS):
        rows = margins(seed, *[float(number)] * ROWS).with_columns(cohort=pl.lit(f"w{writer}.A"))
        store.replace("training.margins", rows, ("s", f"w{writer}.A", str(seed), "0"), result="r")
    return store.home


def test_two_readers_of_what_eight_processes_write_never_see_half(store, tmp_path):
    for writer in range(WRITERS):
        for seed in range(PARTS):
            store.put(f"s/w{writer}.A/seed-{seed}", {}, {}, "r")
    stop, wrong, reads = threading.Event(), [], []

    def read():
        reader = Store(home=store.home, local=store.local)
        while not stop.is_set():
            try:
                counts = reader.query(
                    "select count(*) as n, count(distinct margin) as rounds from training.margins group by cohort, seed"
                )
                wrong.extend(counts.filter((pl.col("n") != ROWS) | (pl.col("rounds") != 1)).rows())
            except Exception as error:  # a thread's own would be seen by nobody
                wrong.append(error)
            reads.append(counts.height)

    readers = [threading.Thread(target=read) for _ in range(READERS)]
    rounds = [[written_by(writer, number, tmp_path) for number in range(3)] for writer in range(WRITERS)]
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, store.home, store.local, *mine]) for mine in rounds]
    for reader in readers:
        reader.start()
    codes = {writer.wait() for writer in writers}
    stop.set()
    for reader in readers:
        reader.join()
    assert codes == {0}
    assert wrong == []
    assert len(reads) > READERS
    rows = store.query("select margin, count(*) as n from training.margins group by margin")
    assert rows.rows() == [(2.0, WRITERS * PARTS * ROWS)]
