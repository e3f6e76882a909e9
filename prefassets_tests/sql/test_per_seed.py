"""The per-seed table has a place for every planned seed, so that a missing one is seen."""

from prefassets_tests.sql.reported import SEEDS, by, differences, judged


def test_the_per_seed_tables_of_the_report_reproduce(run_sql):
    printed = {version: differences("001", version, "dpo") for version in ("v2", "v3")}
    found = by(run_sql("verdicts.per_seed", judged(printed)), "study", "split")
    assert len(found) == 14
    for version, splits in printed.items():
        for split, (_, points) in splits.items():
            row = found[version, split]
            assert [entry["seed"] for entry in row["differences_pp"]] == list(SEEDS)
            assert [entry["difference_pp"] for entry in row["differences_pp"]][: len(points)] == points
            assert row["seeds_missing"] == list(SEEDS[len(points) :])


def test_a_missing_seed_keeps_its_place(run_sql):
    (row,) = run_sql(
        "verdicts.per_seed", judged({"v3": {"region": ("A = B", [None, -1.5625, 0.0, -0.78125])}})
    ).to_dicts()
    assert [entry["difference_pp"] for entry in row["differences_pp"]] == [None, -1.5625, 0.0, -0.78125, None]
    assert row["seeds_missing"] == [42, 999]
