"""What probes cost: ridge under 50 penalties against one fit and against scikit-learn, and the suite at full size.

CPU seconds on one thread. It fails if 50 penalties cost more than 1.5 times one, or if ours are not scikit-learn's.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import polars as pl
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from prefassets.domain.probes.kinds.ridge import KIND, fit, left_out
from prefassets.domain.probes.observed import Values
from prefassets.domain.probes.row_space import row_space
from prefassets.domain.probes.suite import Probed, Target, probe_suite

PENALTIES = KIND.penalties_A
SHAPES = ((1_200, 4_096), (10_000, 256))
REPEATED = 5
MOST_FOR_50 = 1.5
LAYERS, POSITIONS = (16, 24), ("prompt_last", "turn_boundary", "response_last", "response_mean")
TOPICS, PAIRS = 8, 7_496


def hidden_states(items: int, width: int, seed: int) -> np.ndarray:
    """Numbers whose principal axes fall off as those of hidden states do, as 1 / k."""
    generator = np.random.default_rng(seed)
    axes = min(items, width)
    along = generator.normal(size=(items, axes)) / np.sqrt(np.arange(1, axes + 1))
    return (along @ generator.normal(size=(axes, width)) + 0.1 * generator.normal(size=(items, width))).astype("f4")


def seconds_of(run: Callable[[], object], repeated: int = REPEATED) -> float:
    took = []
    for _ in range(repeated):
        started = time.process_time()
        run()
        took.append(time.process_time() - started)
    return statistics.median(took)


def compare_paths(items: int, width: int) -> list[str]:
    activations, target = hidden_states(items, width, 0), np.random.default_rng(1).normal(size=(items, 1))
    fitted = np.arange(items)[: items * 4 // 5]
    observed, everything = Values(fitted, target[fitted]), Values(np.arange(items), target)
    scaled = StandardScaler().fit(activations[fitted].astype(float)).transform(activations.astype(float))

    def ours(penalties: np.ndarray) -> np.ndarray:
        space = row_space(activations, fitted)
        return fit(space, observed, penalties).predicted(space, everything)

    def theirs() -> np.ndarray:
        models = (Ridge(alpha=penalty).fit(scaled[fitted], target[fitted]) for penalty in PENALTIES)
        return np.array([model.predict(scaled).reshape(-1, 1) for model in models])

    one, fifty = seconds_of(lambda: ours(PENALTIES[:1])), seconds_of(lambda: ours(PENALTIES))
    by_sklearn = seconds_of(theirs, 1)
    leave_one_out = seconds_of(lambda: RidgeCV(alphas=PENALTIES).fit(scaled[fitted], target[fitted]), 1)
    space, folds = row_space(activations, fitted), np.arange(items) % 4
    inner = seconds_of(lambda: list(left_out(space, observed, folds, PENALTIES)), 1)
    print(f"{items:,} x {width:,}, four fifths fitted, all predicted: CPU seconds")
    print(f"  ours, one penalty                     {one:8.2f}")
    print(f"  ours, {len(PENALTIES)} penalties                    {fifty:8.2f}  ({fifty / one:.2f} x one)")
    print(f"  four inner folds of those, no refits  {inner:8.2f}")
    print(f"  {len(PENALTIES)} fits of sklearn's Ridge            {by_sklearn:8.2f}  ({by_sklearn / fifty:.1f} x ours)")
    print(f"  sklearn's RidgeCV, one row left out   {leave_one_out:8.2f}  ({leave_one_out / fifty:.1f} x ours)")
    furthest = float(np.abs(ours(PENALTIES) - theirs()).max())
    print(f"  largest difference of a prediction    {furthest:8.1e}")
    short = [f"50 penalties cost {fifty / one:.2f} x one at {items} x {width}"] if fifty > MOST_FOR_50 * one else []
    return short + (["not sklearn's predictions"] if furthest > 1e-4 else [])


def the_suite(places: list[tuple[int, str]], kinds: bool) -> None:
    items, width = SHAPES[0]
    generator = np.random.default_rng(2)
    names = np.array([f"task_{number:05}" for number in range(items)])
    activations = {where: hidden_states(items, width, seed) for seed, where in enumerate(places)}
    utility = activations[places[0]] @ generator.normal(size=width)
    utility = utility / utility.std() + generator.normal(size=items)
    words = np.array([f"word{number}" for number in range(2_000)])
    texts = [" ".join(generator.choice(words, 40)) for _ in range(items)]
    described = {
        "item": names,
        "unit": names,
        "topic": [f"topic {number}" for number in generator.integers(0, TOPICS, items)],
        "origin": [f"origin {number}" for number in generator.integers(0, 3, items)],
        "text": texts,
        "length": generator.integers(10, 900, items),
    }
    targets = [
        Target(name="utility", kind="number", values=pl.DataFrame({"item": names, "value": utility})),
        Target(name="valence", kind="number", values=pl.DataFrame({"item": names, "value": np.sign(utility)})),
    ]
    if kinds:
        a = generator.integers(0, items, PAIRS)
        b = (a + generator.integers(1, items, PAIRS)) % items
        won = (generator.random(PAIRS) < 1 / (1 + np.exp(utility[b] - utility[a]))).astype(int)
        answers = {"item_a": names[a], "item_b": names[b], "wins_a": won, "wins_b": 1 - won}
        targets = [
            Target(name="positive", kind="binary", values=pl.DataFrame({"item": names, "value": 1 * (utility > 0)})),
            Target(name="choices", kind="choices", values=pl.DataFrame(answers), shown_in_order=True),
        ]
    given = Probed(activations=activations, items=pl.DataFrame(described), targets=tuple(targets))
    started, wall = time.process_time(), time.perf_counter()
    found = probe_suite(given)
    took, wall = time.process_time() - started, time.perf_counter() - wall
    print(
        f"suite, {items:,} x {width:,} at {len(places)} layers and positions, "
        f"{' and '.join(f'{of.name} ({of.kind})' for of in targets)}, by unit, {TOPICS} topics, 3 origins, "
        f"five seeds of baselines: {took:.0f} CPU seconds ({wall:.0f} s), "
        f"{found.scores.height:,} scores",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--places", type=int, default=8, help="layers and positions that the suite is timed at")
    given = parser.parse_args()
    short: list[str] = []
    with threadpool_limits(1):
        for shape in SHAPES:
            short += compare_paths(*shape)
        places = [(layer, position) for layer in LAYERS for position in POSITIONS][: given.places]
        the_suite(places[:1], kinds=True)
        the_suite(places, kinds=False)
    if short:
        raise SystemExit("; ".join(short))


if __name__ == "__main__":
    main()
