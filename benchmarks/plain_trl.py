"""TRL's DPOTrainer as one runs it without prefassets: one adapter at a time, each with a reference of its own."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import trl
from transformers import PrinterCallback, TrainerCallback

from prefassets.domain.training.language_model import device
from prefassets.domain.training.lora import left_untouched, lora_config
from prefassets.domain.training.order import data_order
from prefassets.domain.training.quiet import quiet
from prefassets.domain.training.train import CellToTrain, OnStep, TrainingData


@dataclass
class Run:
    """What one training run showed: its loss at every step, and what computing the reference beforehand took."""

    losses: list[float] = field(default_factory=list)
    reference_cpu_seconds: float = 0.0
    reference_seconds: float = 0.0


def train(cell: CellToTrain, data: TrainingData, on_step: OnStep, *, precompute_reference: bool) -> Run:
    """Train one adapter on the pairs' tokens, in the order and from the weights that our engines have.

    Args:
        precompute_reference: compute the reference of all pairs before the first step (`precompute_ref_log_probs`), or
            else in every step, with the adapter switched off.
    """
    hyperparameters = cell.recipe.hyperparameters
    order = data_order(len(cell.pair_ids), hyperparameters.steps, hyperparameters.batch_size, cell.recipe.seed)
    pairs = data.encoded.select(cell.pair_ids).rows.select("prompt_ids", "chosen_ids", "rejected_ids")
    base = data.language_model
    run = Run()
    datasets.disable_progress_bars()
    with TemporaryDirectory() as folder, quiet(), left_untouched(base.model):
        trainer = _Trainer(
            on_reference=lambda cpu, wall: (
                setattr(run, "reference_cpu_seconds", cpu),
                setattr(run, "reference_seconds", wall),
            ),
            model=base.model,
            args=trl.DPOConfig(
                output_dir=folder,
                precompute_ref_log_probs=precompute_reference,
                beta=hyperparameters.beta,
                max_steps=hyperparameters.steps,
                per_device_train_batch_size=hyperparameters.batch_size,
                learning_rate=hyperparameters.learning_rate,
                lr_scheduler_type="linear",
                max_grad_norm=hyperparameters.max_gradient_norm,
                seed=cell.recipe.seed,
                train_sampling_strategy="sequential",
                bf16=hyperparameters.precision == "bfloat16",
                use_cpu=device().type == "cpu",
                gradient_checkpointing=False,
                max_length=None,
                logging_steps=1,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
                dataloader_pin_memory=device().type == "cuda",
            ),
            train_dataset=datasets.Dataset(pairs[[position for batch in order for position in batch]].to_arrow()),
            processing_class=base.tokenizer,
            peft_config=lora_config(base, hyperparameters.lora),
            callbacks=[_Steps(cell.key, on_step, run)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return run


class _Trainer(trl.DPOTrainer):
    """DPOTrainer on rows that are tokens already; tells the processor and wall seconds of its reference pass."""

    def __init__(self, on_reference: Callable[[float, float], object], **arguments: Any) -> None:
        self.on_reference = on_reference
        super().__init__(**arguments)

    def _prepare_dataset(self, dataset: datasets.Dataset, *_: Any) -> datasets.Dataset:
        return dataset

    def _precompute_ref_logps(self, *arguments: Any) -> datasets.Dataset:
        cpu, wall = time.process_time(), time.perf_counter()
        rows = super()._precompute_ref_logps(*arguments)
        self.on_reference(time.process_time() - cpu, time.perf_counter() - wall)
        return rows

    def _send_telemetry(self) -> None:
        pass


class _Steps(TrainerCallback):
    def __init__(self, key: str, on_step: OnStep, run: Run) -> None:
        self.key, self.on_step, self.run = key, on_step, run

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if logs and "rewards/margins" in logs:  # a step, and not the summary at the end
            self.run.losses.append(logs["loss"])
            self.on_step(self.key, state.global_step, state.max_steps)
