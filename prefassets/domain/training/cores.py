"""The cores of a CPU: all for one operation, or one for each of several computations."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch

Item = TypeVar("Item")
Found = TypeVar("Found")
Map = Callable[[Callable[[Item], Found], Iterable[Item]], Iterator[Found]]


def cores_of_this_process() -> int:
    """How many it may use; torch counts the whole machine's, also in a container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = Path("/sys/fs/cgroup/cpu.max")  # "<quota> <period>" in microseconds, or "max <period>"
    if limit.exists():
        quota, period = limit.read_text().split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def use_the_cores_of_this_process() -> None:
    """One torch thread per core that this process may use."""
    cores = cores_of_this_process()
    if torch.get_num_threads() != cores:
        torch.set_num_threads(cores)


@contextmanager
def side_by_side(device: torch.device, most: int) -> Iterator[Map]:
    """A `map` that on a CPU computes for up to `most` items at the same time, on a GPU for one after the other.

    A core that has an item to itself need not wait for the others after every operation, of which a small model has
    very many. The results come in the order of the items. What torch keeps per thread, such as whether there are
    gradients, is as in a new thread.
    """
    cores = cores_of_this_process()
    workers = min(cores, most)
    if device.type != "cpu" or workers < 2:
        yield map
        return
    own_cores = max(1, cores // workers)
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(own_cores,))
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)  # after an interrupt, what has not begun need not be waited for
        torch.set_num_threads(cores)
