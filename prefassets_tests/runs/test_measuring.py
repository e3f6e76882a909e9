"""A measurement at a real endpoint: what is planted comes back, and nothing is paid for twice, whatever goes wrong."""

import signal
import subprocess
import sys
import time
from dataclasses import replace

import dagster as dg
import numpy as np
import polars as pl
import pytest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from prefassets.assets import preferences
from prefassets.assets.measurements import configuration_partitions, measurement_assets
from prefassets.domain.preferences import equal_budgets
from prefassets.domain.preferences.active_learning import Plan
from prefassets.domain.preferences.measurement import Stated
from prefassets.resources.measuring import MeasurementData
from prefassets.resources.sql_tables import sql_tables
from prefassets.resources.store import Store
from prefassets.runs.runs import RunFailed
from prefassets_tests.loopback.endpoint import NONSENSE, REFUSAL, Endpoint, Planted, refused, slow, truncated
from prefassets_tests.measured import (
    AT_ONCE,
    PLAIN,
    SMALL,
    TOOL,
    XML,
    made_tasks,
    measuring_in,
    planted,
    utilities,
)

SLOT_BIAS = 0.3
ACTIVE = Plan(policy="active", start_degree=4, pairs_per_round=20, samples=3, stop_correlation=0.95)
FEW = Plan(policy="active", start_degree=3, pairs_per_round=4, samples=2, stop_correlation=None, most_comparisons=40)
WHOLE = (planted(templates=(TOOL,)), planted("closer", ACTIVE, templates=(PLAIN,), seed=1))
CHOICES_OF_SMALL = 2 * 8 * 7 // 2  # of each configuration: 28 pairs, each in both orders
TASKS_OF_SMALL = 8


def serving(monkeypatch, **how):
    served = Endpoint(Planted(utilities(), **how))
    monkeypatch.setenv("OPENAI_API_KEY", served.key)
    return served


@pytest.fixture
def served(monkeypatch):
    with serving(monkeypatch) as endpoint:
        monkeypatch.setenv("OPENAI_BASE_URL", endpoint.url)
        yield endpoint


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two measurements of a model that refuses, talks nonsense and prefers slot A, whose endpoint sends rubbish too."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        model = Planted(utilities(), slot_bias=SLOT_BIAS, refusal_rate=0.05, nonsense_rate=0.05)
        with (
            Endpoint(model, fault=lambda number: truncated() if number % 50 == 7 else None) as served,
            measuring_in(tmp_path_factory.mktemp("whole"), *WHOLE) as home,
        ):
            for name, value in served.environment.items():
                monkeypatch.setenv(name, value)
            home.measure()
            yield home, served


def states(home, name="small"):
    with home.as_files():
        found = MeasurementData(home.store, home.measurements[name]).states()
    return {state.configuration.name: state.state for state in found}


def grid(home, asset):
    """What the UI shows of each configuration of `small`."""
    partitions = configuration_partitions(SMALL.choice_configurations)
    key = dg.AssetKey(["small", asset])
    found = get_and_update_asset_status_cache_value(home.instance, key, partitions)
    failed = found.deserialize_failed_partition_subsets(partitions).get_partition_keys()
    made = home.instance.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)
    return dict.fromkeys(made, "materialized") | dict.fromkeys(failed, "failed")


# ---- what comes of it


@pytest.mark.parametrize(("measurement", "configuration"), [("planted", "tool_use"), ("closer", "plain")])
def test_what_is_planted_comes_back(whole, measurement, configuration):
    home, _ = whole
    partition = [measurement, configuration]
    fitted = home.store.read("preferences.utilities", partition).join(made_tasks(), on="task_id")
    there = [utilities()[text] for text in fitted["text"]]
    assert np.corrcoef(fitted["mu"], there)[0, 1] > 0.9
    bias, error = home.store.read("preferences.fit", partition).select("slot_bias", "slot_bias_se").row(0)
    # planted inside Phi, fitted on the scale of mu, between tasks whose sigma is about 1
    assert abs(bias - SLOT_BIAS * 2**0.5) < 2 * error


def test_what_is_no_choice_is_counted_and_a_win_for_nobody(whole):
    home, _ = whole
    choices = home.store.read("preferences.choices")
    for choice, of_it in (
        ("refusal", pl.col("answer") == REFUSAL),
        ("unparseable", (pl.col("answer") == NONSENSE) | pl.col("malformed")),
    ):
        assert set(choices.filter(of_it)["choice"]) == {choice}
        assert (choices["choice"] == choice).sum() == len(choices.filter(of_it))
    assert choices["malformed"].sum() == sum(number % 50 == 7 for number in range(len(choices)))
    counted = home.store.query("select sum(answers), sum(refusals), sum(unparseable) from preferences.answered").row(0)
    assert counted == (len(choices), *((choices["choice"] == said).sum() for said in ("refusal", "unparseable")))
    won = home.store.query("select sum(comparisons) // 2 as won from preferences.utilities").item()
    assert won == choices["choice"].is_in(["a", "b"]).sum()


def test_a_finished_measurement_asks_nothing_and_runs_nothing(whole):
    home, served = whole
    asked, runs = len(served.seen), len(home.instance.get_runs())
    assert home.measure() == []
    assert (len(served.seen), len(home.instance.get_runs())) == (asked, runs)
    assert served.paid_again == []


def test_the_checks_find_nothing_wrong_with_it(whole):
    home, _ = whole
    with home.as_files():
        home.run("files", [dg.AssetKey(["preferences", name]) for name in ("measurement", "configuration")])
        for check in (
            preferences.every_question_is_answered_once,
            preferences.slots_are_dealt_as_meant,
            preferences.no_configuration_is_stale,
            preferences.most_answers_say_something,
            preferences.utilities_are_finite,
        ):
            assert check(home.store).passed, check


def test_measured_on_all_pairs_it_says_what_fewer_would_have_said(whole, monkeypatch):
    monkeypatch.setattr(equal_budgets, "SEEDS", range(1))
    home, _ = whole
    with home.as_files():
        home.run("files", [dg.AssetKey(["preferences", name]) for name in ("measurement", "configuration")])
        for table in ("preferences.current_fit", "preferences.current_utilities"):
            home.store.replace(table, home.store.query(sql_tables()[table].sql))
        rows = preferences.efficiency_rows(home.store)
    assert set(rows["measurement"]) == {"planted"}, "the other was not asked all pairs"
    assert set(rows["policy"]) == {"active", "random", "all", "all pairs"}


# ---- what goes wrong


def test_where_some_questions_fail_the_run_says_of_what_and_the_next_asks_only_those(served, tmp_path):
    asked_first = TASKS_OF_SMALL  # the model does the tasks
    failing = {asked_first + number for number in (10, 20, 30)}
    served.fault = lambda number: refused(424, "no such thing") if number in failing else None
    with measuring_in(tmp_path, SMALL) as home:
        with pytest.raises(RunFailed, match=r"plain: 3 questions have no answer, e.g. 424: no such thing\nwhat was"):
            home.measure()
        assert states(home) == {
            "plain": "missing",
            "xml": "finished",
            "rating-standard-good_neutral_bad-after_tasks": "finished",
        }
        assert grid(home, "choices") == {"plain": "failed", "xml": "materialized"}
        assert set(home.store.read("preferences.utilities")["configuration"]) == {"xml"}
        asked = len(served.seen)
        assert asked == 2 * TASKS_OF_SMALL + 2 * CHOICES_OF_SMALL
        served.fault = lambda number: None
        assert home.measure() == ["small: choices of plain", "small: utilities of plain"]
        assert len(served.seen) - asked == 3
        assert (len(served.paid), served.paid_again) == (asked, [])
        assert grid(home, "choices") == {"plain": "materialized", "xml": "materialized"}
        assert home.store.read("preferences.answered", ["small", "plain"])["asked_now"].item() == 3
        assert set(states(home).values()) == {"finished"}


def test_what_asks_after_the_tasks_waits_for_them_and_nothing_else_does(served, tmp_path):
    served.fault = lambda number: refused(424) if number == 3 else None
    with measuring_in(tmp_path, SMALL) as home:
        with pytest.raises(RunFailed, match="completions: 1 question has no answer"):
            home.measure()
        assert list(states(home).values()) == ["finished", "finished", "missing"]
        served.fault = lambda number: None
        home.measure()
        assert set(states(home).values()) == {"finished"}
        assert served.paid_again == []


def test_a_plan_that_chooses_by_answers_waits_for_those_that_failed(served, tmp_path):
    few = planted("few", FEW, templates=(PLAIN,), tasks=8)
    served.fault = lambda number: refused(424) if number == 5 else None
    with measuring_in(tmp_path / "disturbed", few) as home:
        with pytest.raises(RunFailed, match="plain: 1 question has no answer"):
            home.measure()
        assert len(served.seen) == 2 * 12, "the start: each of 8 tasks with 3 others, in both orders"
        home.measure()
        assert (len(served.paid), served.paid_again) == (40, [])
        disturbed = home.store.read("preferences.choices")
    with measuring_in(tmp_path / "undisturbed", few) as home:
        home.measure()
        assert home.store.read("preferences.choices").equals(disturbed)


def test_an_endpoint_that_refuses_the_key_is_asked_no_more_and_the_configuration_is_named(served, tmp_path):
    small = replace(SMALL, stated=None)
    served.fault = lambda number: refused(401) if number >= CHOICES_OF_SMALL + 10 else None
    with measuring_in(tmp_path, small) as home:
        with pytest.raises(RunFailed, match=r"xml: the endpoint .* refuses the key in OPENAI_API_KEY"):
            home.measure()
        assert states(home) == {"plain": "finished", "xml": "missing"}
        assert len(served.seen) < CHOICES_OF_SMALL + 10 + 2 * AT_ONCE
        served.fault = lambda number: None
        home.measure()
        assert (len(served.paid), served.paid_again) == (2 * CHOICES_OF_SMALL, [])


def test_killed_half_way_it_repeats_nothing_that_was_answered(served, tmp_path):
    served.fault = lambda number: slow(0.02)
    command = [sys.executable, "-m", "prefassets_tests.measured", str(tmp_path)]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(served.seen) < TASKS_OF_SMALL + CHOICES_OF_SMALL + 20:  # in the second configuration
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    served.fault = lambda number: None
    with measuring_in(tmp_path, SMALL) as home:
        assert states(home)["plain"] == "finished"
        lines = home.measure()
        assert "small: choices of xml" in lines
        assert "small: utilities of 2 configurations" in lines
    assert len(served.paid) == 2 * TASKS_OF_SMALL + 2 * CHOICES_OF_SMALL
    assert len(served.paid_again) <= 2 * AT_ONCE, "what was on its way, from the endpoint or to the home"


@pytest.mark.parametrize("table", ["preferences.rounds", "preferences.answered", "preferences.fit"])
def test_killed_between_two_writes_it_is_mended_by_the_next_run(served, tmp_path, monkeypatch, table):
    """There were other answers before, so each table holds something that must not be taken for new."""
    small = planted("small", templates=(PLAIN,), tasks=4)
    warmer = replace(small, temperature=0.5)
    with measuring_in(tmp_path, small) as home:
        home.measure()
    write = Store.replace

    def killed(self, written, rows, *where, **more):
        if written == table and not rows.is_empty():
            raise KeyboardInterrupt
        return write(self, written, rows, *where, **more)

    with measuring_in(tmp_path, warmer) as home:
        monkeypatch.setattr(Store, "replace", killed)
        with pytest.raises(BaseException):  # noqa: B017, PT011  whatever Dagster makes of an interrupt
            home.measure()
        monkeypatch.setattr(Store, "replace", write)
    with measuring_in(tmp_path, small) as home:
        left = "stale" if table == "preferences.fit" else "missing"
        assert states(home) == {"plain": left}, "what says it is finished speaks for no other answers"
    for again in (warmer, small):
        with measuring_in(tmp_path, again) as home:
            home.measure()
            assert states(home) == {"plain": "finished"}
            fitted = home.store.query("from preferences.fit join preferences.answered using (configuration, run_id)")
            assert len(fitted) == 1
    assert (len(served.paid), served.paid_again) == (2 * 12, [])


# ---- what changes


def test_a_changed_template_asks_only_its_own_questions_and_what_is_gone_is_judged_no_more(served, tmp_path):
    with measuring_in(tmp_path, SMALL) as home:
        home.measure()
        asked = len(served.seen)
    other = replace(PLAIN, phrasing=2)
    changed = replace(SMALL, revealed=replace(SMALL.revealed, templates=(PLAIN, other)))
    with measuring_in(tmp_path, changed) as home:
        assert home.measure() == ["small: choices of phrasing2", "small: utilities of phrasing2"]
        assert (len(served.seen) - asked, served.paid_again) == (CHOICES_OF_SMALL, [])
        with home.as_files():
            home.run("files", [dg.AssetKey(["preferences", name]) for name in ("measurement", "configuration")])
            judged = preferences.transitivity_rows(home.store)
            assert set(judged["configuration"]) == {"plain", "phrasing2"}
            assert preferences.positivity_rows(home.store)["asked"].to_list() == [TASKS_OF_SMALL]
        assert set(home.store.read("preferences.choices")["configuration"]) == {"plain", "phrasing2", "xml"}


def test_a_change_that_is_taken_back_asks_nothing_again(served, tmp_path):
    small = planted("small", templates=(PLAIN,), tasks=4)
    for temperature in (1.0, 0.5, 1.0):
        with measuring_in(tmp_path, replace(small, temperature=temperature)) as home:
            assert home.measure(), "its answers are others'"
            assert states(home) == {"plain": "finished"}
    assert (len(served.paid), served.paid_again) == (2 * 12, [])
    assert {seen.body["temperature"] for seen in served.seen} == {1.0, 0.5}


def test_two_measurements_whose_configurations_share_a_name_stay_apart(served, tmp_path):
    pair = [planted(name, templates=(PLAIN,), tasks=4, seed=seed) for name, seed in (("one", 1), ("other", 2))]
    with measuring_in(tmp_path, *pair) as home:
        home.measure()
        rows = home.store.query(
            "select measurement, answers, comparisons from preferences.answered join (select measurement,"
            " sum(comparisons) // 2 as comparisons from preferences.utilities group by all) using (measurement)"
        )
    assert sorted(rows.rows()) == [("one", 12, 12), ("other", 12, 12)]


# ---- who runs it


def test_one_configuration_or_a_range_can_be_materialized_from_dagster(served, tmp_path):
    three = planted("small", templates=(PLAIN, XML, TOOL), tasks=4)
    ends = {"dagster/asset_partition_range_start": "xml", "dagster/asset_partition_range_end": "tool_use"}
    with measuring_in(tmp_path, three) as home, home.as_files():
        for how in ({"partition_key": "plain"}, {"tags": ends}):
            same = {"instance": home.instance, "resources": {"store": home.store}}
            choices, utility = (
                asset for asset in measurement_assets(three) if asset.key.path[-1] in ("choices", "utilities")
            )
            assert dg.materialize([choices, utility], **same, **how).success
            made = set(home.store.read("preferences.fit")["configuration"])
            assert made == ({"plain"} if "partition_key" in how else {"plain", "xml", "tool_use"})


def test_utilities_of_what_was_not_asked_to_the_end_are_not_made_up(served, tmp_path):
    small = replace(SMALL, stated=None)
    with measuring_in(tmp_path, small) as home, home.as_files():
        home.run("xml alone", [dg.AssetKey(["small", "choices"])], "xml")
        with pytest.raises(
            RunFailed, match=r"(?s)plain: its choices are missing \(never asked .*`prefassets measure small`"
        ):
            home.run("both", [dg.AssetKey(["small", "utilities"])], partition_range=("plain", "xml"))
        assert set(home.store.read("preferences.utilities")["configuration"]) == {"xml"}
        assert grid(home, "utilities") == {"plain": "failed", "xml": "materialized"}


def test_what_another_run_is_asking_is_left_to_it(served, tmp_path):
    with measuring_in(tmp_path, SMALL) as home:
        job = home._job.get_subset(asset_selection={dg.AssetKey(["small", "choices"])})
        run = home.instance.create_run_for_job(
            job, asset_selection=job.asset_selection, status=dg.DagsterRunStatus.STARTED
        )
        with pytest.raises(RunFailed, match=rf"run {run.run_id[:8]} \(started\) asks what small asks"):
            home.measure()
    assert served.seen == []


def test_a_home_in_a_bucket_is_measured_like_a_folder(served, tmp_path, storage):
    small = planted("small", templates=(PLAIN,), tasks=4, stated=Stated())
    homes = {"folder": None, "bucket": storage.new_home()}
    found = {}
    for name, home in homes.items():
        with measuring_in(tmp_path / name, small, home=home) as measured:
            measured.measure()
            assert measured.measure() == []
            assert measured.store.answers("small.plain") == {}
            found[name] = measured.store.read("preferences.choices")
    assert found["folder"].equals(found["bucket"])
    assert len(served.seen) == 2 * (12 + 4 + 4)
