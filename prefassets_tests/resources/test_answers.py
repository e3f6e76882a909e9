"""A killed measurement resumes without repeating an answered request, wherever the home lies."""

import signal
import subprocess
import sys
import time

import pytest

from prefassets.domain.preferences.asking import Answer
from prefassets.domain.preferences.measure import answers_in
from prefassets.resources.answers import Journal
from prefassets.resources.files import HomeUnreachable
from prefassets.resources.store import Store
from prefassets_tests.domain.preferences.answering import TASKS
from prefassets_tests.loopback import endpoint as loopback
from prefassets_tests.loopback.endpoint import Planted, slow
from prefassets_tests.resources.measuring import AT_ONCE, CONFIGURATION, measure_at_home

KEY = "m.plain-after_tasks"


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path) -> Store:
    if request.param == "folder":
        return Store(home=str(tmp_path / "home"))
    storage = request.getfixturevalue("storage")
    return Store(home=storage.new_home(), local=str(tmp_path / "local"))


def answers(count: int) -> list[Answer]:
    return [
        Answer(digest=f"{number:04}", text=f"Tâche {number}\n", probabilities=(0.25, 0.75)) for number in range(count)
    ]


def test_what_was_kept_is_there_again_until_it_is_discarded(store):
    with Journal(store, KEY) as journal:
        for answer in answers(5):
            journal.keep(answer)
    again = Journal(store, KEY, stands=[Answer(digest="of the table", text="Task A")])
    assert {digest: again.answers[digest] for digest in journal.answers} == journal.answers
    assert len(again.answers) == 6
    assert Journal(store, "m.plain").answers == {}, "another configuration, whose key begins alike"
    again.discard()
    assert store.answers(KEY) == {}


def test_what_the_table_holds_no_more_is_set_aside_and_stays(store):
    of_table, in_file, new = answers(3)
    with Journal(store, KEY, stands=[of_table]) as journal:
        journal.keep(in_file)
        journal.keep(new)
    journal.set_aside([new.digest])
    journal.discard()
    for _ in range(2):
        again = Journal(store, KEY)
        assert again.answers == {answer.digest: answer for answer in (of_table, in_file)}
        again.set_aside([])
        again.discard()
    assert len(store.answers(KEY)) == 1
    Journal(store, KEY).discard()


def test_many_small_files_become_few(tmp_path):
    store = Store(home=str(tmp_path / "home"))
    with Journal(store, KEY) as journal:
        for answer in answers(150):
            journal.keep(answer)
            while journal._unwritten:  # so that each has a file of its own
                time.sleep(0.0005)
    assert len(store.answers(KEY)) <= 2 + 150 - 2 * 64
    assert Journal(store, KEY).answers == journal.answers
    journal.discard()
    assert store.answers(KEY) == {}


def test_a_home_that_cannot_be_written_to_stops_the_asking(tmp_path, monkeypatch):
    def full(self, configuration, content):
        raise HomeUnreachable("no space left")

    monkeypatch.setattr(Store, "write_answers", full)

    def keep() -> None:
        with Journal(Store(home=str(tmp_path)), KEY) as journal:
            for answer in answers(1000):
                journal.keep(answer)
                time.sleep(0.001)
            raise AssertionError("nobody noticed")

    with pytest.raises(HomeUnreachable, match="no space left"):
        keep()


def test_a_killed_measurement_resumes_without_repeating_an_answered_request(tmp_path, monkeypatch):
    utilities = {text: float(number) for number, text in enumerate(TASKS["text"])}
    home = str(tmp_path / "home")
    with loopback.Endpoint(Planted(utilities)) as served:
        for name, value in served.environment.items():
            monkeypatch.setenv(name, value)
        served.fault = lambda _: slow(0.1)
        killed = subprocess.Popen([sys.executable, "-m", "prefassets_tests.resources.measuring", home])
        while len(served.seen) < 15:
            assert killed.poll() is None
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        asked = len(served.seen)
        stands = len(Journal(Store(home=home), CONFIGURATION.key).answers)
        assert asked - 3 * AT_ONCE <= stands < 30, "all but what was on its way from the endpoint, or to the home"

        served.fault = lambda _: None
        resumed = measure_at_home(home)
        assert len(served.seen) - asked == 30 - stands, "nothing that stands is asked again"
        assert len(served.paid) == 30
        assert len(served.paid_again) <= asked - stands
        assert resumed.equals(measure_at_home(str(tmp_path / "another")))
    Journal(Store(home=home), CONFIGURATION.key).discard()
    from_rows = Journal(Store(home=home), CONFIGURATION.key, stands=answers_in(resumed))
    assert from_rows.answers.keys() == set(resumed["digest"]), "the table is as good as the files"
