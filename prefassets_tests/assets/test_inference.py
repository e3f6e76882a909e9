"""What the verdict tables that resample users leave in a home."""

import dagster as dg
import numpy as np
import polars as pl

from prefassets.assets.inference import heterogeneity, label_noise
from prefassets.resources.store import Store
from prefassets.resources.tables import TABLES

USERS, PAIRS_EACH = 60, 6


def fill(table, rows):
    blank = dict.fromkeys(TABLES[table].columns, None)
    defaults = {
        name: [] if column.dtype.is_nested() else "" if column.dtype == pl.String else 0
        for name, column in TABLES[table].columns.items()
    }
    return pl.DataFrame([blank | defaults | row for row in rows], schema=TABLES[table].schema)


def home_with(folder, references):
    store = Store(home=str(folder))
    rng = np.random.default_rng(0)
    pairs = [
        {"pair_id": f"u{user}c{turn}.1", "user_id": f"u{user}", "conversation_id": f"u{user}c{turn}"}
        for user in range(USERS)
        for turn in range(PAIRS_EACH)
    ]
    store.replace("prism.pairs", fill("prism.pairs", pairs))
    store.replace(
        "splits.assignments",
        fill(
            "splits.assignments",
            [{"split": "age", "user_id": f"u{user}", "user_group": "AB"[user % 2]} for user in range(USERS)],
        ),
    )
    for reference, base_model, width in references:
        rows = [
            {
                "reference": reference,
                "base_model": base_model,
                "revision": "r",
                "pair_id": pair["pair_id"],
                "response": response,
                "hidden_mean": (rng.normal(size=width) + (response == "chosen")).tolist(),
            }
            for pair in pairs
            for response in ("chosen", "rejected")
        ]
        store.replace("model.reference", fill("model.reference", rows), [reference])
    return store


def test_each_reference_pass_has_its_own_rows(tmp_path):
    store = home_with(tmp_path / "home", [("tiny@96:float32", "tiny", 4), ("big@1024:bfloat16", "big", 9)])
    assert dg.materialize([heterogeneity], resources={"store": store}).success
    rows = store.read("verdicts.heterogeneity")
    assert rows.select("base_model", "user_group").rows() == [
        (base_model, group) for base_model in ("big", "tiny") for group in ("A", "B", "A - B", "A + B")
    ]
    assert set(rows["state"]) == {"estimated"}
    assert rows.filter(user_group="A")["pairs"].to_list() == [USERS // 2 * PAIRS_EACH] * 2
    # Every user prefers the same: chosen answers are one unit further along every feature.
    together = rows.filter(user_group="A + B")
    assert together["heterogeneity"].abs().max() < 0.15


def test_a_home_without_a_reference_pass_has_an_empty_table(tmp_path):
    store = home_with(tmp_path / "home", [])
    assert dg.materialize([heterogeneity], resources={"store": store}).success
    assert store.read("verdicts.heterogeneity").is_empty()


def test_a_home_without_labels_has_no_noise_of_them(tmp_path):
    store = Store(home=str(tmp_path / "home"))
    assert dg.materialize([label_noise], resources={"store": store}).success
    assert store.read("verdicts.change_noise").is_empty()
