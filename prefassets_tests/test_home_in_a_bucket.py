"""The finished demo, carried into a bucket: every question has the answer that it has in a folder."""

from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from prefassets.resources.files import files_of
from prefassets_tests.conftest import Home


@dataclass(frozen=True)
class HomeInBucket(Home):
    """A home at a URL, and the folder for what is fetched from it."""

    url: str

    @property
    def environment(self):
        return super().environment | {"PREFASSETS_HOME": self.url, "PREFASSETS_LOCAL": str(self.folder)}


@pytest.fixture
def bucket_home(demo_home, storage, tmp_path) -> HomeInBucket:
    home = HomeInBucket(tmp_path / "local", storage.new_home())
    bucket = files_of(home.url, str(home.folder))
    for name in files_of(str(demo_home.folder), "").listing():
        if not name.startswith("dagster/"):
            bucket.write(name, Path(demo_home.folder, name).read_bytes())
    return home


def test_a_home_carried_into_a_bucket_answers_as_the_folder_did(demo_home, bucket_home, tmp_path):
    assert bucket_home.rows("verdicts", "demo") == demo_home.rows("verdicts", "demo")
    assert bucket_home.ok("missing", "demo", "--stale") == ""
    asked = ("power", "demo", "--repetitions", "10")
    assert bucket_home.rows(*asked) == demo_home.rows(*asked)
    export = tmp_path / "study.duckdb"
    bucket_home.ok("export", str(export), "--with-adapters")
    with duckdb.connect(str(export), read_only=True) as connection:
        weights = connection.execute("select count(*) from training.adapter_files where file like '%.safetensors'")
        assert weights.fetchall() == [(27,)]


def test_doctor_and_report_say_where_what_is_in_a_bucket_can_be_opened(bucket_home):
    told = bucket_home.run("report", "demo")
    assert told.stdout.strip() == f"{bucket_home.url}/reports/demo.html"
    copy = Path(told.stderr.partition("a copy to open here: ")[2].strip())
    assert copy.is_relative_to(bucket_home.folder)
    assert "</html>" in copy.read_text()
    found = {row["what"]: row["found"] for row in bucket_home.rows("doctor")}
    assert found["home"].startswith(f"{bucket_home.url}: synthetic PRISM")
    assert str(bucket_home.folder) in found["fetched files"]
    assert "prefassets export FILE" in found["warehouse.duckdb"]
