"""Several computations at the same time give what they give one after the other, and end when the caller does."""

import threading
import time

import pytest
import torch

from prefassets.domain.training import cores
from prefassets.domain.training.cores import cores_of_this_process, side_by_side, use_the_cores_of_this_process

CPU = torch.device("cpu")


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(cores, "cores_of_this_process", lambda: 2)
    yield
    torch.set_num_threads(cores_of_this_process())


@pytest.mark.parametrize(("most", "threads"), [(1, 1), (2, 2), (9, 2)])
def test_results_come_in_order_from_as_many_threads_as_were_asked_for_and_there_are_cores(two_cores, most, threads):
    seen = set()

    def slower_at_first(number):
        seen.add(threading.get_ident())
        time.sleep(0.05 if number < 2 else 0)
        return number * number

    with side_by_side(CPU, most) as run:
        assert list(run(slower_at_first, range(6))) == [0, 1, 4, 9, 16, 25]
    assert len(seen) == threads


def test_an_interrupt_waits_for_what_has_begun_only(two_cores):
    begun = []

    def slow(number):
        begun.append(number)
        time.sleep(0.05)

    held = []  # as a traceback holds what its frames hold

    def interrupted():
        with side_by_side(CPU, 2) as run:
            held.append(run(slow, range(100)))
            next(held[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(begun) < 10


def test_each_has_its_share_of_the_cores_and_torch_has_all_again_afterwards(two_cores):
    use_the_cores_of_this_process()
    with side_by_side(CPU, 2) as run:
        assert set(run(lambda _: torch.get_num_threads(), range(4))) == {1}
    assert torch.get_num_threads() == 2
