"""What cannot be asked is dropped and counted; a sample is balanced, fixed by its seed, and grows at its end."""

import polars as pl
import pytest

from prefassets.domain.preferences.tasks import LONGEST, ORIGINS, sample_tasks, usable_tasks


def found(*texts: str, origin: str = "ALPACA", language: str | None = None) -> pl.DataFrame:
    rows = [(f"{origin}_{number}", origin, None, text, language) for number, text in enumerate(texts)]
    columns = dict.fromkeys(("task_id", "origin", "topic", "text", "language"), pl.String())
    return pl.DataFrame(rows, schema=columns, orient="row")


def many(**counts: int) -> pl.DataFrame:
    return pl.concat([found(*map(str, range(count)), origin=origin) for origin, count in counts.items()])


def test_what_cannot_be_asked_or_was_asked_before_is_counted_by_reason():
    rows = pl.concat(
        [
            found("Name a bird.", " \n", "x" * LONGEST, "y" * (LONGEST + 1), "name  a\tBIRD. "),
            found("Nenne einen Vogel.", origin="WILDCHAT", language="German"),
            found("Name a fish.", "Name a bird.", origin="MATH", language="English"),
        ]
    )
    usable = usable_tasks(rows, seed=0)
    assert usable.tasks["text"].str.slice(0, 12).to_list() == ["Name a bird.", "x" * 12, "Name a fish."]
    assert usable.dropped == {
        "empty text": 1,
        "not English": 1,
        "longer than 4,000 characters": 1,
        "duplicate text": 2,
    }


def test_what_is_dropped_is_not_what_another_is_a_duplicate_of():
    rows = pl.concat([found("Hallo", language="German"), found("hallo", origin="MATH")])
    assert usable_tasks(rows, seed=0).tasks["origin"].to_list() == ["MATH"]


def test_of_a_large_origin_a_random_part_is_kept_in_the_order_found():
    rows = pl.concat([found(*(f"ask {number}" for number in range(30))), found("one", "two", origin="MATH")])
    kept, again, other = (usable_tasks(rows, seed, most_per_origin=10) for seed in (0, 0, 1))
    assert kept.dropped == {"more than 10 of one origin": 20}
    numbers = kept.tasks.filter(origin="ALPACA")["task_id"].str.split("_").list.last().cast(int).to_list()
    assert len(numbers) == 10
    assert numbers == sorted(numbers) != list(range(10))
    assert kept.tasks.filter(origin="MATH").height == 2
    assert kept.tasks.equals(again.tasks)
    assert not kept.tasks.equals(other.tasks)


def test_nothing_found_is_nothing_usable():
    assert usable_tasks(found(), seed=0).tasks.is_empty()


def test_a_sample_has_equally_many_of_each_origin_and_where_one_has_too_few_more_of_the_others():
    tasks = many(MATH=50, ALPACA=3, WILDCHAT=50, BAILBENCH=50)
    drawn = sample_tasks(tasks, 33)
    assert dict(drawn.group_by("origin").len().rows()) == {"MATH": 10, "ALPACA": 3, "WILDCHAT": 10, "BAILBENCH": 10}
    assert drawn["task_id"].is_unique().all()
    assert len(sample_tasks(tasks, 1_000)) == 153, "all there are"


def test_a_sample_is_the_same_whatever_the_order_of_tasks_and_the_beginning_of_a_larger_one():
    tasks = many(MATH=40, WILDCHAT=40, ALPACA=40)
    drawn = sample_tasks(tasks, 20, ("MATH", "WILDCHAT"), seed=7)
    assert drawn.equals(sample_tasks(tasks.sample(fraction=1, shuffle=True, seed=1), 20, ("MATH", "WILDCHAT"), seed=7))
    assert drawn.equals(sample_tasks(tasks, 31, ("MATH", "WILDCHAT"), seed=7).head(20))
    assert not drawn.equals(sample_tasks(tasks, 20, ("MATH", "WILDCHAT"), seed=8))
    assert drawn["task_id"].str.split("_").list.last().cast(int).is_sorted() is False


def test_another_origin_changes_nothing_in_what_is_drawn_of_the_first():
    tasks = many(MATH=40, WILDCHAT=40, ALPACA=40)
    two, three = sample_tasks(tasks, 20, ("MATH", "WILDCHAT")), sample_tasks(tasks, 30, ("ALPACA", "WILDCHAT", "MATH"))
    for origin in ("MATH", "WILDCHAT"):
        assert two.filter(origin=origin).equals(three.filter(origin=origin))


def test_every_task_is_as_likely_as_any_other():
    tasks = many(MATH=10)
    drawn = [sample_tasks(tasks, 1, ("MATH",), seed)["task_id"].item() for seed in range(400)]
    counts = pl.Series(drawn).value_counts()["count"]
    assert len(counts) == 10
    assert ((counts - 40) ** 2 / 40).sum() < 27.9, "chi-square of 9 degrees of freedom, p = .001"


def test_a_sample_of_nothing_and_of_an_origin_without_tasks_are_refused():
    with pytest.raises(ValueError, match="at least 1 was wanted"):
        sample_tasks(many(MATH=3), 0, ("MATH",))
    with pytest.raises(ValueError, match="no task of BAILBENCH, WILDCHAT; there are tasks of ALPACA, MATH"):
        sample_tasks(many(MATH=3, ALPACA=3), 2)
    assert set(ORIGINS) > {"MATH", "ALPACA", "WILDCHAT", "BAILBENCH"}
