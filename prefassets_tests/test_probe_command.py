"""`prefassets probe` finds what was planted in anyone's files, says what it left out, and keeps results for SQL."""

import io
import json

import duckdb
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from prefassets.cli import cli

N, D = 400, 8
R_SQUARED = 0.5
ITEMS = [f"task_{number:03}" for number in range(N)]
GENERATOR = np.random.default_rng(7)
DIRECTION = np.eye(D)[2]
ACTIVATIONS = GENERATOR.standard_normal((N, D)).astype(np.float32)
KNOWN = ACTIVATIONS @ DIRECTION
VALENCE = np.sqrt(R_SQUARED) * KNOWN + np.sqrt(1 - R_SQUARED) * GENERATOR.standard_normal(N)
NOISE = GENERATOR.standard_normal((N, D)).astype(np.float32)
TOPICS = ["math", "poem", "trip", "law"]


def asked(*arguments):
    return CliRunner().invoke(cli, ["probe", *map(str, arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files with a planted direction in layer 16, nothing in layer 8, and a topic that says nothing."""
    folder = tmp_path_factory.mktemp("probe")
    np.savez(folder / "activations.npz", task_ids=np.array(ITEMS), layer16=ACTIVATIONS, layer8=NOISE)
    pl.DataFrame(
        {
            "task_id": [*ITEMS[5:], "other_1", "other_2"],
            "valence": [None, *VALENCE[6:], 1.0, 2.0],
            "liked": [*(VALENCE[5:] > 0).tolist(), True, True],
            "topic": [TOPICS[number % 4] for number in range(5, N)] + [None, None],
        }
    ).write_csv(folder / "targets.csv")
    a, b = GENERATOR.integers(0, N, (2, 4_000))
    won = GENERATOR.random(4_000) < 1 / (1 + np.exp(-2 * (KNOWN[a] - KNOWN[b])))
    pl.DataFrame(
        {
            "task_a": [ITEMS[one] for one in a],
            "task_b": [ITEMS[one] for one in b],
            "choice": ["refusal" if number < 7 else "a" if first else "b" for number, first in enumerate(won)],
        }
    ).write_csv(folder / "choices.csv")
    return folder


@pytest.fixture(scope="module")
def printed(folder):
    return asked(folder / "activations.npz", folder / "targets.csv", "--out", folder / "found")


@pytest.fixture(scope="module")
def scores(folder, printed):
    assert printed.exit_code == 0, printed.output
    return pl.read_parquet(folder / "found" / "score.parquet")


def score(scores, **where):
    (found,) = scores.filter(**where)["estimate"]
    return found


def test_what_was_planted_is_found_held_out_and_nothing_where_nothing_is(scores):
    where = {"target": "valence", "split": "unit", "metric": "r_squared"}
    assert score(scores, **where, layer=16, features="activations") == pytest.approx(R_SQUARED, abs=0.08)
    assert score(scores, **where, layer=8, features="activations") == pytest.approx(0, abs=0.03)
    for features in ("shuffled labels", "random activations", "topic"):
        assert score(scores, **where, layer=16, features=features) == pytest.approx(0, abs=0.05)
    liked = {"target": "liked", "split": "unit", "metric": "auc", "features": "activations"}
    assert score(scores, **liked, layer=16) > 0.75
    other_topics = score(scores, **where | {"split": "leave_one_topic_out"}, layer=16, features="activations")
    assert other_topics == pytest.approx(R_SQUARED, abs=0.08)


def test_people_read_a_table_for_each_target_and_then_a_sentence(printed, scores):
    sentences = {line.split(": ")[0]: line for line in printed.stdout.splitlines() if ": " in line}
    assert "explains" in sentences["valence, ridge"]
    assert "layer 16" in sentences["valence, ridge"]
    assert "It carries over to topics that it has not seen" in sentences["valence, ridge"]
    assert "with an AUC of" in sentences["liked, logistic"]
    table = printed.stdout[printed.stdout.index("valence: ridge probes") : printed.stdout.index("liked: logistic")]
    lines = [line.split("│")[1].strip() for line in table.splitlines() if line.startswith("│")]
    assert lines[:2] == ["layer 8, unnamed", "layer 16, unnamed"]
    assert {"shuffled labels", "random activations", "topic"} <= set(lines)
    at_16 = {"target": "valence", "split": "unit", "metric": "r_squared", "layer": 16}
    (row,) = [line.split("│")[2] for line in table.splitlines() if line.startswith("│ layer 16")]
    assert row.strip().startswith(f"{score(scores, **at_16, features='activations'):.2f} [")


def test_what_is_left_out_is_counted_and_said(folder, printed):
    assert f"left out: 5 of 400 items of {folder}/activations.npz, not in {folder}/targets.csv" in printed.stderr
    assert f"2 of 397 items of {folder}/targets.csv, without activations: other_1, other_2" in printed.stderr
    assert "valence is empty for 1 of 397 items" in printed.stderr


def test_results_are_tables_for_sql_in_which_the_planted_direction_is_found(folder, printed):
    with duckdb.connect() as connection:
        ((cosine,),) = connection.execute(
            f"select list_cosine_similarity(direction, $planted) from '{folder}/found/direction.parquet'"
            " where target = 'valence' and layer = 16",
            {"planted": DIRECTION.tolist()},
        ).fetchall()
        ((predicted, experiment),) = connection.execute(
            f"select count(*), any_value(experiment) from '{folder}/found/prediction.parquet'"
            " where target = 'valence' and layer = 16"
        ).fetchall()
        (states,) = connection.execute(
            f"select list(state order by target) from '{folder}/found/reading.parquet'"
        ).fetchone()
    assert cosine > 0.95
    assert (predicted, experiment) == (394, "activations")
    assert states == ["READABLE", "READABLE"]
    assert {file.name for file in (folder / "found").iterdir()} == {
        f"{name}.parquet" for name in ("score", "sweep", "direction", "prediction", "reading")
    }


def test_programs_get_every_score(folder, scores):
    of_layer = ("--layer", 16, "--seeds", 2)
    of_target = (*of_layer, "--target", "valence", "--format", "json")
    done = asked(folder / "activations.npz", folder / "targets.csv", *of_target)
    assert done.exit_code == 0
    rows = pl.DataFrame(json.loads(done.stdout), infer_schema_length=None)
    assert set(rows["target"]) == {"valence"}
    assert set(rows["layer"]) == {16}
    where = {"split": "unit", "metric": "r_squared", "features": "activations", "target": "valence", "layer": 16}
    assert score(rows, **where) == pytest.approx(score(scores, **where)), "another layer changes nothing of it"
    done = asked(folder / "activations.npz", folder / "choices.csv", *of_layer, "--format", "csv")
    assert done.exit_code == 0
    assert "7 of 4,000 choices are refusal: a win for neither item" in done.stderr
    choices = pl.read_csv(io.StringIO(done.stdout))
    right = {"probe": "bradley_terry", "split": "unit", "metric": "pairwise_accuracy"}
    assert score(choices, **right, features="activations") > 0.8
    assert score(choices, **right, features="random activations") == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("nothing.npz", "targets.csv"), "nothing.npz does not exist; a file of activations was wanted"),
        (("activations.npz", "nothing.csv"), "nothing.csv does not exist; a file of targets was wanted"),
        (("targets.csv", "activations.npz"), "activations.npz: a file of targets ends in .csv or .parquet"),
        (("activations.npz", "targets.csv", "--layer", "9"), "has no layer 9; there is layer 16; layer 8"),
        (("activations.npz", "targets.csv", "--target", "x"), "has no target 'x'; there is valence, liked"),
        (
            ("activations.npz", "targets.csv", "--probe", "bradley_terry"),
            "no target for bradley_terry; there is valence (r",
        ),
        (("activations.npz", "targets.csv", "--probe", "lasso"), "there is no kind of probe 'lasso'; there are "),
        (("activations.npz", "targets.csv", "--slot-bias"), "holds no choices (item_a and item_b), so nothing"),
        (
            ("activations.npz", "others.csv"),
            "no item in common: activations are of task_000, task_001, task_002, ...; t",
        ),
        (("activations.npz", "few.csv"), "3 units have a value of v; 5 folds need at least as many"),
        (("activations.npz", "constant.csv"), "v is 1 for all 400 items; a probe needs it to differ"),
        (("broken.npz", "targets.csv"), "at layer 16: NaN or infinite for 2 of 395 items: task_007, task_008. Leave"),
    ],
)
def test_a_wrong_question_says_what_is_so_and_what_to_do(folder, arguments, complaint):
    broken = ACTIVATIONS.copy()
    broken[[7, 8], [0, 1]] = np.nan, np.inf
    np.savez(folder / "broken.npz", task_ids=np.array(ITEMS), layer16=broken)
    (folder / "others.csv").write_text("item,v\na,1\nb,2\nc,3\n")
    (folder / "few.csv").write_text(f"item,v\n{ITEMS[0]},1\n{ITEMS[1]},2\n{ITEMS[2]},3.5\n")
    (folder / "constant.csv").write_text("item,v\n" + "".join(f"{item},1\n" for item in ITEMS))
    files = [folder / name for name in arguments[:2]]
    done = asked(*files, *arguments[2:])
    assert done.exit_code != 0
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
