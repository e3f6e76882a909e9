"""Hidden states of texts: ours against the loop that one would write, in one run, and where the difference is from.

The plain loop takes texts in the order given, so many at a time as fill our batches on average, padded on the right,
and calls `model(...)` with `output_hidden_states=True`. Then the same with what makes it faster, one thing after the
other: no logits, texts sorted by length, no layer below the deepest asked. All tokenise on their way; where the
positions are, the loops are told. Random weights of Qwen2's architecture, layers at 50 % and 75 % of the depth, texts
of random words whose lengths are log-normal.

Without a GPU: Qwen2.5-0.5B with a quarter of each width and of the vocabulary, in float32, so that layers and output
head share the work as there. With a GPU: its full shape in bfloat16. Repetitions take turns, each time in the other
order. The benchmark fails if ours is not at least twice as fast as the plain loop (median of the ratios; of CPU time
without a GPU, so that other work on the machine does not count), or if a number differs: by more than 1e-3 in float32,
in bfloat16 by more than rounding.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.training import PROMPT_SPREAD, QWEN_0_5B, RESPONSE_TOKENS, Report, machine, wait_for_device
from prefassets.domain.probes.extraction import Extraction, layers_at
from prefassets.domain.training.language_model import DTYPES, LanguageModel, device

LEAST_RATIO, MOST_DIFFERENCE, MOST_ROUNDING = 2, 1e-3, 0.1  # the last: of a state, relative to its norm
PROMPT_TOKENS = 100
WORDS = 1_000
POSITIONS = Extraction().positions
CHATML = (
    "{% for message in messages %}{{ '<start> ' + message.role + ' ' + message.content + ' <end> ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start> assistant ' }}{% endif %}"
)


def make_model() -> LanguageModel:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config

    names = ["<end>", "<start>", "user", "assistant", *(f"w{number}" for number in range(WORDS))]
    words = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="<end>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", pad_token="<end>")
    tokenizer.chat_template = CHATML
    shape, precision = dict(QWEN_0_5B.config), "bfloat16"
    if device().type == "cpu":
        precision = "float32"
        shape |= {name: shape[name] // 4 for name in ("vocab_size", "hidden_size", "intermediate_size")}
        shape |= {"num_attention_heads": 7, "num_key_value_heads": 1}
    torch.manual_seed(0)
    with torch.device(device()):
        config = Qwen2Config(**shape, max_position_embeddings=4_096, tie_word_embeddings=True)
        model = AutoModelForCausalLM.from_config(config, dtype=DTYPES[precision])
    return LanguageModel(model, tokenizer, "random", precision)


def make_texts(count: int) -> list[Any]:
    from prefassets.domain.probes.texts import Text

    generator = np.random.default_rng(0)

    def log_normal(mean: float, sd: float) -> list[str]:
        variance = np.log1p((sd / mean) ** 2)
        lengths = generator.lognormal(np.log(mean) - variance / 2, np.sqrt(variance), count).clip(2, 2_000)
        return [" ".join(f"w{word}" for word in generator.integers(0, WORDS, int(length))) for length in lengths]

    prompts, responses = log_normal(PROMPT_TOKENS, PROMPT_SPREAD * PROMPT_TOKENS), log_normal(*RESPONSE_TOKENS)
    return [
        Text(f"text-{row}", [{"role": "user", "content": prompt}], response)
        for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True))
    ]


def loop(
    language_model: LanguageModel,
    texts: Sequence[Any],
    spans: Sequence[Sequence[tuple[int, int]]],
    layers: Sequence[int],
    batch: int,
    *,
    logits: bool = True,
    in_order: bool = True,
    deep: bool = True,
) -> np.ndarray:
    """(N, layers, positions, D), as one would write it."""
    import torch

    from prefassets.domain.training.lora import left_untouched

    model: Any = language_model.model
    tokenizer: Any = language_model.tokenizer
    written = tokenizer.apply_chat_template(
        [[*text.messages, {"role": "assistant", "content": text.response}] for text in texts], tokenize=False
    )
    rows = list(range(len(texts)))
    if not in_order:
        rows.sort(key=lambda row: -len(written[row].split()))
    found = np.empty((len(texts), len(layers), len(POSITIONS), model.config.hidden_size), np.float32)
    with nullcontext() if deep else left_untouched(model), torch.inference_mode():
        if not deep:
            model.model.layers = model.model.layers[: max(layers) + 1]  # the last is read after the norm
        forward = model if logits else model.base_model
        for begin in range(0, len(rows), batch):
            own = rows[begin : begin + batch]
            encoded = tokenizer(
                [written[row] for row in own],
                padding=True,
                padding_side="right",
                add_special_tokens=False,
                return_tensors="pt",
            ).to(model.device)
            states = forward(
                input_ids=encoded["input_ids"],
                attention_mask=encoded["attention_mask"],
                output_hidden_states=True,
                use_cache=False,
            ).hidden_states
            for layer, number in enumerate(layers):
                for text, row in enumerate(own):
                    for position, (first, last) in enumerate(spans[row]):
                        found[row, layer, position] = states[number][text, first:last].float().mean(0).cpu().numpy()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, help="how many: 32 on a CPU, 2,048 on a GPU")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--output", type=Path, help="also write to this file")
    chosen = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", TQDM_DISABLE="1", TOKENIZERS_PARALLELISM="false")
    from prefassets.domain.probes.activations import activations_of_texts
    from prefassets.domain.probes.texts import encode_texts
    from prefassets.domain.training.completions import TOKENS_PER_BATCH

    where = device().type
    language_model, texts = make_model(), make_texts(chosen.texts or {"cpu": 32, "cuda": 2_048}[where])
    config = language_model.model.config
    layers = layers_at(Extraction().depths, config.num_hidden_layers)
    encoded = encode_texts(texts, language_model.tokenizer, config.max_position_embeddings, POSITIONS).tokens.values()
    spans = [[text.span(position) for position in POSITIONS] for text in encoded]
    lengths = np.array([len(text) for text in encoded])
    batch = max(1, round(TOKENS_PER_BATCH[where] / lengths.mean()))

    report = Report(chosen.output)
    for line in machine("benchmarks.activations"):
        report(line)
    report()
    body = language_model.model.num_parameters() - config.vocab_size * config.hidden_size
    report(
        f"{config.num_hidden_layers} layers of {config.hidden_size}, {body:,} parameters without embedding, vocabulary "
        f"{config.vocab_size:,}, {language_model.revision}; hidden states of layers {', '.join(map(str, layers))} at "
        f"{', '.join(POSITIONS)}"
    )
    report(
        f"{len(texts)} texts, {lengths.sum():,} tokens; a text's, mean (sd): {lengths.mean():.0f} ({lengths.std():.0f})"
        f", longest {lengths.max()}; ours in batches of at most {TOKENS_PER_BATCH[where]:,} tokens, loops of {batch} "
        f"texts"
    )
    plain = partial(loop, language_model, texts, spans, layers, batch)
    loop(language_model, texts[:4], spans[:4], layers, 2)  # for nothing: what only the first run costs
    activations_of_texts(language_model, texts[:4] if where == "cpu" else texts, layers, POSITIONS)
    variants: dict[str, Callable[[], np.ndarray]] = {
        "plain loop": plain,
        "sorted by length": partial(plain, in_order=False),
        "no logits": partial(plain, logits=False),
        "no logits, sorted": partial(plain, logits=False, in_order=False),
        "no logits, sorted, no deeper": partial(plain, logits=False, in_order=False, deep=False),
        "ours": lambda: activations_of_texts(language_model, texts, layers, POSITIONS).values,
    }
    found: dict[str, np.ndarray] = {}
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
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
    report(f"{'':<30}{'tokens/s':>10}{'wall s':>8}{'CPU s':>8}   {'ours, wall':<22}{'ours, CPU':<22}differs from ours")
    differences = []
    for name, of_variant in seconds.items():
        off = np.abs(found[name] - found["ours"])
        relative = (np.linalg.norm(off, axis=-1) / np.linalg.norm(found["ours"], axis=-1)).max()
        differences.append((off.max(), relative))
        cpu, wall = np.median(of_variant, axis=0)
        ratios = [
            f"{np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f})"
            for ratio in (of_variant / seconds["ours"]).T[::-1]
        ]
        report(
            f"{name:<30}{lengths.sum() / wall:>10,.0f}{wall:>8.2f}{cpu:>8.2f}   {ratios[0]:<22}{ratios[1]:<22}"
            f"{off.max():.0e}, {relative:.0e} of the norm"
        )
    report()
    most, most_relative = np.max(differences, axis=0)
    if most > MOST_DIFFERENCE if language_model.revision == "float32" else most_relative > MOST_ROUNDING:
        raise SystemExit(f"hidden states differ by up to {most:.0e}, {most_relative:.0e} of their norm")
    cpu_ratio, wall_ratio = np.median(seconds["plain loop"] / seconds["ours"], axis=0)
    ratio = cpu_ratio if where == "cpu" else wall_ratio
    if ratio < LEAST_RATIO:
        raise SystemExit(f"ours is {ratio:.2f} times as fast as the plain loop; wanted is {LEAST_RATIO}")


if __name__ == "__main__":
    main()
