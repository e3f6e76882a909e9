"""Estimates of a home: what counts in them, when they are out of date, and verdicts on them as of now."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg
import numpy as np
import polars as pl
import pytest

from prefassets.assets.inference import estimate, label_noise
from prefassets.assets.studies import studies
from prefassets.resources import change_noise, estimates
from prefassets.resources.cells import artifact
from prefassets.resources.estimates import connect_current, estimate_study
from prefassets.resources.power import noise_of, power_table
from prefassets.resources.tables import TABLES
from prefassets.studies import all_studies
from prefassets.studies.study import Matching

STUDY, OTHER = all_studies()["demo"], all_studies()["dpo_w2"]
VARIANT = all_studies()["demo_placebos"]  # of the demo, with two of its three seeds
USERS, PAIRS_EACH = 40, 8
VERDICT = ["verdicts.verdict"]


def frame(table, rows):
    """Rows of a table; columns that they leave out are blank."""
    blank = {
        name: None if column.nullable else [] if column.dtype.is_nested() else "" if column.dtype == pl.String else 0
        for name, column in TABLES[table].columns.items()
    }
    return pl.DataFrame([blank | row for row in rows], schema=TABLES[table].schema)


def finish(store, cell, lift=0.0, recipe="r", users=range(USERS), seed=0):
    """A finished and scored cell, by record and rows alone; `lift` makes its adapter better on group A's pairs."""
    rng = np.random.default_rng([seed, cell.seed, *cell.cohort.encode()])
    columns = {
        "study": cell.study,
        "cohort": cell.cohort,
        "split": cell.split,
        "user_group": cell.user_group,
        "seed": cell.seed,
        "fold": cell.fold,
        "fingerprint": "f",
    }
    row = columns | {"recipe": recipe, "steps": 100, "finished_at": datetime(2026, 3, 1, tzinfo=UTC)}
    margins = [
        columns | {"pair_id": f"u{user}.{turn}", "margin": float(rng.normal(0.2 + lift * (user % 2 == 0)))}
        for user in users
        for turn in range(PAIRS_EACH)
    ]
    store.put(artifact(cell), {}, {"fingerprint": "f"})
    store.replace("training.cells", frame("training.cells", [row]), cell.partition)
    store.replace("training.margins", frame("training.margins", margins), cell.partition)


def cells_of(study, split, seeds=None):
    return [cell for cell in study.cells if cell.split == split and (seeds is None or cell.seed in seeds)]


@pytest.fixture
def home(store):
    """Forty users in halves; two of the demo's splits finished with three seeds, one unfinished, one without cells."""
    assert dg.materialize([studies], resources={"store": store}).success
    pairs = [
        {"pair_id": f"u{user}.{turn}", "user_id": f"u{user}"} for user in range(USERS) for turn in range(PAIRS_EACH)
    ]
    store.replace("prism.pairs", frame("prism.pairs", pairs))
    halves = [
        {"split": split, "user_id": f"u{user}", "user_group": "AB"[user % 2]}
        for split in STUDY.expected
        for user in range(USERS)
    ]
    store.replace("splits.assignments", frame("splits.assignments", halves))
    for cell in cells_of(STUDY, "personalisation"):
        finish(store, cell, lift=2.0)
    for cell in cells_of(STUDY, "region") + [cell for cell in cells_of(STUDY, "age") if cell.user_group == "A"]:
        finish(store, cell)
    return store


def materialize(store):
    """verdicts.estimate as the asset makes it, from the SQL tables as they are now."""
    with store.connect(estimates.READS, current=True) as connection:
        for table in estimates.READS:
            store.replace(table, connection.sql(f"from {table}").pl())
    assert dg.materialize([estimate], resources={"store": store}).success


def verdicts(connection, study="demo"):
    rows = connection.sql("from verdicts.verdict where study = $study", params={"study": study}).pl().to_dicts()
    return {row["split"]: row for row in rows}


def assert_finite(rows):
    for row in rows:
        for name, value in row.items():
            assert not isinstance(value, float) or math.isfinite(value), (row["split"], name)


def numbers(rows):
    return {(row["split"], row["quantity"], row["metric"]): row["estimate"] for row in rows.to_dicts()}


# ---- one study


def test_only_measured_splits_have_estimates_but_every_planned_one_has_a_verdict(home):
    with connect_current(home, [*VERDICT, estimates.TABLE]) as connection:
        made = connection.sql("from verdicts.estimate").pl()
        found = verdicts(connection)
        unfinished = verdicts(connection, OTHER.name)
    assert set(made["study"]) == {"demo"}
    assert set(made["split"]) == {"personalisation", "region"}
    assert_finite(made.to_dicts())
    assert_finite(found.values())
    assert {split: row["state"] for split, row in found.items()} == {
        "personalisation": "CONFIRMED",
        "region": "INCONCLUSIVE",
        "age": "INCONCLUSIVE",
        "safety": "INCONCLUSIVE",
    }
    assert found["age"]["sentence"] == found["safety"]["sentence"] == "No seed has both groups finished."
    assert set(unfinished) == set(OTHER.expected)
    assert {row["sentence"] for row in unfinished.values()} == {"No seed has both groups finished."}


def test_the_estimate_is_the_mean_of_the_seeds_in_verdicts_contrast(home):
    with connect_current(home, [estimates.TABLE, "verdicts.contrast"]) as connection:
        per_seed = connection.sql(
            "select split, avg(difference_pp) from verdicts.contrast"
            " where readout = 'held_out' and metric = 'pref_acc' group by split"
        ).fetchall()
        made = numbers(connection.sql("from verdicts.estimate").pl())
    assert len(per_seed) == 2
    for split, points in per_seed:
        assert made[split, "contrast", "pref_acc"] == pytest.approx(points, rel=1e-12)


def test_the_plan_counts_splits_that_have_no_results(home):
    with home.connect(estimates.READS, current=True) as connection:
        made = estimate_study(connection, STUDY)
    row = made.filter(split="personalisation", quantity="contrast", metric="pref_acc").row(0, named=True)
    assert row["adjustment"] == "Holm over 2 directional splits"  # safety is planned, too
    assert row["p_adjusted"] == pytest.approx(2 * row["p"], rel=1e-9)


def test_a_baseline_of_another_recipe_gives_no_difficulty(home):
    def made(recipe):
        for cell in STUDY.cells:
            if cell.cohort == "everyone":
                finish(home, cell, recipe=recipe)
        with home.connect(estimates.READS, current=True) as connection:
            return estimate_study(connection, STUDY)

    assert "difficulty" in set(made("r")["quantity"])
    assert "difficulty" not in set(made("another")["quantity"])


# ---- a study that repeats another with one thing changed


def made(store, study):
    with store.connect(estimates.READS, current=True) as connection:
        return estimate_study(connection, study)


@pytest.fixture
def repeated_home(home):
    """A variant of the demo finished in `personalisation`, where its adapters of A are less good, and in `region`."""
    for cell in cells_of(VARIANT, "personalisation"):
        finish(home, cell, lift=1.0, seed=1)
    for cell in cells_of(VARIANT, "region"):
        finish(home, cell, seed=1)
    return home


def test_the_change_is_that_of_verdicts_contrast_at_the_seeds_of_both_studies(repeated_home):
    tables = [estimates.TABLE, "verdicts.method_change", "verdicts.contrast"]
    with connect_current(repeated_home, tables) as connection:
        rows = connection.sql("from verdicts.method_change where readout = 'held_out'").pl().to_dicts()
        differences = {
            (study, split, seed): points
            for study, split, seed, points in connection.sql(
                "select study, split, seed, difference_pp from verdicts.contrast"
                " where readout = 'held_out' and metric = 'pref_acc'"
            ).fetchall()
        }
    assert {row["split"] for row in rows} == {"personalisation", "region"}
    assert_finite(rows)
    for row in rows:
        by_seed = [
            differences[VARIANT.name, row["split"], seed] - differences["demo", row["split"], seed]
            for seed in (42, 123)
        ]
        assert row["common_seeds"] == 2
        assert row["change_pp"] == pytest.approx(np.mean(by_seed), rel=1e-9)
        assert row["mean_change_pp"] == pytest.approx(np.mean(by_seed), rel=1e-9)
        assert row["lower_pp"] < row["change_pp"] < row["upper_pp"]
    found = {row["split"]: row for row in rows}
    assert found["personalisation"]["reading"].startswith("Cannot tell what demo_placebos instead of demo does")
    assert found["personalisation"]["adjustment"] == "Holm over 2 directional splits"


def test_the_study_that_is_repeated_has_no_change_of_its_own(repeated_home):
    assert "change" not in set(made(repeated_home, STUDY)["quantity"])
    changed = made(repeated_home, VARIANT).filter(quantity="change")
    assert set(changed["split"]) == {"personalisation", "region"}
    assert set(changed["metric"]) == {"pref_acc", "margin"}


def test_a_variant_of_an_unfinished_study_still_has_its_own_estimates(repeated_home):
    whole = made(repeated_home, VARIANT)
    for cell in STUDY.cells:
        repeated_home.discard(artifact(cell))
    alone = made(repeated_home, VARIANT)
    assert alone.drop("digest").equals(whole.filter(pl.col("quantity") != "change").drop("digest"))
    with connect_current(repeated_home, ["verdicts.method_change", "verdicts.method_change_count"]) as connection:
        assert connection.sql("from verdicts.method_change").pl().is_empty()
        assert connection.sql("from verdicts.method_change_count").pl().is_empty()


def test_a_change_between_studies_with_other_folds_stands_on_the_users_of_both(home):
    matched = all_studies()["dpo_matched"]  # five folds, a variant of a study that holds out fold 0
    fold = [range(start, start + 8) for start in range(0, USERS, 8)]
    for number, study in enumerate((OTHER, matched)):
        for cell in cells_of(study, "age", {42, 123}):
            finish(home, cell, users=fold[cell.fold], seed=number)
    row = made(home, matched).filter(split="age", quantity="change", metric="pref_acc").row(0, named=True)
    assert (row["users_a"], row["users_b"], row["seeds"]) == (4, 4, 2)
    assert row["note"] == "users left out because not every adapter and seed scored them: 32"
    whole = made(home, matched).filter(split="age", quantity="contrast", metric="pref_acc").row(0, named=True)
    assert (whole["users_a"], whole["users_b"], whole["note"]) == (20, 20, "")


def test_in_a_chain_each_study_changes_from_the_one_before_it(repeated_home, monkeypatch):
    last = replace(VARIANT, name="last", variant_of=VARIANT.name)
    every = all_studies() | {"last": last}
    for module in ("prefassets.assets.studies", "prefassets.resources.estimates"):
        monkeypatch.setattr(f"{module}.all_studies", lambda: every)
    assert dg.materialize([studies], resources={"store": repeated_home}).success
    for cell in cells_of(last, "region"):
        finish(repeated_home, cell, seed=1)  # the same margins as the study before
    with connect_current(repeated_home, ["verdicts.method_change"]) as connection:
        found = {
            (row["study"], row["variant_of"]): row["change_pp"]
            for row in connection.sql("from verdicts.method_change where split = 'region' and readout = 'held_out'")
            .pl()
            .to_dicts()
        }
    assert set(found) == {(VARIANT.name, "demo"), ("last", VARIANT.name)}
    assert found["last", VARIANT.name] == 0.0
    assert found[VARIANT.name, "demo"] != 0.0


# ---- what is missing


def test_a_single_seed_has_a_state_and_a_sentence(home):
    for cell in cells_of(STUDY, "personalisation", {123, 456}) + cells_of(STUDY, "region"):
        home.discard(artifact(cell))
    with connect_current(home, [*VERDICT, estimates.TABLE]) as connection:
        found = verdicts(connection)["personalisation"]
        made = connection.sql("from verdicts.estimate").pl()
    assert_finite([found, *made.to_dicts()])
    assert (found["state"], found["sentence"]) == ("INCONCLUSIVE", "Only one seed: no other shows whether it repeats.")
    assert set(made["note"]) == {"no split has two seeds, so the spread between seeds is unknown"}


def test_a_group_of_one_user_has_a_state_and_a_sentence(home):
    for cell in cells_of(STUDY, "personalisation"):
        finish(home, cell, users=[0, 1, 3, 5, 7, 9])
    with connect_current(home, [*VERDICT, estimates.TABLE]) as connection:
        found = verdicts(connection)["personalisation"]
        assert_finite(connection.sql("from verdicts.estimate").pl().to_dicts())
    assert found["state"] == "INCONCLUSIVE"
    assert found["sentence"] == "Group A has one scored user, so the spread between its users is unknown."


def test_users_who_are_all_alike_have_a_state_and_a_sentence(home):
    for cell in cells_of(STUDY, "personalisation"):
        finish(home, cell, lift=100.0)
        path = {"study": cell.study, "cohort": cell.cohort, "seed": cell.seed}
        rows = home.query(
            "select * replace (if(right(pair_id, 1) in ('0', '1', '2'), 1.0, -1.0) as margin) from training.margins"
            " where study = $study and cohort = $cohort and seed = $seed",
            **path,
        )
        home.replace("training.margins", rows, cell.partition)
    with connect_current(home, [*VERDICT, estimates.TABLE]) as connection:
        found = verdicts(connection)["personalisation"]
        assert_finite(connection.sql("from verdicts.estimate").pl().to_dicts())
    assert (found["estimate_pp"], found["state"]) == (0.0, "INCONCLUSIVE")


def test_a_user_whom_one_seed_did_not_score_is_said(home):
    finish(home, cells_of(STUDY, "region")[0], users=range(1, USERS))
    with connect_current(home, VERDICT) as connection:
        assert (
            "users left out because not every adapter and seed scored them: 1"
            in verdicts(connection)["region"]["cautions"]
        )


def test_seeds_of_two_recipes_are_not_pooled_in_silence(home):
    with connect_current(home, VERDICT) as connection:
        assert "recipes" not in verdicts(connection)["region"]["cautions"]
    for cell in cells_of(STUDY, "region", {123}):
        finish(home, cell, recipe="before the study file was changed")
    with connect_current(home, VERDICT) as connection:
        found = verdicts(connection)["region"]
    assert found["seeds_run"] == 3
    assert "its adapters were trained by 2 recipes" in found["cautions"]


def test_a_home_without_cells_has_a_verdict_for_every_planned_split(store):
    assert dg.materialize([studies], resources={"store": store}).success
    with connect_current(store, [*VERDICT, estimates.TABLE]) as connection:
        assert connection.sql("from verdicts.estimate").pl().is_empty()
        states = connection.sql("select distinct state, sentence from verdicts.verdict").fetchall()
    assert states == [("INCONCLUSIVE", "No seed has both groups finished.")]


def test_power_knows_that_without_placebos_the_spread_between_training_samples_is_unknown(home):
    of, model, training_known = noise_of(home, OTHER)
    assert (of, model.training_pp, training_known) == ("demo", 0.0, False)


def test_power_counts_the_pairs_that_are_judged_which_matching_by_source_makes_fewer(home):
    users = [f"u{user}" for user in range(USERS)]
    home.replace("prism.folds", pl.DataFrame({"user_id": users, "fold": [5 * user // USERS for user in range(USERS)]}))
    of_b_or_early = (pl.col("user_id").str.slice(1).cast(pl.Int64) % 2 == 1) | pl.col("pair_id").str.contains(r"[0-3]$")
    model = pl.when(of_b_or_early).then(pl.lit("small")).otherwise(pl.lit("large"))
    home.replace("prism.pairs", home.read("prism.pairs").with_columns(model_name=model))
    same_sources = replace(STUDY, name="same_sources", matching=Matching.SOURCES)
    judged = {}
    for study in (STUDY, same_sources):
        _, designs = power_table(home, study, effect_pp=5.0, repetitions=1, design_effect=None)
        judged[study.name] = designs.filter(folds=5).select("pairs_a", "pairs_b").unique().rows()
    every, small = 20 * PAIRS_EACH, 20 * 4  # of A's pairs, half are of the model that all of B's are of
    assert judged == {"demo": [(every, every)], "same_sources": [(small, small)]}


# ---- out of date


def stored_verdict(store):
    """As the SQL assets would write it: today's cells beside the estimates that are stored."""
    with store.connect(VERDICT, current=True) as connection:
        return verdicts(connection)


def ask(store, tables):
    """Have current tables made, and look at none."""
    with connect_current(store, tables):
        pass


def test_a_cell_that_changed_since_the_estimate_makes_every_verdict_of_the_study_say_so(home):
    materialize(home)
    assert stored_verdict(home)["personalisation"]["state"] == "CONFIRMED"
    finish(home, cells_of(STUDY, "region")[0], seed=1)
    outdated = "The estimate is not of the cells and the plan that now count; materialise verdicts/estimate."
    found = stored_verdict(home)
    assert found["personalisation"]["sentence"] == found["region"]["sentence"] == outdated
    assert found["safety"]["sentence"] == "No seed has both groups finished."
    materialize(home)
    assert stored_verdict(home)["personalisation"]["state"] == "CONFIRMED"


def test_a_changed_tolerance_makes_the_equivalence_test_outdated(home):
    materialize(home)
    split = home.read("studies.split").with_columns(null_tolerance_pp=3.0)
    home.replace("studies.split", split)
    assert stored_verdict(home)["region"]["sentence"].startswith("The estimate is not of the cells and the plan")


@pytest.fixture
def estimated(monkeypatch):
    """Names of the studies that are estimated from now on."""
    names = []

    def watched(connection, study):
        names.append(study.name)
        return estimate_study(connection, study)

    monkeypatch.setattr(estimates, "estimate_study", watched)
    return names


def test_current_verdicts_estimate_exactly_the_studies_that_are_outdated(home, estimated):
    for cell in cells_of(OTHER, "age", {42, 123}):
        finish(home, cell)
    assert dg.materialize([estimate], resources={"store": home}).success  # of tables that were never written: none
    ask(home, VERDICT)
    assert estimated[-2:] == ["demo", OTHER.name]
    materialize(home)
    estimated.clear()
    ask(home, VERDICT)
    assert estimated == []
    finish(home, cells_of(OTHER, "age", {42})[0], seed=1)
    before = home.read(estimates.TABLE)
    with connect_current(home, [estimates.TABLE]) as connection:
        now = connection.sql("from verdicts.estimate").pl()
    assert estimated == [OTHER.name]
    assert home.read(estimates.TABLE).equals(before)  # nothing is written
    assert now.filter(study="demo").sort(pl.all()).equals(before.filter(study="demo").sort(pl.all()))
    assert numbers(now.filter(study=OTHER.name)) != numbers(before.filter(study=OTHER.name))


def test_a_variant_is_outdated_when_what_it_is_compared_with_changes(repeated_home, estimated):
    materialize(repeated_home)
    estimated.clear()
    ask(repeated_home, VERDICT)
    assert estimated == []
    finish(
        repeated_home, next(cell for cell in STUDY.cells if cell.cohort == "age.A"), seed=2
    )  # no split of the variant
    ask(repeated_home, VERDICT)
    assert estimated == ["demo"]
    materialize(repeated_home)
    finish(repeated_home, cells_of(STUDY, "region")[0], seed=2)
    outdated = "The estimate is not of the cells and the plan that now count; materialise verdicts/estimate."
    with repeated_home.connect([*VERDICT, "verdicts.method_change"], current=True) as connection:
        assert verdicts(connection, VARIANT.name)["region"]["sentence"] == outdated
        readings = connection.sql("select distinct reading from verdicts.method_change where readout = 'held_out'")
        assert readings.fetchall() == [(outdated,)]
    estimated.clear()
    ask(repeated_home, VERDICT)
    assert estimated == ["demo", VARIANT.name]


def test_noise_is_simulated_again_exactly_where_what_it_is_made_of_changed(repeated_home, monkeypatch):
    simulated = []
    simulate = change_noise.change_noise

    def watched(repeated):
        if repeated.labels:
            simulated.append(repeated.study)
        return simulate(repeated)

    monkeypatch.setattr(change_noise, "change_noise", watched)
    noise = [change_noise.TABLE]
    materialize(repeated_home)
    with repeated_home.connect(change_noise.READS, current=True) as connection:
        for table in set(change_noise.READS) - {estimates.TABLE}:
            repeated_home.replace(table, connection.sql(f"from {table}").pl())
    assert dg.materialize([label_noise], resources={"store": repeated_home}).success
    stored = repeated_home.read(change_noise.TABLE)
    assert set(stored["split"]) == {"personalisation"}  # region expects no direction
    assert set(stored["study"]) == {VARIANT.name}
    assert simulated == [VARIANT.name]
    ask(repeated_home, noise)
    ask(repeated_home, VERDICT)
    assert simulated == [VARIANT.name]
    finish(repeated_home, cells_of(STUDY, "personalisation")[0], lift=1.5, seed=2)
    ask(repeated_home, noise)
    assert simulated == [VARIANT.name] * 2


def test_what_reads_no_estimate_makes_none(home, estimated):
    with connect_current(home, ["verdicts.contrast"]) as connection:
        assert len(connection.sql("from verdicts.contrast").pl()) > 0
    assert estimated == []


def test_a_deleted_cell_changes_the_live_verdict_at_once(home):
    materialize(home)
    with connect_current(home, VERDICT) as connection:
        assert verdicts(connection)["personalisation"]["state"] == "CONFIRMED"
    for cell in cells_of(STUDY, "personalisation", {456}):
        home.discard(artifact(cell))
    with connect_current(home, VERDICT) as connection:
        found = verdicts(connection)["personalisation"]
    assert (found["seeds_run"], found["cautions"].partition(";")[0]) == (2, "2 of 3 planned seeds")
    for cell in cells_of(STUDY, "personalisation"):
        home.discard(artifact(cell))
    with connect_current(home, VERDICT) as connection:
        found = verdicts(connection)["personalisation"]
    assert (found["state"], found["estimate_pp"]) == ("INCONCLUSIVE", None)
    assert found["sentence"] == "No seed has both groups finished."
