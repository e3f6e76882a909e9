"""What the commands promise, on a home that the demo really made."""

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pytest

from prefassets_tests.short_demo import STEPS

# ---- a finished study


def test_the_warehouse_holds_every_cell(demo_home):
    with duckdb.connect(str(demo_home.folder / "warehouse.duckdb"), read_only=True) as connection:
        ((steps,),) = connection.execute("select count(*) from training.log where study = 'demo'").fetchall()
        ((margins, users),) = connection.execute(
            "select count(distinct (cohort, seed)), count(distinct user_id)"
            " from training.margins join prism.pairs using (pair_id)"
        ).fetchall()
        ((scored, held_out),) = connection.execute(
            "select count(*), (select count(*) from prism.pairs join prism.folds using (user_id) where fold = 0)"
            " from training.margins where cohort = 'everyone' and seed = 42"
        ).fetchall()
    assert steps == 27 * STEPS
    assert margins == 27
    assert scored == held_out
    assert users > 0


def test_no_verdict_reads_what_was_planted():
    for file in Path("sql").rglob("*.sql"):
        assert "planted" not in file.read_text()


# ---- questions


def test_sql_is_read_only_and_always_current(copied_home):
    assert copied_home.rows("sql", "select count(*) as n from training.cells") == [{"n": 27}]
    assert "nothing here writes" in copied_home.run("sql", "create table x as select 1").stderr
    assert "one SELECT" in copied_home.run("sql", "select 1; select 2").stderr
    file = copied_home.folder / "written.csv"
    assert copied_home.run("sql", f"explain analyze copy (select 1) to '{file}'").returncode != 0
    assert not file.exists()
    assert "Did you mean" in copied_home.run("sql", "from training.cell").stderr


FORMS = ("table", "csv", "json")
QUESTIONS = (
    ("plan", "demo"),
    ("verdicts", "demo"),
    ("power", "demo", "--repetitions", "10"),
    ("doctor",),
    ("sql", "from studies.study"),
)
ASKED = """
import json, sys
import prefassets_tests.short_demo
from click.testing import CliRunner
from prefassets.cli import cli

answers = [CliRunner().invoke(cli, asked) for asked in json.load(sys.stdin)]
print(json.dumps([[answer.exit_code, answer.stdout] for answer in answers]))
"""


@pytest.fixture(scope="module")
def printed(demo_home):
    """Exit code and output of every question in every format, all asked of one process."""
    asked = [(*question, "--format", form) for question in QUESTIONS for form in FORMS]
    command = [sys.executable, "-c", ASKED]
    done = subprocess.run(
        command, env=demo_home.environment, input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    return dict(zip(asked, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("question", QUESTIONS)
def test_every_table_prints_in_every_format(printed, question, form):
    exit_code, output = printed[*question, "--format", form]
    assert exit_code == 0
    assert output.strip()
    if form == "json":
        assert isinstance(json.loads(output), list)


def test_an_export_is_a_database_that_stands_alone(demo_home, tmp_path):
    demo_home.ok("export", str(tmp_path / "study.duckdb"), "--with-adapters")
    with duckdb.connect(str(tmp_path / "study.duckdb"), read_only=True) as connection:
        ((files, adapters),) = connection.execute(
            "select count(*), (select count(*) from training.adapters)"
            " from training.adapter_files where file like '%.safetensors'"
        ).fetchall()
    assert files == adapters == 27


def test_plan_says_how_long_the_missing_cells_take(copied_home):
    (copied_home.folder / "artifacts/demo/age.A/seed-123/record.json").unlink()
    planned = {row["plan"].strip(): row["demo"] for row in copied_home.rows("plan", "demo")}
    assert planned["to train"].startswith("1 cell, ")
    assert planned["time on cpu"].startswith(("about ", "less than"))
    assert "cells of dpo finished in this home" in planned["time on cpu"]
    assert "not measured" in planned["memory"]


def test_plan_of_the_matched_study_says_what_is_asked_of_555_cells(empty_home):
    planned = {row["plan"].strip(): row["dpo_matched"] for row in empty_home.rows("plan", "dpo_matched")}
    assert planned["cells"] == "555 = 37 cohorts x 15 seeds"
    assert planned["variant of"] == "dpo_w2"
    assert planned["groups"].startswith("matched")
    assert planned["shared with dpo_w2"].startswith("3:"), "everyone, fold 0, seeds 42, 123 and 456"


def test_plan_counts_what_two_studies_share(empty_home):
    planned = {row["plan"].strip(): row["dpo_ol"] for row in empty_home.rows("plan", "dpo_ol")}
    assert planned["cells"] == "85 = 17 cohorts x 5 seeds"
    assert planned["shared with dpo_w2"].startswith("45:"), (
        "everyone, age, personalisation, safety, region: 9 cohorts x 5"
    )


# ---- kind errors


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ("missing", "dpo_w3"),
            "there is no study 'dpo_w3'; there are demo, demo_placebos, dpo_confirm, dpo_matched, dpo_ol, ",
        ),
        (("verdicts", "demo"), "holds nothing yet"),
        (("verdicts",), "give a STUDY or --contrasts"),
        (("sql", "select 1"), "holds nothing yet"),
    ],
)
def test_a_wrong_question_says_what_is_so_and_what_to_do(empty_home, arguments, complaint):
    done = empty_home.run(*arguments)
    assert done.returncode != 0
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_a_home_refuses_another_source(demo_home):
    done = subprocess.run(
        demo_home.command("demo"),
        env=demo_home.environment | {"PREFASSETS_SCALE": "0.2"},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "leave it out (PREFASSETS_SCALE), or set PREFASSETS_HOME to a new one" in done.stderr


def test_a_home_of_a_version_with_other_columns_says_so_and_what_to_do(copied_home):
    part = copied_home.folder / "tables/studies/study/part.parquet"
    pl.read_parquet(part).drop("matching").write_parquet(part)
    refused = copied_home.run("verdicts", "demo")
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert "was written by another version of prefassets, which knew other columns" in refused.stderr
    assert "`prefassets missing STUDY --stale --launch`" in refused.stderr


def test_a_malformed_setting_names_its_variable(empty_home):
    done = subprocess.run(
        empty_home.command("plan", "demo"),
        env=empty_home.environment | {"PREFASSETS_SCALE": "big"},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "PREFASSETS_SCALE is 'big'" in done.stderr


def test_bad_raw_data_stops_the_line_with_file_line_and_column(empty_home, tmp_path):
    folder = tmp_path / "prism"
    folder.mkdir()
    (folder / "survey.jsonl").write_text('{"user_id": "user0"}\n')
    (folder / "utterances.jsonl").write_text("not json\n")
    done = subprocess.run(
        empty_home.command("demo"),
        env=empty_home.environment | {"PREFASSETS_PRISM": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "survey.jsonl, line 1, column survey_only: missing" in done.stderr
    assert not list(empty_home.folder.glob("tables/prism/*/*.parquet")), "nothing half-written is visible"
