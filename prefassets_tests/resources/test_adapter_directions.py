"""`probes.adapter`: what a home keeps of a study's adapters reaches the statistics as it was read, and only once."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from prefassets.domain.probes import adapter_directions as domain
from prefassets.resources import cells as cells_of_homes
from prefassets.resources.adapter_directions import TABLE, adapter_directions
from prefassets.resources.cells import StudyData, artifact, base_reading
from prefassets.resources.sql_tables import all_tables
from prefassets.resources.tables import TABLES
from prefassets.studies import all_studies
from prefassets.studies.study import Expected, Extraction
from prefassets_tests.domain.probes.moved import drawn_read
from prefassets_tests.resources.test_cells import frame

SEEDS = (1, 2, 3)
STUDY = replace(
    all_studies()["demo"],
    expected={"age": Expected.EXPLORATORY},
    seeds=SEEDS,
    activations=Extraction(depths=(1,), positions=("turn_boundary", "response_mean"), pairs=10_000),
)
READ = drawn_read(users=(6, 5), seeds=len(SEEDS), apart=0.5, adapters=("A", "B", "everyone"))
PLACE = {"layer": 2, "position": "response_mean"}


def vectors(table, labels, pair_ids, of_response):
    """Rows of a table of activations: per pair and response the vector that `of_response` has for it."""
    rows = [
        labels | PLACE | {"pair_id": pair, "response": response, "width": len(vector), "activation": vector.tolist()}
        for response, vectors_PF in of_response.items()
        for pair, vector in zip(pair_ids, vectors_PF, strict=True)
    ]
    return frame(table, rows)


@pytest.fixture
def home(store, monkeypatch):
    """A home in which the base model and nine adapters were read, as `READ` says."""
    monkeypatch.setattr(cells_of_homes, "all_studies", lambda: {STUDY.name: STUDY})
    number = pl.int_range(pl.len()).cast(pl.String).str.zfill(5)
    numbered = READ.pairs.with_columns(pair_id="p" + number)
    ids = numbered["pair_id"].to_list()
    store.replace("prism.pairs", frame("prism.pairs", numbered.select("pair_id", "user_id").to_dicts()))
    users = numbered.select("user_id", "user_group").unique(maintain_order=True)
    store.replace("prism.folds", pl.DataFrame({"user_id": users["user_id"], "fold": [0] * len(users)}))
    groups = users.with_columns(split=pl.lit("age")).to_dicts()
    store.replace("splits.assignments", frame("splits.assignments", groups))
    base = {"base_model": "tiny", "revision": "r1", "layers": 2}
    store.replace("model.base", frame("model.base", [base]), ("tiny",))
    fingerprint = base_reading(store, STUDY.reference).fingerprint
    labels = {"reference": STUDY.reference, "revision": "r1", "fingerprint": fingerprint}
    of_base = {"chosen": READ.chosen_PF, "rejected": READ.rejected_PF}
    store.replace("model.activations", vectors("model.activations", labels, ids, of_base), [STUDY.reference])
    counted = []
    for cell in STUDY.cells:
        own = {**cells_of_homes.cell_row(cell), "fingerprint": cell.key}
        del own["cell"]
        difference_PF = READ.adapters[cell.user_group or "everyone", cell.seed - 1]
        moved = {"chosen": difference_PF, "rejected": np.zeros_like(difference_PF)}
        rows = vectors("training.activations", own, ids, moved)
        store.replace("training.activations", rows, cell.partition, result="r")
        store.put(artifact(cell), {}, {"fingerprint": cell.key}, "r")
        counted.append(
            {name: own[name] for name in ("study", "cohort", "seed", "fold", "fingerprint")} | {"recipe": "x"}
        )
    declared = all_tables()["verdicts.counted"]
    store.replace("verdicts.counted", pl.DataFrame([row | {"steps": 1} for row in counted], declared.schema))
    return store


def test_what_is_said_is_said_of_the_activations_that_were_kept(home):
    found = adapter_directions(home, STUDY)
    by_seed = {(adapter, seed + 1): values for (adapter, seed), values in READ.adapters.items()}
    expected = domain.measure_directions("age", "exploratory", replace(READ, adapters=by_seed))
    rows = pl.DataFrame(domain.adapter_rows({(2, "response_mean"): [expected]}), infer_schema_length=None)
    assert found["quantity"].to_list() == rows["quantity"].to_list()
    np.testing.assert_allclose(
        found["estimate"].to_numpy(), rows["estimate"].cast(pl.Float64).to_numpy(), rtol=1e-3, atol=1e-4
    )
    assert set(found["seeds"].unique()) <= {0, len(SEEDS)}
    assert found["users_a"].max() == 6
    assert set(found["position"]) == {"response_mean"}  # before the response, both are the same text


def test_nothing_is_computed_twice_and_nothing_that_changed_stays(home, monkeypatch):
    made = adapter_directions(home, STUDY)
    home.replace(TABLE, made, [STUDY.name])
    monkeypatch.setattr(domain, "measure_directions", lambda *_: pytest.fail("computed again"))
    assert adapter_directions(home, STUDY).equals(made)
    monkeypatch.undo()
    monkeypatch.setattr(cells_of_homes, "all_studies", lambda: {STUDY.name: STUDY})
    home.discard(artifact(STUDY.cells[-1]))  # a seed of B
    assert home.query("select count(*) from training.activations").item() > 0
    again = adapter_directions(home, STUDY)
    assert again["fingerprint"][0] != made["fingerprint"][0]
    assert again["seeds"].max() == len(SEEDS) - 1


def test_of_a_base_model_that_is_to_be_read_again_nothing_is_said(home):
    home.replace("model.base", frame("model.base", [{"base_model": "tiny", "revision": "r2", "layers": 2}]), ("tiny",))
    assert adapter_directions(home, STUDY).equals(TABLES[TABLE].empty())


def test_of_a_study_that_keeps_none_nothing_is_said(home):
    assert adapter_directions(home, replace(STUDY, activations=None)).is_empty()
    assert StudyData(home, replace(STUDY, activations=None)).layers == ()
