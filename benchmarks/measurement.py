"""What a comparison costs: the tiny model here, drawn and written freely, and an endpoint that answers at once.

The endpoint's server is a process of its own on loopback, so its rate is what is left for a model after the protocol,
the client and keeping each answer in a home. CPU seconds are of this process.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection

from prefassets.domain.preferences.active_learning import Plan
from prefassets.domain.preferences.asking import Asker, Backend, InMemory
from prefassets.domain.preferences.in_process import InProcess
from prefassets.domain.preferences.measure import complete_tasks, measure_choices
from prefassets.domain.preferences.measurement import Measurement, Revealed
from prefassets.domain.preferences.synthetic_tasks import synthetic_tasks
from prefassets.domain.preferences.tasks import sample_tasks
from prefassets.domain.training.tiny import train_tiny
from prefassets.resources.answers import Journal
from prefassets.resources.endpoint import Endpoint
from prefassets.resources.store import Store
from prefassets_tests.loopback import endpoint as loopback

PLAN = Plan(policy="random", samples=5, stop_correlation=None)
MEASUREMENT = Measurement(name="benchmark", question="How fast?", model="tiny", revealed=Revealed(plan=PLAN), tasks=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparisons", type=int, default=5_000)
    asked = parser.parse_args()
    tasks = sample_tasks(synthetic_tasks(0), MEASUREMENT.tasks)
    texts = [[{"role": "user", "content": text}, {"role": "assistant", "content": text}] for text in tasks["text"]]
    backend = InProcess(train_tiny(texts, seed=0, steps=5).language_model)  # as fast as one that was taught more

    def choices(backend: Backend, count: int, home: str | None = None, **how: str) -> Callable[[], int]:
        plan = replace(PLAN, most_comparisons=count)
        measurement = replace(MEASUREMENT, revealed=Revealed(plan=plan), **how)

        def measured(asker: Asker) -> int:
            fit = dict.fromkeys(tasks["task_id"], 0.0)
            (configuration,) = measurement.choice_configurations
            return len(measure_choices(measurement, configuration, tasks, asker, lambda _: fit).choices)

        def kept() -> int:
            if home is None:
                return measured(Asker(backend, InMemory()))
            with Journal(Store(home=home), "benchmark") as journal:
                return measured(Asker(backend, journal))

        return kept

    print(f"{len(tasks)} tasks of {tasks['text'].str.len_chars().mean():.0f} characters, 5 samples a pair")
    tell("tiny, drawn among the permitted", choices(backend, asked.comparisons, answering="constrained"))
    tell("tiny, written freely, at most 64 tokens", choices(backend, min(2_500, asked.comparisons)))
    tell(
        "tiny, completions of at most 256 tokens",
        lambda: len(complete_tasks(MEASUREMENT, tasks, Asker(backend, InMemory()))),
    )
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(
        target=serve, args=(there, dict.fromkeys(tasks["text"], 0.0)), daemon=True
    )
    server.start()
    os.environ |= here.recv()
    with tempfile.TemporaryDirectory() as folder:
        for at_once in (1, 16, 64):
            home = os.path.join(folder, str(at_once))
            endpoint = Endpoint("planted", requests_at_once=at_once)
            first = choices(endpoint, asked.comparisons, home)
            tell(f"endpoint, {at_once} at once", first)
            tell("the same again: every answer stands", first)
    here.send("end")
    server.join()


def tell(what: str, measured: Callable[[], int]) -> None:
    began, own = time.perf_counter(), time.process_time()
    count = measured()
    seconds, own_seconds = time.perf_counter() - began, time.process_time() - own
    rates = f"{count / seconds:6,.0f} a second, {count / own_seconds:7,.0f} a CPU second"
    print(f"{what:42} {count:6,} in {seconds:5.1f} s: {rates}")


def serve(connection: Connection, utilities: dict[str, float]) -> None:
    with loopback.Endpoint(loopback.Planted(utilities)) as endpoint:
        connection.send(endpoint.environment)
        connection.recv()


if __name__ == "__main__":
    main()
