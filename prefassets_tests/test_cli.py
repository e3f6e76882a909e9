"""What the commands promise, on a home that the demo really made."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import duckdb
import polars as pl
import pytest
from safetensors.numpy import load_file

from prefassets.resources.store import Store
from prefassets_tests.short_demo import STEPS

CELL = "artifacts/demo/age.A/seed-123"


def rows(home, *arguments):
    return json.loads(home.ok(*arguments, "--format", "json"))


def weights(home):
    """Digest and time of writing of every adapter."""
    files = sorted(Path(home.folder).glob("artifacts/demo/*/*/adapter_model.safetensors"))
    return {str(file.relative_to(home.folder)): (hash(file.read_bytes()), file.stat().st_mtime_ns) for file in files}


# ---- a finished study


def test_the_demo_finishes_every_cell_and_missing_prints_nothing(demo_home):
    assert demo_home.ok("missing", "demo", "--stale") == ""
    assert len(weights(demo_home)) == 27


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


# ---- missing, failed and stale cells


def test_a_deleted_cell_is_missing_hides_nowhere_and_launch_restores_exactly_it(copied_home):
    before, file = weights(copied_home), copied_home.folder / CELL / "adapter_model.safetensors"
    adapter = load_file(file)
    (copied_home.folder / CELL / "record.json").unlink()

    assert copied_home.ok("missing", "demo") == "age.A|123\n"
    assert "1 missing" in copied_home.ok("doctor")

    launched = copied_home.run("missing", "demo", "--launch")
    assert launched.returncode == 0, launched.stderr
    assert launched.stdout == "age.A|123\n"
    assert "1 cells of demo: training 1, scoring 1" in launched.stderr
    assert copied_home.ok("missing", "demo", "--stale") == ""

    after = weights(copied_home)
    assert {name for name in before if before[name] != after[name]} == {f"{CELL}/adapter_model.safetensors"}
    for name, weight in load_file(file).items():  # alone now, in a pack before: the same up to rounding
        assert abs(weight - adapter[name]).max() < 1e-4, name


def test_verdicts_stand_on_the_seeds_that_exist_and_say_so(copied_home):
    (copied_home.folder / CELL / "record.json").unlink()
    copied_home.ok("missing", "demo", "--format", "csv")
    verdicts = {row["split"]: row for row in rows(copied_home, "verdicts", "demo")}
    assert (verdicts["age"]["seeds_run"], verdicts["region"]["seeds_run"]) == (2, 3)
    assert "2 of 3 planned seeds" in verdicts["age"]["cautions"]
    assert verdicts["age"]["estimate_pp"] is not None, "estimated anew from the seeds that are left, before any run"
    assert "1 of 27 cells are missing" in copied_home.run("verdicts", "demo").stderr


def test_a_stale_cell_is_shown_with_the_field_that_differs_and_trained_again(copied_home):
    record = copied_home.folder / CELL / "record.json"
    told = json.loads(record.read_text())
    told["recipe"]["hyperparameters"]["steps"] = 3
    record.write_text(json.dumps(told))

    assert copied_home.ok("missing", "demo") == ""
    (stale,) = rows(copied_home, "missing", "demo", "--stale")
    assert "1 of 27 cells are stale" in copied_home.run("verdicts", "demo").stderr
    (told,) = (row["cautions"] for row in rows(copied_home, "verdicts", "demo") if row["split"] == "age")
    assert "1 of 6 adapters are stale" in told
    assert rows(copied_home, "sql", "select cell from training.states where state = 'stale'") == [{"cell": "age.A|123"}]
    assert (stale["cell"], stale["state"]) == ("age.A|123", "stale")
    assert stale["reason"] == f"hyperparameters.steps: 3 -> {STEPS}"
    assert copied_home.ok("missing", "demo", "--stale", "--launch") == "age.A|123\n"
    assert copied_home.ok("missing", "demo", "--stale") == ""


def test_margins_of_another_held_out_set_are_scored_again_without_training(copied_home):
    store = Store(home=str(copied_home.folder))
    rows_of_cell = store.query("from training.margins where cohort = 'age.A' and seed = 123")
    store.replace("training.margins", rows_of_cell.head(5), ("demo", "age.A", "123", "0"))
    (found,) = rows(copied_home, "missing", "demo")
    assert (found["cell"], found["state"]) == ("age.A|123", "unscored")
    launched = copied_home.run("missing", "demo", "--launch")
    assert "1 cells of demo: scoring 1" in launched.stderr
    assert "training" not in launched.stderr
    assert copied_home.ok("missing", "demo") == ""


def test_a_study_that_repeats_another_says_what_changed_seed_for_seed_and_says_so_before_it_has_run(copied_home):
    before = copied_home.ok("verdicts", "wpo_demo")
    assert "Nothing to compare with yet: no split is judged in both wpo_demo and demo." in before
    assert "`prefassets missing` with the name of either" in before
    copied_home.ok("missing", "wpo_demo", "--launch")
    printed = copied_home.ok("verdicts", "wpo_demo")
    assert "What changed against demo: labels by each study's own seeds, A - B at the seeds of both" in printed
    assert "all changes: no placebo splits: spread over training users is not in the interval." in printed
    assert "labels on the held-out readout: " in printed
    assert "labels on the tail readout: " in printed
    for row in rows(copied_home, "verdicts", "wpo_demo"):
        assert row["variant_of"] == "demo"
        assert f"{row['split']}: {row['reading']}" in printed
        assert row["change_lower_pp"] < row["change_pp"] < row["change_upper_pp"]
    one = "select distinct common_seeds as seeds from verdicts.method_change where study = 'wpo_demo'"
    assert rows(copied_home, "sql", one) == [{"seeds": 3}]
    page = (copied_home.folder / "reports/wpo_demo.html").read_text()
    assert "What changed against demo?" in page
    assert page.count('id="weight') >= 4, "the four figures of the weights"


def test_a_killed_run_loses_at_most_the_cells_in_training(copied_home):
    deleted = ["personalisation.A", "personalisation.B"]
    for cohort in deleted:
        for seed in (42, 123, 456):
            (copied_home.folder / f"artifacts/demo/{cohort}/seed-{seed}/record.json").unlink()
    first = copied_home.folder / "artifacts/demo/personalisation.A/seed-42/record.json"

    process = subprocess.Popen(
        copied_home.command("missing", "demo", "--launch"),
        env=copied_home.environment | {"PREFASSETS_CELLS_PER_PACK": "2"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not first.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    left = copied_home.ok("missing", "demo").split()
    assert 0 < len(left) <= 6
    assert "personalisation.A|42" not in left, "it was finished before the kill"
    trained_before = weights(copied_home)["artifacts/demo/personalisation.A/seed-42/adapter_model.safetensors"]
    copied_home.ok("missing", "demo", "--launch")
    assert copied_home.ok("missing", "demo", "--stale") == ""
    assert weights(copied_home)["artifacts/demo/personalisation.A/seed-42/adapter_model.safetensors"] == trained_before


# ---- questions


def test_sql_is_read_only_and_always_current(copied_home):
    assert rows(copied_home, "sql", "select count(*) as n from training.cells") == [{"n": 27}]
    assert "nothing here writes" in copied_home.run("sql", "create table x as select 1").stderr
    assert "one SELECT" in copied_home.run("sql", "select 1; select 2").stderr
    file = copied_home.folder / "written.csv"
    assert copied_home.run("sql", f"explain analyze copy (select 1) to '{file}'").returncode != 0
    assert not file.exists()
    assert "Did you mean" in copied_home.run("sql", "from training.cell").stderr


@pytest.mark.parametrize("form", ["table", "csv", "json"])
@pytest.mark.parametrize(
    "question",
    [
        ("plan", "demo"),
        ("verdicts", "demo"),
        ("power", "demo", "--repetitions", "10"),
        ("doctor",),
        ("sql", "from studies.study"),
    ],
)
def test_every_table_prints_in_every_format(demo_home, question, form):
    printed = demo_home.ok(*question, "--format", form)
    assert printed.strip()
    if form == "json":
        assert isinstance(json.loads(printed), list)


def test_an_export_is_a_database_that_stands_alone(demo_home, tmp_path):
    demo_home.ok("export", str(tmp_path / "study.duckdb"), "--with-adapters")
    with duckdb.connect(str(tmp_path / "study.duckdb"), read_only=True) as connection:
        ((files, adapters),) = connection.execute(
            "select count(*), (select count(*) from training.adapters)"
            " from training.adapter_files where file like '%.safetensors'"
        ).fetchall()
    assert files == adapters == 27


def test_plan_says_how_long_the_missing_cells_take(copied_home):
    (copied_home.folder / CELL / "record.json").unlink()
    planned = {row["plan"].strip(): row["demo"] for row in rows(copied_home, "plan", "demo")}
    assert planned["to train"].startswith("1 cell, ")
    assert planned["time on cpu"].startswith(("about ", "less than"))
    assert "cells of dpo finished in this home" in planned["time on cpu"]
    assert "not measured" in planned["memory"]


def test_plan_of_the_matched_study_says_what_is_asked_of_555_cells(empty_home):
    planned = {row["plan"].strip(): row["dpo_matched"] for row in rows(empty_home, "plan", "dpo_matched")}
    assert planned["cells"] == "555 = 37 cohorts x 15 seeds"
    assert planned["variant of"] == "dpo_w2"
    assert planned["groups"].startswith("matched")
    assert planned["shared with dpo_w2"].startswith("3:"), "everyone, fold 0, seeds 42, 123 and 456"


def test_plan_counts_what_two_studies_share(empty_home):
    planned = {row["plan"].strip(): row["dpo_ol"] for row in rows(empty_home, "plan", "dpo_ol")}
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
    assert "leave it out (PREFASSETS_SCALE), or set PREFASSETS_HOME to a new folder" in done.stderr


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
