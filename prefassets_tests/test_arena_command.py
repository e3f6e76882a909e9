"""`prefassets arena`: recipes are finished by one command and once, compared, and predict anyone's battles."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import duckdb
import polars as pl
import pytest

from prefassets_tests.conftest import Home

README = Path("README.md").read_text()
LINES = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
COMMANDS = [line for line in LINES if line.startswith(("prefassets arena ", "prefassets report arena"))]
TRAINS_QWEN = "prefassets arena run lora qlora"  # whose weights cannot be had where tests run
NEW = '''id,prompt,response_a,response_b
1,"[""Should I talk about my work?""]","[""It depends on you.""]","[""No.""]"
2,"[""Hello"", ""And now?""]","[""Hi"", null]","[""Hello"", ""What?""]"
3,"[""Hello""",[],[]
'''


@pytest.fixture(scope="module")
def home(small_folder, tmp_path_factory) -> Home:
    """A home with a tiny model and two finished recipes of few steps."""
    folder = tmp_path_factory.mktemp("arena") / "home"
    shutil.copytree(small_folder, folder)
    home = Home(folder)
    home.ok("arena", "run", "demo_lora", "demo_qlora")
    return home


def test_finished_recipes_are_listed_beside_those_that_never_ran(home):
    states = {row["recipe"]: row["state"] for row in home.rows("arena", "list")}
    assert {recipe for recipe, state in states.items() if state == "finished"} == {"demo_lora", "demo_qlora"}
    assert states["lora"] == "missing"


def test_a_finished_recipe_is_not_trained_again(home):
    again = home.run("arena", "run", "demo_lora")
    assert again.returncode == 0
    assert "training" not in again.stderr
    assert "predictions" not in again.stderr


def test_models_are_printed_beside_baselines_with_what_may_be_said_of_them(home):
    printed = home.ok("arena", "compare")
    rows = home.rows("arena", "compare")
    assert {row["predictor"] for row in rows} >= {"prior", "longer", "length_and_words", "demo_lora", "demo_qlora"}
    assert {row["orders"] for row in rows if row["predictor"] == "demo_lora"} == {"given", "both"}
    for row in rows:
        assert row["log_loss_lower"] < row["log_loss_estimate"] < row["log_loss_upper"]
    for name in ("demo_lora", "demo_qlora"):
        assert re.search(rf"^{name}: ", printed, re.MULTILINE), "its sentence"


def test_new_battles_are_predicted_and_what_is_none_is_counted(home, tmp_path):
    file, out = tmp_path / "test.csv", tmp_path / "out.parquet"
    file.write_text(NEW)
    done = home.run("arena", "predict", str(file), "--recipe", "demo_lora", "--format", "json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["battle"] for row in rows] == ["1", "2"]
    for row in rows:
        assert row["a"] + row["b"] + row["tie"] == pytest.approx(1)
    assert "left out, not JSON: 1, e.g. 3, line 4: " in done.stderr
    home.ok("arena", "predict", str(file), "--recipe", "demo_lora", "--out", str(out))
    assert pl.read_parquet(out).to_dicts() == rows


def test_the_order_of_answers_does_not_change_a_prediction(home, tmp_path):
    file = tmp_path / "test.csv"
    found = []
    for answers in ("response_a,response_b", "response_b,response_a"):
        file.write_text(NEW.replace("response_a,response_b", answers))
        (row, *_) = home.rows("arena", "predict", str(file), "--recipe", "demo_lora")
        found.append(row)
    assert found[0]["a"] == pytest.approx(found[1]["b"], rel=1e-6)


def test_a_recipe_that_is_not_trained_says_how_to_train_it(home, tmp_path):
    (tmp_path / "test.csv").write_text(NEW)
    done = home.run("arena", "predict", str(tmp_path / "test.csv"), "--recipe", "lora")
    assert done.returncode == 1
    assert "prefassets arena run lora" in done.stderr
    unknown = home.run("arena", "run", "nobody")
    assert unknown.returncode == 2
    assert "there is no recipe 'nobody'; there are lora, qlora" in unknown.stderr


def test_a_stale_adapter_predicts_nothing_and_says_what_has_changed(home, tmp_path):
    copy = Home(tmp_path / "home")
    shutil.copytree(home.folder, copy.folder)
    (tmp_path / "test.csv").write_text(NEW)
    record = copy.folder / "artifacts/arena/demo_lora/record.json"
    record.write_text(record.read_text().replace('"prompt": "short"', '"prompt": "other"'))
    done = copy.run("arena", "predict", str(tmp_path / "test.csv"), "--recipe", "demo_lora")
    assert done.returncode == 1
    assert "is stale (prompt: other -> short)" in done.stderr
    assert done.stdout == ""


def test_everything_of_arena_is_in_the_warehouse_and_on_its_page(home):
    predictors = home.rows("sql", "select distinct predictor from arena.predictions")
    assert len(predictors) == 6
    assert "Arena" in {row["what"] for row in home.rows("doctor")}
    page = Path(home.ok("report", "arena").strip())
    assert page == home.folder / "reports/arena.html"
    assert "demo_qlora" in page.read_text()


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != TRAINS_QWEN])
def test_every_command_of_the_readme_runs(home, tmp_path, monkeypatch, command):
    (tmp_path / "test.csv").write_text(NEW)
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.chdir(tmp_path)
    home.ok(*shlex.split(command)[1:])


def test_a_model_that_cannot_be_fetched_is_named_and_what_is_finished_stays(home):
    assert TRAINS_QWEN in COMMANDS
    done = home.run(*TRAINS_QWEN.split()[1:], "demo_unswapped")
    assert done.returncode == 1
    assert "demo_unswapped: predictions" in done.stderr, "another model's recipe is finished all the same"
    assert "'Qwen/Qwen2.5-0.5B-Instruct' is not in the local cache" in done.stderr
    assert {row["state"] for row in home.rows("arena", "list") if row["recipe"] == "demo_lora"} == {"finished"}


def test_a_home_with_other_battles_is_refused_before_anything_is_trained(home, monkeypatch):
    environment = home.environment | {"PREFASSETS_ARENA": "hub"}
    monkeypatch.setattr(Home, "environment", environment)
    done = home.run("arena", "run", "demo_lora")
    assert done.returncode == 1
    assert "holds synthetic battles" in done.stderr
    assert "training" not in done.stderr


def test_every_query_of_the_readme_answers(home):
    queries = [query for query in re.findall(r"```sql\n(.*?)```", README, re.DOTALL) if "arena." in query]
    assert queries
    with duckdb.connect(str(home.folder / "warehouse.duckdb"), read_only=True) as connection:
        for query in queries:
            assert connection.execute(query).fetchall()
