"""Ours against TRL's DPOTrainer in one run: same model, same pairs, same order, same adapters.

Without a GPU: two sizes of Qwen2 with random weights in float32, on the texts of synthetic PRISM; TRL as one runs it by
itself (its reference in every step, or precomputed for each adapter), our engine "trl" (shared tokens and reference),
and our packed engine with K adapters in a pack. The whole benchmark fails if a loss differs by more than 1e-3 from
TRL's, so that nobody compares different work.

With a GPU: the shape of Qwen2.5-0.5B in bfloat16 on random tokens; TRL with its reference given, so that only its steps
count, and packs of several sizes. The FLOPs are those that LoRA needs: per token 2 N forward and 2 N backward for the N
parameters of the body (no weight of it has a gradient), 4 x hidden x vocabulary per response token for the logits.
Attention, the adapters and the optimiser are left out. A pair's prompt counts once, since both answers can share it.

Every variant runs in a process of its own. The first steps of each pack are left out of its time and its tokens. Tokens
per second are those the pair has, twice the prompt + chosen + rejected, whether or not a variant reads them twice.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from prefassets.domain.training.encoding import EncodedPairs, encode_pairs
from prefassets.domain.training.language_model import DTYPES, LanguageModel, device
from prefassets.domain.training.recipe import Hyperparameters, Lora, Recipe
from prefassets.domain.training.train import CellToTrain, FinishedCell, TrainingData, train_cells

CELLS_PER_PACK = {"cpu": (1, 4, 8, 16), "gpu": (8, 1, 16, 32)}  # on a GPU the most wanted first
CELLS_ALONE = 2  # trained by the engines that train one cell at a time
MOST_LOSS_DIFFERENCE = 1e-3
STUDY_STEPS, STUDY_CELLS = 2_000, 105  # of dpo_w2 and dpo_ol together, cells they share counted once
RESPONSE_TOKENS = (120, 82)  # mean and sd; PRISM's answers have 565 (388) characters, about 4.7 a token
PROMPT_SPREAD = 0.7  # sd / mean of a prompt's tokens


@dataclass(frozen=True)
class Shape:
    """A model's shape, what is trained on it, and how long."""

    name: str
    config: dict[str, Any]
    hyperparameters: Hyperparameters
    warm_up: int  # steps
    matmul: int = 0  # rows of the square matrices whose product is the machine's rate


def cpu_shape(hidden: int) -> Shape:
    return Shape(
        name=f"hidden {hidden}",
        config={
            "hidden_size": hidden,
            "intermediate_size": 4 * hidden,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        },
        hyperparameters=Hyperparameters(
            steps=8, batch_size=8, learning_rate=2e-3, lora=Lora(rank=8, alpha=16), max_length=256, precision="float32"
        ),
        warm_up=2,
    )


QWEN_0_5B = Shape(
    name="Qwen2.5-0.5B",
    config={
        "vocab_size": 151_936,
        "hidden_size": 896,
        "intermediate_size": 4_864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "rope_theta": 1_000_000.0,
    },
    hyperparameters=Hyperparameters(
        steps=20, batch_size=8, learning_rate=5e-5, lora=Lora(rank=16, alpha=32), max_length=1_024
    ),
    warm_up=4,
    matmul=8_192,
)
SMALL = Shape(
    name="small",
    config={
        "vocab_size": 2_000,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    hyperparameters=Hyperparameters(
        steps=5, batch_size=4, learning_rate=5e-5, lora=Lora(rank=16, alpha=32), max_length=1_024
    ),
    warm_up=2,
    matmul=1_024,
)
GPU_SHAPES = {shape.name.lower(): shape for shape in (QWEN_0_5B, SMALL)}


@dataclass(frozen=True)
class Workload:
    """What every variant is given. Each process makes the model anew from its seed: the weights are the same."""

    shape: Shape
    tokenizer: Any
    encoded: EncodedPairs
    reference_logps: dict[str, tuple[float, float]]
    reference_seconds: float
    body_parameters: int
    matmul_flops: float  # per second; nan where the shape asks for none

    @property
    def data(self) -> TrainingData:
        return TrainingData(language_model(self.shape, self.tokenizer), self.encoded, self.reference_logps)

    def cells(self, count: int) -> list[CellToTrain]:
        """Cells that differ in their seed: each sees every pair once, in an order of its own."""
        pair_ids = tuple(self.encoded.rows["pair_id"])
        return [
            CellToTrain(
                key=f"seed-{seed}",
                recipe=Recipe(
                    method="dpo",
                    hyperparameters=self.shape.hyperparameters,
                    base_model=self.shape.name,
                    base_revision="random",
                    seed=seed,
                    fold=0,
                    training_pairs="all",
                ),
                pair_ids=pair_ids,
            )
            for seed in range(count)
        ]


@dataclass(frozen=True)
class Variant:
    """A way to train `cells` cells, `cells_per_pack` at a time."""

    name: str
    engine: str  # "packed", "trl", or TRL without us: "plain", "precomputed"
    cells: int
    cells_per_pack: int = 1


@dataclass
class Measured:
    """What one variant took, steps of the warm-up left out, summed over its cells."""

    adapter_steps: int
    cpu_seconds: float
    seconds: float
    tokens: int  # of prompt and answer, the prompt twice per pair
    tokens_once: int  # the same, the prompt once
    response_tokens: int
    peak_bytes: int
    losses: dict[str, list[float]]
    reference_cpu_seconds: float = 0.0  # of the variant's own pass
    reference_seconds: float = 0.0

    @property
    def cpu_per_step(self) -> float:
        return self.cpu_seconds / self.adapter_steps

    @property
    def seconds_per_step(self) -> float:
        return self.seconds / self.adapter_steps


@dataclass
class Clock:
    """Reads the clocks as cells end the steps that matter."""

    warm_up: int
    read: dict[tuple[str, int], tuple[float, float]] = field(default_factory=dict)

    def on_step(self, key: str, step: int, steps: int) -> None:
        if step in (self.warm_up, self.warm_up + 1, steps):
            wait_for_device()
            self.read[key, step] = time.process_time(), time.perf_counter()

    def took(self, keys: Sequence[str], steps: int) -> tuple[float, float]:
        """CPU and wall seconds that the cells of one pack took together after the warm-up.

        Raises:
            ValueError: steps were reported later than they ended, so that they cannot be timed.
        """
        begin = [max(self.read[key, self.warm_up][clock] for key in keys) for clock in range(2)]
        end = [max(self.read[key, steps][clock] for key in keys) for clock in range(2)]
        first = min(self.read[key, self.warm_up + 1][1] for key in keys) - begin[1]
        if first < 0.1 * (end[1] - begin[1]) / (steps - self.warm_up):
            raise ValueError(
                f"the cells of a pack ({keys[0]} and {len(keys) - 1} more) did not take their steps together, or the "
                f"engine reports several steps at once: what a step takes cannot be told; report each step as it ends"
            )
        return end[0] - begin[0], end[1] - begin[1]


def language_model(shape: Shape, tokenizer: Any) -> LanguageModel:
    """Random weights, the same in each process."""
    import torch  # not above: prefassets.domain.training sets how its threads wait before it is loaded
    from transformers import AutoModelForCausalLM, Qwen2Config

    torch.manual_seed(0)
    config = {"vocab_size": len(tokenizer), "max_position_embeddings": 4_096, "tie_word_embeddings": True}
    with torch.device(device()):
        model = AutoModelForCausalLM.from_config(
            Qwen2Config(**{**config, **shape.config}), dtype=DTYPES[shape.hyperparameters.precision]
        )
    return LanguageModel(model, tokenizer, shape.name, "random")


def synthetic_texts(shape: Shape) -> tuple[Any, EncodedPairs]:
    """A tokenizer learned on a synthetic PRISM, and as many of its pairs as one cell sees."""
    from prefassets.domain.prism.pairs import within_model_pairs
    from prefassets.domain.prism.synthetic import synthetic_prism
    from prefassets.domain.training.tiny import conversations, train_tiny

    made = synthetic_prism(seed=0, scale=0.03)
    tokenizer = train_tiny(conversations(made.utterances), seed=0, steps=1).language_model.tokenizer
    wanted = shape.hyperparameters.steps * shape.hyperparameters.batch_size
    pairs = within_model_pairs(made.utterances).pairs.sample(wanted, seed=0)
    return tokenizer, encode_pairs(pairs, tokenizer, shape.hyperparameters.max_length)


def random_tokens(shape: Shape, prompt_tokens: float) -> tuple[Any, EncodedPairs]:
    """A tokenizer that nothing is tokenised with, and pairs of random tokens whose lengths are log-normal."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<end>": 0}, unk_token="<end>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", pad_token="<end>")
    generator = np.random.default_rng(0)
    count = shape.hyperparameters.steps * shape.hyperparameters.batch_size
    most = shape.hyperparameters.max_length

    def log_normal(mean: float, sd: float, at_most: int) -> np.ndarray:
        variance = np.log1p((sd / mean) ** 2)
        lengths = generator.lognormal(np.log(mean) - variance / 2, np.sqrt(variance), count)
        return np.clip(np.rint(lengths), 2, at_most).astype(int)

    def tokens(lengths: np.ndarray) -> list[np.ndarray]:
        return [generator.integers(1, shape.config["vocab_size"], length) for length in lengths]

    responses = [log_normal(*RESPONSE_TOKENS, 3 * most // 4) for _ in range(2)]
    prompts = np.minimum(log_normal(prompt_tokens, PROMPT_SPREAD * prompt_tokens, most), most - np.maximum(*responses))
    ids = {"prompt_ids": prompts, "chosen_ids": responses[0], "rejected_ids": responses[1]}
    rows = pl.DataFrame(
        {"pair_id": [f"pair-{row}" for row in range(count)]} | {name: tokens(lengths) for name, lengths in ids.items()},
        schema_overrides=dict.fromkeys(ids, pl.List(pl.Int32)),
    )
    return tokenizer, EncodedPairs(rows.with_columns(chosen_truncated=pl.lit(0), rejected_truncated=pl.lit(0)))


def prepare(shape: Shape, prompt_tokens: float | None) -> Workload:
    """Tokens and reference of a shape, and the machine's rate."""
    from prefassets.domain.training.reference import reference_pass

    tokenizer, encoded = synthetic_texts(shape) if prompt_tokens is None else random_tokens(shape, prompt_tokens)
    base = language_model(shape, tokenizer)
    reference_pass(base, encoded)  # once for nothing: whatever is set up on first use
    wait_for_device()
    started = time.perf_counter()
    reference = reference_pass(base, encoded)
    wait_for_device()
    seconds = time.perf_counter() - started
    embedding = base.model.get_input_embeddings().weight.numel()
    return Workload(
        shape=shape,
        tokenizer=tokenizer,
        encoded=encoded,
        reference_logps={
            pair_id: (chosen, rejected)
            for pair_id, chosen, rejected in reference.pivot("response", index="pair_id", values="logp")
            .select("pair_id", "chosen", "rejected")
            .iter_rows()
        },
        reference_seconds=seconds,
        body_parameters=base.model.num_parameters() - embedding,  # the output head is the embedding
        matmul_flops=matmul_rate(shape.matmul) if shape.matmul else float("nan"),
    )


def matmul_rate(rows: int) -> float:
    """FLOP/s of one product of square bfloat16 matrices of random numbers; median of 30."""
    import torch

    a, b = (torch.randn(rows, rows, device=device(), dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(35):
        wait_for_device()
        started = time.perf_counter()
        a @ b
        wait_for_device()
        seconds.append(time.perf_counter() - started)
    return 2 * rows**3 / float(np.median(seconds[5:]))


def wait_for_device() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def forget_peak() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_bytes() -> int:
    """The most memory this process has had: the GPU's if there is one, as torch allocated it, or else resident."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(status["VmHWM"].split()[0])  # getrusage's would include that of the process that started this one


def measure(workload: Workload, variant: Variant) -> Measured:
    """Train the variant's cells in this process.

    Raises:
        RuntimeError: a cell failed.
    """
    steps, warm_up = workload.shape.hyperparameters.steps, workload.shape.warm_up
    cells, data, clock = workload.cells(variant.cells), workload.data, Clock(warm_up)
    forget_peak()  # of making the model
    losses: dict[str, list[float]] = {}
    own_pass = np.zeros(2)
    if variant.engine in ("plain", "precomputed"):
        from benchmarks.plain_trl import train

        for cell in cells:
            run = train(cell, data, clock.on_step, precompute_reference=variant.engine == "precomputed")
            losses[cell.key] = run.losses
            own_pass += run.reference_cpu_seconds, run.reference_seconds
    else:
        options = {"cells_per_pack": variant.cells_per_pack} if variant.engine == "packed" else {}
        for outcome in train_cells(cells, data, clock.on_step, engine=variant.engine, **options):
            if not isinstance(outcome, FinishedCell):
                raise RuntimeError(f"{outcome.key}: {outcome.reason}")
            losses[outcome.key] = outcome.log["loss"].to_list()

    keys = [cell.key for cell in cells]
    packs = [keys[begin : begin + variant.cells_per_pack] for begin in range(0, len(keys), variant.cells_per_pack)]
    took = np.sum([clock.took(pack, steps) for pack in packs], axis=0)
    prompt, response = timed_tokens(cells, data.encoded, warm_up)
    return Measured(
        adapter_steps=len(cells) * (steps - warm_up),
        cpu_seconds=took[0],
        seconds=took[1],
        tokens=2 * prompt + response,
        tokens_once=prompt + response,
        response_tokens=response,
        peak_bytes=peak_bytes(),
        losses=losses,
        reference_cpu_seconds=own_pass[0] / len(cells) / steps,
        reference_seconds=own_pass[1] / len(cells) / steps,
    )


def timed_tokens(cells: list[CellToTrain], encoded: EncodedPairs, warm_up: int) -> tuple[int, int]:
    """Tokens of prompts and of responses in the steps after the warm-up, over all cells."""
    from prefassets.domain.training.order import data_order

    lengths = encoded.rows.select(
        prompt=pl.col("prompt_ids").list.len(),
        response=pl.col("chosen_ids").list.len() + pl.col("rejected_ids").list.len(),
    ).to_numpy()
    total = np.zeros(2, dtype=int)
    for cell in cells:
        wanted = cell.recipe.hyperparameters
        order = data_order(len(cell.pair_ids), wanted.steps, wanted.batch_size, cell.recipe.seed)
        total += lengths[[position for batch in order[warm_up:] for position in batch]].sum(axis=0, dtype=int)
    return int(total[0]), int(total[1])


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's result, from a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


class Report:
    """Lines for people, on standard output and, as they come, in a file."""

    def __init__(self, output: Path | None) -> None:
        self.output = output
        if output:
            output.write_text("")

    def __call__(self, line: str = "") -> None:
        print(line, flush=True)
        if self.output:
            with self.output.open("a") as file:
                file.write(line + "\n")


def machine(module: str) -> list[str]:
    """What this ran on, and how to run it again."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        name = next((line.split(": ")[1] for line in info.read_text().splitlines() if "model name" in line), name)
    gpu = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    packages = ", ".join(f"{package} {version(package)}" for package in ("torch", "transformers", "trl", "peft"))
    return [
        ", ".join([*gpu, f"{name}, {cores} cores"]),
        f"Python {platform.python_version()}, {packages}",
        f"python -m {module} {' '.join(sys.argv[1:])}".strip(),
    ]


def describe(workload: Workload) -> list[str]:
    shape, wanted = workload.shape, workload.shape.hyperparameters
    lengths = workload.encoded.rows.select(pl.col("prompt_ids", "chosen_ids", "rejected_ids").list.len())
    prompt, chosen, rejected = (f"{lengths[name].mean():.0f} ({lengths[name].std():.0f})" for name in lengths.columns)
    return [
        f"{shape.name}: {shape.config['num_hidden_layers']} layers, {workload.body_parameters:,} parameters without"
        f" embedding, {wanted.precision}; LoRA rank {wanted.lora.rank}",
        f"{len(workload.encoded)} pairs, batches of {wanted.batch_size}, {wanted.steps} steps of which the first"
        f" {shape.warm_up} are not timed; tokens, mean (sd): prompt {prompt}, chosen {chosen}, rejected {rejected}",
        f"our reference pass, once for all cells: {workload.reference_seconds:.2f} s",
    ]


def differences(losses: dict[str, list[float]], of_trl: dict[str, list[float]]) -> tuple[float, float]:
    """Largest distance from TRL's loss over the cells that both trained: in any step, and in the last."""
    shared = sorted(losses.keys() & of_trl.keys())
    distance = np.abs([np.subtract(losses[key], of_trl[key]) for key in shared])
    return float(distance.max()), float(distance[:, -1].max())


def on_cpu(shape: Shape, packs: Sequence[int], report: Report) -> bool:
    """Measure one size; whether all losses agree."""
    workload = alone(prepare, shape, None)
    for line in describe(workload):
        report(line)
    report("seconds per adapter-step; 'TRL' and 'pre': how many times as much the first and the second row take")
    report(
        f"{'':<30} cells   CPU s  wall s  tokens/s peak MiB   TRL, CPU  wall   pre, CPU  wall   loss differs, last step"
    )
    variants = [
        Variant("TRL", "plain", CELLS_ALONE),
        Variant("TRL, reference precomputed", "precomputed", CELLS_ALONE),
        Variant('ours, engine "trl"', "trl", CELLS_ALONE),
        *(Variant(f"ours, packed, K = {size}", "packed", max(size, CELLS_ALONE), size) for size in packs),
    ]
    found: dict[str, Measured] = {}

    def row(name: str, cells: int, cpu: float, wall: float, measured: Measured, losses: str) -> None:
        ratios = [
            f"{found[engine].cpu_per_step / cpu:>10.2f}{found[engine].seconds_per_step / wall:>6.2f}"
            if engine in found
            else " " * 16
            for engine in ("plain", "precomputed")
        ]
        per_second = measured.tokens / measured.adapter_steps / wall
        report(
            f"{name:<30}{cells:>6}{cpu:>8.3f}{wall:>8.3f}{per_second:>10,.0f}{measured.peak_bytes / 2**20:>9,.0f}"
            f" {ratios[0]} {ratios[1]}   {losses}"
        )

    agree = True
    for variant in variants:
        measured = alone(measure, workload, variant)
        found.setdefault(variant.engine, measured)
        of_trl = found["plain"].losses
        any_step, last = differences(measured.losses, of_trl)
        agree &= any_step <= MOST_LOSS_DIFFERENCE
        losses = f"{any_step:.0e}, {last:.0e}" if variant.engine != "plain" else "-"
        cpu, wall = measured.cpu_per_step, measured.seconds_per_step
        row(variant.name, variant.cells, cpu, wall, measured, losses)
        if variant.engine == "precomputed":
            cpu, wall = cpu + measured.reference_cpu_seconds, wall + measured.reference_seconds
            row("  its own pass counted", variant.cells, cpu, wall, measured, "(each pair is seen once)")
    first, last = (np.mean([losses[step] for losses in found["plain"].losses.values()]) for step in (0, -1))
    report(f"TRL's loss: {first:.4f} in the first step, {last:.4f} in the last")
    report()
    return agree


def on_gpu(shape: Shape, packs: Sequence[int], prompt_tokens: float, report: Report) -> None:
    """Measure one shape: seconds and FLOPs that are needed, against TRL and against the rate of a matrix product."""
    workload = alone(prepare, shape, prompt_tokens)
    for line in describe(workload):
        report(line)
    report(
        f"random tokens, log-normal lengths: responses mean (sd) {RESPONSE_TOKENS[0]} ({RESPONSE_TOKENS[1]}), prompts"
        f" of {prompt_tokens:g} ({PROMPT_SPREAD * prompt_tokens:.0f}), at most {shape.hyperparameters.max_length}"
    )
    report(f"product of {shape.matmul} x {shape.matmul} bfloat16 matrices: {workload.matmul_flops / 1e12:.1f} TFLOP/s")
    report("TFLOP/s: needed, the prompt read once / as TRL reads it, twice; share: the former in that product's")
    report(f"GPU-hours: {STUDY_CELLS} cells of {STUDY_STEPS:,} steps at this rate")
    report(
        f"{'':<30} cells  ms/adapter-step   TRL   tokens/s  peak GiB    TFLOP/s       share  GPU-hours  loss differs"
    )
    of_trl = None
    variants = [
        Variant('engine "trl", reference given', "trl", CELLS_ALONE),
        *(Variant(f"packed, K = {size}", "packed", size, size) for size in packs),
    ]
    for variant in variants:
        try:
            measured = alone(measure, workload, variant)
        except Exception as error:  # a pack too large for the memory; the others go on
            report(f"{variant.name:<30}{variant.cells:>6}  {type(error).__name__}: {error}"[:200])
            continue
        of_trl = of_trl or measured
        body = 4 * workload.body_parameters
        logits = 4 * shape.config["hidden_size"] * shape.config["vocab_size"] * measured.response_tokens
        once, twice = (
            (body * tokens + logits) / measured.seconds for tokens in (measured.tokens_once, measured.tokens)
        )
        hours = STUDY_CELLS * STUDY_STEPS * measured.seconds_per_step / 3600
        report(
            f"{variant.name:<30}{variant.cells:>6}{1000 * measured.seconds_per_step:>17.2f}"
            f"{of_trl.seconds_per_step / measured.seconds_per_step:>6.2f}"
            f"{measured.tokens / measured.seconds:>11,.0f}{measured.peak_bytes / 2**30:>10.1f}"
            f"{once / 1e12:>9.2f} /{twice / 1e12:>7.2f}{once / workload.matmul_flops:>8.1%}{hours:>11.2f}"
            f"  {differences(measured.losses, of_trl.losses)[0]:.0e}"
        )
    report()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 256], help="sizes to measure on a CPU")
    parser.add_argument("--cells-per-pack", type=int, nargs="+", help="K, the adapters of a pack")
    parser.add_argument("--gpu-shape", choices=list(GPU_SHAPES), help="measure as on a GPU, on whatever there is")
    parser.add_argument("--prompt-tokens", type=float, default=180, help="mean length of prompts on a GPU")
    parser.add_argument("--output", type=Path, help="also write to this file")
    chosen = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", TQDM_DISABLE="1", TOKENIZERS_PARALLELISM="false")

    report = Report(chosen.output)
    for line in machine("benchmarks.training"):
        report(line)
    report()
    if chosen.gpu_shape or device().type == "cuda":
        shape = GPU_SHAPES[chosen.gpu_shape or QWEN_0_5B.name.lower()]
        on_gpu(shape, chosen.cells_per_pack or CELLS_PER_PACK["gpu"], chosen.prompt_tokens, report)
        return
    packs = chosen.cells_per_pack or CELLS_PER_PACK["cpu"]
    agree = [on_cpu(cpu_shape(hidden), packs, report) for hidden in chosen.hidden]
    if not all(agree):
        raise SystemExit(f"a loss differs from TRL's by more than {MOST_LOSS_DIFFERENCE:g}")


if __name__ == "__main__":
    main()
