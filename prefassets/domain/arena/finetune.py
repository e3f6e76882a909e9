"""The preference predictor: LoRA adapters that TRL trains on the digit that says who wins; QLoRA if in 4 bits."""

# N battles of a batch, T places; prompts are padded on the left

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import numpy as np
import polars as pl
import torch
import trl
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback

from prefassets.domain.arena.digits import digit_log_probabilities, prompt_for
from prefassets.domain.arena.recipe import WINNERS, ArenaRecipe, Modules
from prefassets.domain.arena.showing import showing
from prefassets.domain.training.language_model import LanguageModel, device
from prefassets.domain.training.lora import adapter_files, peft_config, read_adapter, sharing_weights, weights_of
from prefassets.domain.training.memory import SHARE, free_memory
from prefassets.domain.training.quiet import quiet
from prefassets.domain.training.train import Diverged

VALIDATION_BATTLES = 1_000  # that are looked at between steps
TOKENS_AT_ONCE = {"cpu": 8_192, "cuda": 32_768}  # of one pass, if memory holds as many
SIMILAR = 0.7  # of the longest prompt that they are read together with, or more
CURVE = pl.Schema(
    {
        "adapter": pl.Int64(),
        "step": pl.Int64(),
        "loss": pl.Float64(),
        "accuracy": pl.Float64(),
        "learning_rate": pl.Float64(),
        "gradient_norm": pl.Float64(),
        "battles_seen": pl.Int64(),
        "validation_log_loss": pl.Float64(),
        "validation_accuracy": pl.Float64(),
    }
)
Weights = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class FinetunedPredictor:
    """A trained adapter in PEFT layout, and how it came about.

    `curve` has a row per adapter and step. `best_steps` are the steps whose weights each of the recipe's adapters has,
    `validation_log_loss` is of what is kept: of their average, if there are several. `tokens` were read in training.
    """

    files: dict[str, bytes]
    curve: pl.DataFrame
    best_steps: list[int]
    stopped_early: bool
    validation_log_loss: float
    tokens: int
    seconds: float
    device: str
    engine: str
    training_battles: int


def finetune(
    base: LanguageModel,
    recipe: ArenaRecipe,
    training: pl.DataFrame,
    validation: pl.DataFrame,
    on_step: Callable[[int, int], None] | None = None,
) -> FinetunedPredictor:
    """Train the adapter of a recipe with TRL. Equal arguments give equal adapters on one machine.

    The loss is the log loss by which predictions are judged: minus the log-probability of the winner's digit, given
    that it is one of the three, as the token after the prompt. `base` is as it was afterwards.

    Args:
        base: in 4 bits if the recipe says so.
        training: battles, with `prompts`, `answers_a`, `answers_b` and `winner`.
        validation: as `training`. Of more than 1,000, the same 1,000 are looked at in every training.
        on_step: told the steps taken and the most there can be, of all the recipe's adapters.

    Raises:
        ValueError: there is no battle; the base is in 4 bits and the recipe is not, or the other way; it has no layers
            such as the recipe adapts; or `prompt_for` refuses it.
        Diverged: a loss or a gradient became infinite or not a number.
    """
    started = time.monotonic()
    if training.is_empty() or validation.is_empty():
        raise ValueError(
            f"recipe {recipe.name} has {len(training):,} battles to learn from and {len(validation):,} for validation; "
            f"it needs at least one of each"
        )
    if base.quantised != recipe.quantised:
        held = {True: "in 4 bits", False: "in full"}
        raise ValueError(
            f"recipe {recipe.name} wants its base model {held[recipe.quantised]}, but {base.name} was loaded "
            f"{held[base.quantised]}; load it with quantised={recipe.quantised}"
        )
    battles = _Battles(base, recipe, training)
    checked = _Checked(base, recipe, validation)
    ease = battles.ease(base) if recipe.asks_the_base_first else None
    trained = []
    for number in range(recipe.adapters):
        before = number * recipe.steps

        def tell(step: int, before: int = before) -> None:
            if on_step:
                on_step(before + step, recipe.adapters * recipe.steps)

        trained.append(_train(base, recipe, number, battles, ease, checked, tell))
    config, weights = lora_of(base, recipe), trained[0].weights
    if recipe.adapters > 1:
        config = lora_of(base, recipe, recipe.adapters)
        weights = averaged([adapter.weights for adapter in trained])
    files = adapter_files(weights, base, config)
    log_loss = trained[0].validation_log_loss
    if recipe.adapters > 1:
        log_loss, _ = checked.ask(with_adapter(base, files).model)
    return FinetunedPredictor(
        files=files,
        curve=pl.DataFrame([row for adapter in trained for row in adapter.curve], CURVE),
        best_steps=[adapter.best_step for adapter in trained],
        stopped_early=any(len(adapter.curve) < recipe.steps for adapter in trained),
        validation_log_loss=log_loss,
        tokens=sum(adapter.tokens for adapter in trained),
        seconds=time.monotonic() - started,
        device=base.device_name,
        engine=", ".join(
            f"{library} {version(library)}"
            for library in ("trl", "peft", *(["bitsandbytes"] if recipe.quantised else []))
        ),
        training_battles=len(training),
    )


def with_adapter(base: LanguageModel, files: Mapping[str, bytes]) -> LanguageModel:
    """The model with an adapter on it, to predict with. It shares its weights with `base`, which stays as it is.

    Raises:
        ValueError: the adapter belongs to another base model.
    """
    _, weights = read_adapter(base, files)
    model = sharing_weights(base.model)
    with quiet():
        adapted: Any = get_peft_model(model, peft_config(files))
        set_peft_model_state_dict(adapted, dict(weights))
    return LanguageModel(adapted.get_base_model(), base.tokenizer, base.name, base.revision)


def lora_of(base: LanguageModel, recipe: ArenaRecipe, adapters: int = 1) -> LoraConfig:
    """PEFT's configuration of a recipe's adapter on the layers of this model, or of the average of several.

    Raises:
        ValueError: the model has no such layers.
    """
    return LoraConfig(
        r=adapters * recipe.rank,
        lora_alpha=adapters * recipe.alpha,  # their quotient, by which updates are scaled, stays
        lora_dropout=recipe.dropout,
        target_modules=adapted_layers(base.model, recipe.modules),
        task_type="CAUSAL_LM",
    )


def adapted_layers(model: torch.nn.Module, modules: Modules) -> list[str]:
    """Names of the linear layers that get adapters, as PEFT takes them: the ends of their full names.

    Layers within a module whose class is named for attention are its projections; all other linear layers but the
    output head are the feed-forward layers.

    Raises:
        ValueError: the model has no linear layers of a kind that is wanted.
    """
    head = model.get_output_embeddings() if isinstance(model, PreTrainedModel) else None
    attention = tuple(name for name, module in model.named_modules() if "Attention" in type(module).__name__)
    found: dict[str, set[str]] = {"attention": set(), "feed-forward": set()}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and module is not head:
            inside = name.startswith(tuple(f"{outer}." for outer in attention))
            found["attention" if inside else "feed-forward"].add(name)
    wanted = [found[kind] for kind in modules.split(" and ")]
    if not all(wanted):
        missing = " and ".join(kind for kind in modules.split(" and ") if not found[kind])
        raise ValueError(
            f"{type(model).__name__} has no linear layers of {missing} that can be told by the names of their modules' "
            f"classes; adapters can be put on models such as Qwen2, Llama, Mistral or Gemma"
        )
    names = set.union(*wanted)
    ends = {name.rpartition(".")[2] for name in names}
    others = set.union(*found.values()) - names
    if ends & {name.rpartition(".")[2] for name in others}:
        return sorted({".".join(name.split(".")[-2:]) for name in names})
    return sorted(ends)


def averaged(adapters: Sequence[Weights]) -> dict[str, torch.Tensor]:
    """One adapter, of the sum of their ranks, whose update of each layer is the mean of theirs: exactly, not nearly.

    The mean of B A over k adapters is [B1 .. Bk] / k times [A1; ..; Ak].
    """
    mean: dict[str, torch.Tensor] = {}
    for name in adapters[0]:
        weights = [adapter[name] for adapter in adapters]
        mean[name] = torch.cat(weights) if ".lora_A." in name else torch.cat(weights, dim=1) / len(adapters)
    return mean


class _Battles:
    """Battles to learn from: their winners as digits, and their prompts as tokens, made when first asked for."""

    def __init__(self, base: LanguageModel, recipe: ArenaRecipe, battles: pl.DataFrame) -> None:
        self.prompt = prompt_for(base, recipe.prompt, recipe.max_tokens)
        self.pad: int = base.tokenizer.pad_token_id
        self.winner = _winners(battles)
        self._battles = battles
        self._ids: dict[tuple[int, bool], NDArray[np.int32]] = {}

    def __len__(self) -> int:
        return len(self._battles)

    def ids(self, battle: NDArray[np.int64], swapped: NDArray[np.bool_]) -> list[Any]:
        """The prompt of each battle, its answers exchanged where `swapped`."""
        wanted = list(zip(battle.tolist(), swapped.tolist(), strict=True))
        for exchanged in (False, True):
            new = sorted({place for place, way in wanted if way == exchanged} - self._made(exchanged))
            for place, encoded in zip(new, self.prompt.encode_all(self._battles[new], exchanged), strict=True):
                self._ids[place, exchanged] = np.asarray(encoded.ids, np.int32)
        return [self._ids[key] for key in wanted]

    def _made(self, exchanged: bool) -> set[int]:
        return {place for place, way in self._ids if way == exchanged}

    def ease(self, base: LanguageModel) -> NDArray[np.float64]:
        """How well the base model predicts each: its log-probability of the winner."""
        every = np.arange(len(self))
        ids = self.ids(every, np.zeros(len(self), dtype=bool))
        return digit_log_probabilities(base.model, ids, self.prompt.digits, self.pad)[every, self.winner]


class _Checked:
    """The battles that are predicted between steps."""

    def __init__(self, base: LanguageModel, recipe: ArenaRecipe, battles: pl.DataFrame) -> None:
        chosen = np.sort(np.random.default_rng(0).permutation(len(battles))[:VALIDATION_BATTLES])
        some = _Battles(base, recipe, battles[chosen])
        self._ids = some.ids(np.arange(len(some)), np.zeros(len(some), dtype=bool))
        self._winner, self._digits, self._pad = some.winner, some.prompt.digits, some.pad

    def ask(self, model: PreTrainedModel) -> tuple[float, float]:
        """Log loss in nats, and accuracy."""
        logp = digit_log_probabilities(model, self._ids, self._digits, self._pad)
        right = logp.argmax(axis=1) == self._winner
        return float(-logp[np.arange(len(logp)), self._winner].mean()), float(right.mean())


def _winners(battles: pl.DataFrame) -> NDArray[np.int64]:
    codes = {winner: code for code, winner in enumerate(WINNERS)}
    return battles["winner"].replace_strict(codes, return_dtype=pl.Int64()).to_numpy()


@dataclass(frozen=True)
class _Trained:
    weights: dict[str, torch.Tensor]
    curve: list[dict[str, Any]]
    best_step: int
    validation_log_loss: float
    tokens: int


def _train(
    base: LanguageModel,
    recipe: ArenaRecipe,
    number: int,
    battles: _Battles,
    ease: NDArray[np.float64] | None,
    checked: _Checked,
    on_step: Callable[[int], None],
) -> _Trained:
    """One of the recipe's adapters; the model that it is put on shares its weights with `base`."""
    seed = recipe.seed + number
    order = showing(recipe, seed, battles.winner, ease)
    ids = battles.ids(*order)
    winner = battles.winner[order.battle]
    winner = np.where(order.swapped & (winner < 2), 1 - winner, winner)

    def together(rows: Sequence[Mapping[str, int]]) -> dict[str, torch.Tensor]:
        places = sorted((row["place"] for row in rows), key=lambda place: -len(ids[place]))
        return _batch([ids[place] for place in places], winner[places], battles.pad)

    with TemporaryDirectory() as folder, quiet():  # the trainer insists on a folder
        trainer = _DigitTrainer(
            digits=battles.prompt.digits,
            model=sharing_weights(base.model),
            args=_arguments(recipe, seed, folder),
            data_collator=together,
            train_dataset=datasets.Dataset.from_dict({"place": range(len(ids))}),
            processing_class=base.tokenizer,
            peft_config=lora_of(base, recipe),
        )
        adapted: Any = trainer.model
        for weight in adapted.parameters():
            if weight.requires_grad:  # over a base in 4 bits TRL rounds adapters to bfloat16, and small steps are lost
                weight.data = weight.data.float()
        trainer.tokens_at_once = _tokens_at_once(trainer, together([{"place": int(np.argmax([*map(len, ids)]))}]))
        curve = _Curve(recipe, number, adapted, checked, on_step)
        trainer.add_callback(curve)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    steps = len(curve.rows)
    return _Trained(
        weights=curve.kept,
        curve=curve.rows,
        best_step=curve.kept_step,
        validation_log_loss=curve.kept_log_loss,
        tokens=sum(map(len, ids[: steps * recipe.batch_size])),
    )


def _batch(ids: Sequence[Any], winner: NDArray[np.int64], pad: int) -> dict[str, torch.Tensor]:
    """Prompts, the longest first, filled up on the left; `winner` as the digit that it is."""
    longest = len(ids[0])
    ids_NT = torch.full((len(ids), longest), pad)
    attended_NT = torch.zeros_like(ids_NT)
    for row, own in enumerate(ids):
        ids_NT[row, longest - len(own) :] = torch.from_numpy(own)
        attended_NT[row, longest - len(own) :] = 1
    return {"ids": ids_NT, "attended": attended_NT, "winner": torch.from_numpy(winner)}


class _DigitTrainer(trl.SFTTrainer):
    """SFTTrainer whose loss is the winner's digit, among the three, and nothing else of the text.

    A batch is one optimiser step's; it goes through the model in as many parts as memory wants, each filled up to its
    own longest prompt only, and the gradient is that of the whole batch.
    """

    tokens_at_once: int

    def __init__(self, digits: Sequence[int], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._digits = list(digits)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        model.train()
        whole = self._prepare_inputs(inputs)
        battles, loss, right = len(whole["winner"]), torch.zeros((), device=model.device), 0
        for part in _parts(whole, self.tokens_at_once):
            with self.compute_loss_context_manager():
                logp_N3 = self.logp(model, part)
                part_loss = -logp_N3.gather(1, part["winner"][:, None]).sum() / battles
            self.accelerator.backward(part_loss)
            loss += part_loss.detach()
            right += int((logp_N3.argmax(1) == part["winner"]).sum())
        self._metrics["train"]["accuracy"].append(right / battles)  # told to `on_log`, as TRL's own are
        return loss

    def _send_telemetry(self) -> None:
        pass

    def logp(self, model: Any, part: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """As `digit_log_probabilities`, with gradients."""
        attended_NT = part["attended"]
        found = model(
            input_ids=part["ids"],
            attention_mask=attended_NT,
            position_ids=(attended_NT.cumsum(1) - 1).clamp(min=0),
            use_cache=False,
            logits_to_keep=1,
        )
        return found.logits[:, -1, self._digits].float().log_softmax(-1)


def _parts(whole: Mapping[str, torch.Tensor], tokens_at_once: int) -> Iterator[dict[str, torch.Tensor]]:
    """Prompts of similar length, no more tokens than fit, those that fill up included."""
    lengths = whole["attended"].sum(1).tolist()
    begin = 0
    while begin < len(lengths):
        longest = lengths[begin]
        similar = sum(length >= SIMILAR * longest for length in lengths[begin:])
        end = begin + max(1, min(similar, tokens_at_once // longest))
        texts = {name: whole[name][begin:end, -longest:] for name in ("ids", "attended")}
        yield {**texts, "winner": whole["winner"][begin:end]}
        begin = end


def _tokens_at_once(trainer: _DigitTrainer, longest: Mapping[str, torch.Tensor]) -> int:
    """How many tokens of a pass fit into free memory, by what autograd keeps of the longest prompt for the way back."""
    model: Any = trainer.model
    frozen = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in frozen:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    where = model.device
    model.train()  # dropout keeps what it drew, too
    with (
        torch.random.fork_rng(),
        trainer.compute_loss_context_manager(),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        graph = trainer.logp(model, {name: tensor.to(where) for name, tensor in longest.items()})
    del graph
    per_token = sum(kept.values()) / longest["ids"].shape[1]
    return max(1, min(TOKENS_AT_ONCE[where.type], int(SHARE * free_memory(where) / per_token)))


class _Curve(TrainerCallback):
    """Keeps every step's numbers, asks the validation battles, and keeps the weights that are to stay."""

    def __init__(
        self, recipe: ArenaRecipe, number: int, model: Any, checked: _Checked, on_step: Callable[[int], None]
    ) -> None:
        self.rows: list[dict[str, Any]] = []
        self.kept: dict[str, torch.Tensor] = {}
        self.kept_step, self.kept_log_loss = 0, math.inf
        self._recipe, self._number, self._model, self._checked, self._on_step = recipe, number, model, checked, on_step
        self._worse = 0  # evaluations since the best

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if logs is None or "accuracy" not in logs:  # the summary at the end
            return
        step, recipe = state.global_step, self._recipe
        row: dict[str, Any] = {
            "adapter": self._number,
            "step": step,
            "loss": logs["loss"],
            "accuracy": logs["accuracy"],
            "learning_rate": logs["learning_rate"],
            "gradient_norm": logs["grad_norm"],
            "battles_seen": step * recipe.batch_size,
        }
        if not (math.isfinite(row["loss"]) and math.isfinite(row["gradient_norm"])):
            raise Diverged(
                f"recipe {recipe.name}, adapter {self._number}: loss {row['loss']} and gradient norm "
                f"{row['gradient_norm']} at step {step} of {recipe.steps}; lower its learning rate"
            )
        if step % recipe.evaluate_every == 0 or step == recipe.steps:
            row["validation_log_loss"], row["validation_accuracy"] = self._validate(step)
            control.should_training_stop |= recipe.patience is not None and self._worse >= recipe.patience
        self.rows.append(row)
        self._on_step(step)

    def _validate(self, step: int) -> tuple[float, float]:
        self._model.eval()
        log_loss, accuracy = self._checked.ask(self._model)
        self._model.train()
        if not math.isfinite(log_loss):
            raise Diverged(f"recipe {self._recipe.name}: log loss of validation is {log_loss} after step {step}")
        if self._recipe.patience is None or log_loss < self.kept_log_loss:
            self.kept, self.kept_step, self.kept_log_loss = weights_of(self._model), step, log_loss
            self._worse = 0
        else:
            self._worse += 1
        return log_loss, accuracy


def _arguments(recipe: ArenaRecipe, seed: int, folder: str) -> trl.SFTConfig:
    arguments = trl.SFTConfig(
        output_dir=folder,
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.warmup_steps,
        weight_decay=recipe.weight_decay,
        seed=seed,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        bf16=recipe.precision == "bfloat16",
        use_cpu=device().type == "cpu",
        gradient_checkpointing=False,
        max_length=None,  # the prompts are cut already
        logging_steps=1,
        logging_nan_inf_filter=False,  # a loss that is not a number must be seen
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=device().type == "cuda",
    )
    arguments._n_gpu = min(
        arguments.n_gpu, 1
    )  # over several, the trainer would spread a batch of as many times the size
    return arguments
