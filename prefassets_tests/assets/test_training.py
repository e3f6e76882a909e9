"""The check on logged weights names the cells that cannot be right, and is silent otherwise."""

import pytest

from prefassets.assets.training import weights_are_in_their_range
from prefassets.resources.cells import artifact
from prefassets.resources.store import Store
from prefassets.studies import demo
from prefassets_tests.sql.small_study import frame


@pytest.mark.parametrize(
    ("weights", "passed"),
    [
        ([(0.2, 0.1, 0.0), (1.0, 1.0, 1.0)], True),
        ([(None, None, None)] * 2, True),
        ([(0.2, 0.0, 0.0)] * 2, False),
        ([(1.1, 0.9, 0.5)] * 2, False),
        ([(0.2, 0.3, 0.0)] * 2, False),
        ([(0.2, 0.1, 1.5)] * 2, False),
        ([(float("nan"), 0.1, 0.0)] * 2, False),
        ([(0.2, 0.1, 0.0), (None, None, None)], False),
        ([(0.2, None, 0.0)] * 2, False),
    ],
)
def test_weights_are_above_0_and_at_most_1_in_all_steps_or_in_none(tmp_path, weights, passed):
    store, cell = Store(home=str(tmp_path)), demo.STUDY.cells[0]
    names = ("weight_mean", "weight_min", "weight_clamped")
    identity = {"study": cell.study, "cohort": cell.cohort, "seed": cell.seed, "fold": cell.fold, "fingerprint": "f"}
    numbers = {"step": 1, "loss": 0.7, "margin": 0.0, "pref_acc": 0.5, "learning_rate": 1e-3, "pairs_seen": 8}
    rows = [identity | numbers | {"epoch": 1.0} | dict(zip(names, own, strict=True)) for own in weights]
    store.put(artifact(cell), {}, {"fingerprint": "f"})
    store.replace("training.log", frame("training.log", rows), cell.partition)

    found = weights_are_in_their_range(store)
    assert found.passed is passed
    assert found.metadata["cells"].value == ([] if passed else [[cell.study, cell.cohort, cell.seed, cell.fold]])
