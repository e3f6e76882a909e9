"""What WPO's weights cost: the reference pass with alignment sums against one without, a step of WPO against DPO's.

Same model, pairs and process, one right after the other, again and again, each time in the other order. Three models in
float32: the tiny one on the texts of synthetic PRISM, and two of few layers with Qwen2.5's vocabulary of 151,936 on
random tokens, where the vocabulary weighs most. Printed are the median of the repetitions and, of the ratio of two that
followed one another, the median and the smallest and largest. The benchmark fails if the median ratio of the reference
pass's CPU time is above 1.2.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.training import Clock, Report, Shape, language_model, machine, random_tokens, synthetic_texts
from prefassets.domain.training.encoding import EncodedPairs
from prefassets.domain.training.language_model import LanguageModel
from prefassets.domain.training.recipe import Hyperparameters, Lora, Recipe
from prefassets.domain.training.train import CellToTrain, FinishedCell, TrainingData, train_cells

MOST_RATIO = 1.2
PROMPT_TOKENS = 100
WARM_UP = 1  # steps
Took = tuple[float, float]  # CPU and wall seconds


def large_vocabulary(hidden: int) -> Shape:
    return Shape(
        name=f"hidden {hidden}, vocabulary 151,936",
        config={
            "vocab_size": 151_936,
            "hidden_size": hidden,
            "intermediate_size": 4 * hidden,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        },
        hyperparameters=Hyperparameters(
            steps=2, batch_size=2, lora=Lora(rank=8, alpha=16), max_length=256, precision="float32"
        ),
        warm_up=WARM_UP,
    )


TINY = Shape(
    name="the tiny model's shape",
    config={
        "hidden_size": 96,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    hyperparameters=Hyperparameters(
        steps=12, batch_size=8, lora=Lora(rank=8, alpha=16), max_length=256, precision="float32"
    ),
    warm_up=WARM_UP,
)


def timed(function: Callable[[], object]) -> Took:
    cpu, wall = time.process_time(), time.perf_counter()
    function()
    return time.process_time() - cpu, time.perf_counter() - wall


def taken_in_turn(without: Callable[[], Took], having: Callable[[], Took], repetitions: int) -> np.ndarray:
    """Seconds: (repetitions, without and having, CPU and wall)."""
    without(), having()  # once for nothing: whatever is set up on first use
    found = []
    for repetition in range(repetitions):
        order = (having, without) if repetition % 2 else (without, having)
        both = [one() for one in order]
        found.append(both[::-1] if repetition % 2 else both)
    return np.array(found)


def reference(base: LanguageModel, encoded: EncodedPairs, repetitions: int) -> np.ndarray:
    """Seconds of the pass over all pairs, with its mean hidden states; without and with alignment sums."""
    from prefassets.domain.training.completions import complete

    pairs = encoded.tokens()
    return taken_in_turn(
        lambda: timed(lambda: complete(base, pairs, hidden_mean=True)),
        lambda: timed(lambda: complete(base, pairs, hidden_mean=True, alignment_sum=True)),
        repetitions,
    )


def step(base: LanguageModel, encoded: EncodedPairs, wanted: Hyperparameters, repetitions: int) -> np.ndarray:
    """Seconds of a step of one cell, alone in its pack; DPO's and WPO's."""
    pair_ids = tuple(encoded.rows["pair_id"])
    data = TrainingData(base, encoded, dict.fromkeys(pair_ids, (0.0, 0.0)))

    def train(method: str) -> Took:
        recipe = Recipe(
            method=method,
            hyperparameters=wanted,
            base_model=base.name,
            base_revision="random",
            seed=0,
            fold=0,
            training_pairs="all",
        )
        clock = Clock(WARM_UP)
        (outcome,) = train_cells([CellToTrain(method, recipe, pair_ids)], data, clock.on_step)
        if not isinstance(outcome, FinishedCell):
            raise RuntimeError(outcome.reason)
        cpu, wall = clock.took([method], wanted.steps)
        return cpu / (wanted.steps - WARM_UP), wall / (wanted.steps - WARM_UP)

    return taken_in_turn(lambda: train("dpo"), lambda: train("wpo"), repetitions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--output", type=Path, help="also write to this file")
    chosen = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", TQDM_DISABLE="1", TOKENIZERS_PARALLELISM="false")

    report = Report(chosen.output)
    for line in machine("benchmarks.reference"):
        report(line)
    report(f"CPU seconds (wall seconds), median of {chosen.repetitions}; ratio: median (smallest to largest)")
    report()
    too_slow = []
    for shape in (TINY, large_vocabulary(256), large_vocabulary(896)):
        tokenizer, encoded = synthetic_texts(shape) if shape is TINY else random_tokens(shape, PROMPT_TOKENS)
        base = language_model(shape, tokenizer)
        answers = encoded.rows["chosen_ids"].list.len().sum() + encoded.rows["rejected_ids"].list.len().sum()
        parameters = base.model.num_parameters()
        report(f"{shape.name}: {parameters:,} parameters; {len(encoded)} pairs, {answers:,} tokens of answers")
        report(f"{'':<20}{'without':>20}{'with':>20}   {'ratio, CPU':<24}ratio, wall")
        found = {
            "reference pass": reference(base, encoded, chosen.repetitions),
            f"step of {shape.hyperparameters.batch_size} pairs": step(
                base, encoded, shape.hyperparameters, chosen.repetitions
            ),
        }
        for name, seconds in found.items():
            ratios = seconds[:, 1] / seconds[:, 0]
            columns = [f"{cpu:.3f} ({wall:.3f})" for cpu, wall in np.median(seconds, axis=0)]
            spread = [f"{np.median(ratio):.3f} ({ratio.min():.3f} to {ratio.max():.3f})" for ratio in ratios.T]
            report(f"{name:<20}{columns[0]:>20}{columns[1]:>20}   {spread[0]:<24}{spread[1]}")
            if name == "reference pass" and np.median(ratios[:, 0]) > MOST_RATIO:
                too_slow.append(shape.name)
        report()
    if too_slow:
        raise SystemExit(f"alignment sums cost more than {MOST_RATIO} x: {', '.join(too_slow)}")


if __name__ == "__main__":
    main()
