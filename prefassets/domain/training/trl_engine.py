"""The engine "trl": TRL's DPOTrainer, one cell at a time, on pairs that are already tokens with their reference."""

import math
import time
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import polars as pl
import torch
import trl
from peft import PeftModel
from transformers import PrinterCallback, TrainerCallback

from prefassets.domain.training.encoding import EncodedPairs
from prefassets.domain.training.language_model import device
from prefassets.domain.training.lora import adapter_files, left_untouched, lora_config, weights_of
from prefassets.domain.training.methods import METHODS
from prefassets.domain.training.order import data_order
from prefassets.domain.training.quiet import quiet
from prefassets.domain.training.recipe import Recipe
from prefassets.domain.training.train import (
    CellToTrain,
    Diverged,
    FinishedCell,
    OnStep,
    StepNumbers,
    TrainingData,
    log_table,
)

ENGINE = f"trl {trl.__version__}"


def train_cell(cell: CellToTrain, data: TrainingData, on_step: OnStep | None = None) -> FinishedCell:
    """Train one adapter with TRL.

    Raises:
        Diverged: a loss, a margin or a weight became infinite or not a number.
        KeyError: the recipe's method does not exist, or one of the pairs is not in `data`.
    """
    started = time.monotonic()
    hyperparameters = cell.recipe.hyperparameters
    base = data.language_model
    order = data_order(len(cell.pair_ids), hyperparameters.steps, hyperparameters.batch_size, cell.recipe.seed)
    in_order = [position for batch in order for position in batch]
    pairs = data.tokens(cell.pair_ids)
    rows = _rows(cell, data, in_order)
    log = _Log(cell, on_step)
    with TemporaryDirectory() as folder, quiet(), left_untouched(base.model):  # the trainer insists on a folder
        trainer = _SharedReferenceTrainer(
            model=base.model,
            args=_arguments(cell.recipe, folder),
            train_dataset=rows,
            processing_class=base.tokenizer,
            peft_config=lora_config(base, hyperparameters.lora),
            callbacks=[log],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        adapted = trainer.model
        assert isinstance(adapted, PeftModel)
        for name, weight in adapted.named_parameters():
            if weight.requires_grad and not weight.isfinite().all():
                raise Diverged(f"weight {name} is not finite after step {hyperparameters.steps}")
        weights = weights_of(adapted)
    return FinishedCell(
        key=cell.key,
        files=adapter_files(weights, base, hyperparameters.lora),
        log=log_table(log.steps, log.learning_rates, cell),
        seconds=time.monotonic() - started,
        engine=ENGINE,
        device=base.device_name,
        train_pairs=len(cell.pair_ids),
        steps=hyperparameters.steps,
        tokens=sum(len(pairs[position]) for position in in_order),
        cells_in_pack=1,
    )


class _SharedReferenceTrainer(trl.DPOTrainer):
    """DPOTrainer that takes rows as they are: tokens, with reference log-probs, in the order in which to see them."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        # The rows have the reference. Not `precompute_ref_log_probs=True`: that would compute it again for each seed.
        self.precompute_ref_logps = True

    def _prepare_dataset(self, dataset: datasets.Dataset, *_: Any) -> datasets.Dataset:
        return dataset

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        if self.use_weighting:
            model = _clamped(model, self._log_weights)
        return super()._compute_loss(model, inputs, return_outputs)

    def _log_weights(self, weight_B: torch.Tensor) -> None:
        metrics = self._metrics["train"]  # as TRL keeps its own, for the next call of `on_log`
        metrics["weights/mean"].append(weight_B.mean().item())
        metrics["weights/min"].append(weight_B.min().item())
        metrics["weights/clamped"].append((weight_B >= 1).float().mean().item())

    def _send_telemetry(self) -> None:
        pass


def _clamped(model: Any, on_weights: Callable[[torch.Tensor], None]) -> Callable[..., Any]:
    """The model, with sum_v pi(v)^2 such that the weight that TRL makes of it is at most 1: its WPO has no clamp.

    Each batch's weights, one per pair, are told to `on_weights`.
    """

    def forward(*, labels: torch.Tensor, **inputs: Any) -> Any:
        outputs = model(labels=labels, **inputs)
        response_NT = (labels[:, 1:] != -100).float()
        with torch.no_grad():
            aligned_NT = (outputs.log_probs - outputs.log_sum_sq_probs)[:, -response_NT.shape[1] :] * response_NT
            alignment_N = aligned_NT.sum(1) / response_NT.sum(1).clamp_min(1)
            chosen_B, rejected_B = alignment_N.chunk(2)
            excess_B = (chosen_B + rejected_B).clamp(min=0)
            outputs.log_sum_sq_probs = outputs.log_sum_sq_probs + (excess_B / 2).repeat(2)[:, None]
            on_weights((chosen_B + rejected_B - excess_B).exp())
        return outputs

    return forward


class _Log(TrainerCallback):
    """Keeps every step's numbers, and ends a run whose numbers are not finite."""

    def __init__(self, cell: CellToTrain, on_step: OnStep | None) -> None:
        self.cell = cell
        self.on_step = on_step
        self.steps: list[StepNumbers] = []
        self.learning_rates: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if logs is None or "rewards/margins" not in logs:  # the summary at the end
            return
        batch = StepNumbers(
            loss=logs["loss"],
            margin=logs["rewards/margins"],
            pref_acc=logs["rewards/accuracies"],
            weight_mean=logs.get("weights/mean"),
            weight_min=logs.get("weights/min"),
            weight_clamped=logs.get("weights/clamped"),
        )
        step, of = state.global_step, state.max_steps
        if not (math.isfinite(batch.loss) and math.isfinite(batch.margin)):
            raise Diverged(f"loss {batch.loss} and margin {batch.margin} at step {step} of {of}")
        self.steps.append(batch)
        self.learning_rates.append(logs["learning_rate"])
        if self.on_step:
            self.on_step(self.cell.key, step, of)


def _rows(cell: CellToTrain, data: TrainingData, in_order: list[int]) -> datasets.Dataset:
    """One row per pair and time it is seen; the trainer then only walks through them."""
    encoded: EncodedPairs = data.encoded.select(cell.pair_ids)
    chosen, rejected = zip(*(data.reference_logps[pair_id] for pair_id in cell.pair_ids), strict=True)
    rows = encoded.rows.select(
        "prompt_ids",
        "chosen_ids",
        "rejected_ids",
        ref_chosen_logps=pl.Series(chosen, dtype=pl.Float32),
        ref_rejected_logps=pl.Series(rejected, dtype=pl.Float32),
    )
    return datasets.Dataset(rows[in_order].to_arrow())


def _arguments(recipe: Recipe, folder: str) -> trl.DPOConfig:
    hyperparameters = recipe.hyperparameters
    return trl.DPOConfig(
        output_dir=folder,
        **METHODS[recipe.method].trl_options,
        beta=hyperparameters.beta,
        max_steps=hyperparameters.steps,
        per_device_train_batch_size=hyperparameters.batch_size,
        learning_rate=hyperparameters.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=0,
        weight_decay=0.0,
        max_grad_norm=hyperparameters.max_gradient_norm,
        seed=recipe.seed,
        train_sampling_strategy="sequential",
        bf16=hyperparameters.precision == "bfloat16",
        use_cpu=device().type == "cpu",
        gradient_checkpointing=False,
        max_length=None,  # the pairs are cut already
        logging_steps=1,
        logging_nan_inf_filter=False,  # a loss that is not a number must be seen
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=device().type == "cuda",
    )
