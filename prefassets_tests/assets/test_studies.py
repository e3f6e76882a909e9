"""The study files as tables."""

import dagster as dg

from prefassets.assets.studies import studies
from prefassets.resources.store import Store
from prefassets.studies import all_studies


def test_a_study_names_the_reference_pass_that_its_cells_read(tmp_path):
    store = Store(home=str(tmp_path / "home"))
    assert dg.materialize([studies], resources={"store": store}).success
    named = dict(store.query("select study, reference from studies.study").iter_rows())
    assert named == {study.name: study.reference for study in all_studies().values()}
    assert named["demo"] == "tiny@96:float32"
    weighted = store.query("select method, any_value(weighted) as weighted from studies.study group by all").rows()
    assert dict(weighted) == {"dpo": False, "wpo": True}
