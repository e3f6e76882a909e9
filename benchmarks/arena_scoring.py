"""Who wins a battle: ours, one forward pass each, against generating an answer and looking for a digit in it.

What the report of Arena did is one `generate` of a few tokens after another with the model's own settings, then a
regular expression over the text. Then the same so many at a time as one would write it, padded on the left, in the
order given. Between these and ours stands what each difference gains: one forward pass for each battle alone (no
generation), and ours (read together, by similar length). All are given the same tokens; battles are read in one order.

A random model of Qwen2's architecture writes random tokens, so what could not be parsed says something of `--model`
alone: a released model's name, or a folder such as a home's tiny one. Without a GPU the random model is Qwen2.5-0.5B
with a quarter of each width and of the vocabulary, in float32; with a GPU its full shape in bfloat16. Repetitions take
turns, each time in the other order; ratios are of one repetition, so that other work on the machine counts for both.

The benchmark fails if ours does not say what one forward pass for each battle alone says, or, on a GPU, is not 5 times
as fast as the report's way (median of the ratios, wall time). On a CPU reading the prompt is most of the work, which no
way of asking spares, so how much faster ours is depends on model and length, and is told only.
"""

import argparse
import os
import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.training import QWEN_0_5B, Report, machine, wait_for_device
from prefassets.domain.training.language_model import DTYPES, LanguageModel, device

LEAST_RATIO = 5
MOST_DIFFERENCE = {"float32": 1e-4, "bfloat16": 0.1}  # of a log-probability
NEW_TOKENS, BATCH = 5, 8
ANSWER = re.compile(r"[012]")
WORDS = {"prompts": (30, 25), "answers_a": (90, 70), "answers_b": (90, 70)}  # mean and sd


def make_tokenizer(words: list[str]) -> Any:
    from prefassets.domain.training.tiny import train_tiny

    conversation = [{"role": "user", "content": "0 1 2"}, {"role": "assistant", "content": " ".join(words)}]
    return train_tiny([conversation] * 4, seed=0, steps=1).language_model.tokenizer


def random_model(tokenizer: Any) -> LanguageModel:
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config

    shape, precision = dict(QWEN_0_5B.config), "bfloat16"
    if device().type == "cpu":
        precision = "float32"
        shape |= {name: shape[name] // 4 for name in ("vocab_size", "hidden_size", "intermediate_size")}
        shape |= {"num_attention_heads": 7, "num_key_value_heads": 1}
    torch.manual_seed(0)
    with torch.device(device()):
        config = Qwen2Config(
            **shape,
            max_position_embeddings=4_096,
            tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        model = AutoModelForCausalLM.from_config(config, dtype=DTYPES[precision])
    return LanguageModel(model, tokenizer, "random weights", precision)


def make_battles(count: int, words: list[str]) -> pl.DataFrame:
    generator = np.random.default_rng(0)
    columns = {}
    for column, (mean, sd) in WORDS.items():
        variance = np.log1p((sd / mean) ** 2)
        lengths = generator.lognormal(np.log(mean) - variance / 2, np.sqrt(variance), count).clip(2, 4 * mean)
        columns[column] = [[" ".join(generator.choice(words, int(length)))] for length in lengths]
    return pl.DataFrame({"battle": [f"battle-{number}" for number in range(count)], **columns})


def generated(language_model: LanguageModel, ids: Sequence[list[int]], batch: int) -> np.ndarray:
    """Which digit each answer has, as one would write it; -1 where none."""
    import torch

    model: Any = language_model.model
    tokenizer: Any = language_model.tokenizer
    found = []
    for begin in range(0, len(ids), batch):
        prompts = tokenizer.pad(
            {"input_ids": ids[begin : begin + batch]}, padding_side="left", return_tensors="pt", verbose=False
        ).to(model.device)
        with torch.no_grad():
            written = model.generate(**prompts, max_new_tokens=NEW_TOKENS, use_cache=True)
        answers = tokenizer.batch_decode(written[:, prompts["input_ids"].shape[1] :], skip_special_tokens=True)
        matches = [ANSWER.search(answer) for answer in answers]
        found += [int(match[0]) if match else -1 for match in matches]
    return np.array(found)


def head_seconds(language_model: LanguageModel, battles: int) -> float:
    """Of the output head over the whole vocabulary at one place of each battle, which three rows of it would spare."""
    import torch

    head: Any = language_model.model.get_output_embeddings()
    states = torch.randn(battles, head.weight.shape[1], device=head.weight.device, dtype=head.weight.dtype)
    took = []
    with torch.no_grad():
        for _ in range(5):
            wait_for_device()
            started = time.perf_counter()
            for some in states.split(BATCH):
                head(some)
            wait_for_device()
            took.append(time.perf_counter() - started)
    return float(np.median(took))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a released model's name, or its folder; random weights without")
    parser.add_argument("--prompt", default="report", help="a key of PROMPTS")
    parser.add_argument("--max-tokens", type=int, default=1_024, help="of a prompt")
    parser.add_argument("--battles", type=int, help="how many: 24 on a CPU, 512 on a GPU")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--output", type=Path, help="also write to this file")
    chosen = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", TQDM_DISABLE="1", TOKENIZERS_PARALLELISM="false")
    from prefassets.domain.arena.digits import digit_log_probabilities
    from prefassets.domain.arena.prompt import BattlePrompt
    from prefassets.domain.training.completions import TOKENS_PER_BATCH
    from prefassets.domain.training.quiet import quiet

    where = device().type
    generator = np.random.default_rng(1)
    words = ["".join(generator.choice(list("aeionrst"), generator.integers(2, 8))) for _ in range(500)]
    if chosen.model:
        precision = "float32" if where == "cpu" else "bfloat16"
        language_model = LanguageModel.from_hub(chosen.model, precision)
    else:
        language_model = random_model(make_tokenizer(words))
        precision = language_model.revision
    battles = make_battles(chosen.battles or {"cpu": 24, "cuda": 512}[where], words)
    encoder = BattlePrompt(language_model.tokenizer, chosen.prompt, chosen.max_tokens)
    ids = [encoded.ids for encoded in encoder.encode_all(battles)]
    lengths = np.array([len(own) for own in ids])

    report = Report(chosen.output)
    for line in machine("benchmarks.arena_scoring"):
        report(line)
    report()
    config = language_model.model.config
    name = Path(chosen.model).name if chosen.model else "random weights"
    report(
        f"{name}: {config.num_hidden_layers} layers of {config.hidden_size}, "
        f"{language_model.model.num_parameters():,} parameters, vocabulary {config.vocab_size:,}, {precision}"
    )
    report(
        f"{len(ids)} battles, prompt {chosen.prompt!r}, {lengths.sum():,} tokens; a battle's, mean (sd): "
        f"{lengths.mean():.0f} ({lengths.std():.0f}), longest {lengths.max()}; {NEW_TOKENS} new tokens where one "
        f"generates; ours in batches of at most {TOKENS_PER_BATCH[where]:,} tokens"
    )
    pad: Any = language_model.tokenizer.pad_token_id
    score = partial(digit_log_probabilities, language_model.model, ids, encoder.digits, pad)
    variants: dict[str, Callable[[], np.ndarray]] = {
        "generate, one by one": partial(generated, language_model, ids, 1),
        f"generate, {BATCH} at a time": partial(generated, language_model, ids, BATCH),
        "one forward, one by one": partial(score, tokens_per_batch=1),
        "ours": score,
    }
    found: dict[str, np.ndarray] = {}
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    with quiet():
        for batch in (1, 2):
            generated(language_model, ids[:2], batch)  # for nothing: what only the first run costs
        score()
        for repetition in range(chosen.repetitions):
            for name in list(variants)[:: -1 if repetition % 2 else 1]:
                wait_for_device()
                cpu, wall = time.process_time(), time.perf_counter()
                found[name] = variants[name]()
                wait_for_device()
                took[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    seconds = {name: np.array(repetitions) for name, repetitions in took.items()}

    report(
        f"median of {chosen.repetitions}; 'ours': how many times as much it takes as ours, median (smallest to largest)"
    )
    report(f"{'':<26}{'battles/s':>10}{'wall s':>8}{'CPU s':>8}   {'ours, wall':<22}{'ours, CPU':<22}not parsed")
    for name, of_variant in seconds.items():
        cpu, wall = np.median(of_variant, axis=0)
        ratios = [
            f"{np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f})"
            for ratio in (of_variant / seconds["ours"]).T[::-1]
        ]
        unparsed = f"{np.mean(found[name] < 0):.0%}" if name.startswith("generate") else "-"
        report(f"{name:<26}{len(ids) / wall:>10.2f}{wall:>8.2f}{cpu:>8.2f}   {ratios[0]:<22}{ratios[1]:<22}{unparsed}")
    alone, ours = found["one forward, one by one"], found["ours"]
    head = head_seconds(language_model, len(ids)) / np.median(seconds["ours"][:, 1])
    report(
        f"ours and one by one differ by up to {np.abs(alone - ours).max():.0e} in a log-probability; the output head "
        f"over the whole vocabulary takes {head:.1%} of ours"
    )
    if np.abs(alone - ours).max() > MOST_DIFFERENCE[precision]:
        raise SystemExit("ours does not say what one forward pass for each battle alone says")
    ratio = float(np.median((seconds["generate, one by one"] / seconds["ours"])[:, 1]))
    if where == "cuda" and ratio < LEAST_RATIO:
        raise SystemExit(f"ours is {ratio:.2f} times as fast as the report's way; wanted is {LEAST_RATIO}")


if __name__ == "__main__":
    main()
