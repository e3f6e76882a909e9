"""`prefassets utilities` reads a file of choices as it lies and says what must be known beside the utilities."""

import io
import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from prefassets.cli import cli

REPOSITORY = Path(__file__).parents[1]
SLICE = REPOSITORY / "prefassets_tests" / "data" / "preferences" / "villain_60_tasks.csv"
ORDER = SLICE.with_name("villain_60_tasks_order.csv")
VILLAIN = REPOSITORY.parent / "shared" / "data" / "preferences" / "villain_gemma3_27b"


def asked(*arguments):
    return CliRunner().invoke(cli, ["utilities", *map(str, arguments)])


def test_the_published_objective_prints_the_published_numbers():
    if not VILLAIN.exists():
        pytest.skip("the whole file is not here")
    published = VILLAIN / "train_thurstonian.csv"
    done = asked(
        VILLAIN / "train_measurements.yaml", "--objective", "published", "--tasks", published, "--format", "csv"
    )
    assert done.exit_code == 0
    printed, expected = pl.read_csv(io.StringIO(done.stdout)), pl.read_csv(published)
    assert printed["task_id"].equals(expected["task_id"])
    assert printed["mu"].to_numpy() == pytest.approx(expected["mu"].to_numpy(), abs=1e-10)
    assert printed["sigma"].to_numpy() == pytest.approx(expected["sigma"].to_numpy(), abs=1e-10)
    assert "objective 9634.5645 after 36 iterations; log-likelihood -9097.2299" in done.stderr
    assert "219 refusals count as wins of the task in slot B" in done.stderr
    assert "plain maximum-likelihood utilities do not exist" in done.stderr


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_it_prints_in_every_format(form):
    done = asked(SLICE, "--tasks", ORDER, "--format", form)
    assert done.exit_code == 0
    first = ORDER.read_text().split()[1]
    assert first in done.stdout
    if form == "json":
        (row, *_), rows = json.loads(done.stdout), json.loads(done.stdout)
        assert list(row) == ["task_id", "mu", "sigma", "se", "comparisons"]
        assert (row["task_id"], len(rows)) == (first, 60)


def test_what_was_left_out_and_what_refusals_and_slots_did_is_said(tmp_path):
    rows = pl.read_csv(SLICE)
    more = pl.DataFrame([("x", "x", "a"), ("x", "y", "Unparseable")], rows.columns, orient="row")
    pl.concat([rows, more]).write_csv(tmp_path / "more.csv")
    plain = asked(tmp_path / "more.csv", "--tau", 2, "--lambda", "inf")
    assert plain.exit_code == 0
    assert "55 refusals count for neither task" in plain.stderr
    assert "left out: 1 rows: a task compared with itself" in plain.stderr
    assert "left out: 1 rows: unparseable" in plain.stderr
    whole = asked(SLICE, "--slot-bias", "--refusals")
    assert "slot A is ahead by " in whole.stderr
    assert "log odds of a refusal: " in whole.stderr
    assert "of 638 choices and 55 refusals" in whole.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("nothing.yaml",), "nothing.yaml does not exist"),
        ((ORDER,), "line 1: 'task_a' is missing; there is task_id"),
        ((SLICE, "--tasks", SLICE), "line 1: 'task_id' is missing"),
        ((SLICE, "--tau", "0"), "0.0 is not in the range x>0"),
        ((SLICE, "--lambda", "0"), "map wants a positive one"),
        ((SLICE, "--objective", "published", "--slot-bias"), "are for --objective map"),
    ],
)
def test_a_wrong_question_says_what_is_so(arguments, complaint):
    done = asked(*arguments)
    assert done.exit_code != 0
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
