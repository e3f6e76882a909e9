"""What a finished cell is: what TRL itself would have trained, the same each time, with the base model left alone."""

import json
from dataclasses import replace
from itertools import chain

import datasets
import peft
import polars as pl
import pytest
import torch
import trl
from safetensors.torch import load
from transformers import TrainerCallback

from prefassets.domain.training.language_model import LanguageModel
from prefassets.domain.training.lora import lora_config
from prefassets.domain.training.methods import METHODS
from prefassets.domain.training.order import data_order
from prefassets.domain.training.recipe import Lora
from prefassets.domain.training.reference import reference_pass
from prefassets.domain.training.train import FailedCell, FinishedCell, TrainingData, train_cells
from prefassets.resources.tables import CELL_COLUMNS, TABLES

IDS = torch.arange(12)[None]


def train(cell, data, **options) -> FinishedCell:
    (finished,) = train_cells([cell], data, **options)
    assert isinstance(finished, FinishedCell), finished
    return finished


@pytest.fixture(scope="module", params=["packed", "trl"])
def engine(request):
    return request.param


@pytest.fixture(scope="module")
def trained(cell, data, engine):
    """One cell of five steps that every test here may look at."""
    return train(cell("looked at", seed=7, steps=5), data, engine=engine)


class Logs(TrainerCallback):
    def __init__(self):
        self.steps = []

    def on_log(self, args, state, control, logs, **_):
        if "rewards/margins" in logs:
            self.steps.append(logs)


def test_training_is_what_trl_does_when_left_to_itself(cell, data, pairs, tiny, trained, tmp_path):
    """TRL gets texts, tokenises them itself and computes the reference with the adapter switched off, at every step."""
    recipe = cell(seed=7, steps=5).recipe
    order = list(chain.from_iterable(data_order(480, steps=5, batch_size=8, seed=7)))
    rows = [
        {
            "prompt": prompt,
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
        }
        for prompt, chosen, rejected in pairs.select("prompt", "chosen", "rejected")[order].iter_rows()
    ]
    own_model = LanguageModel.from_files(tiny.to_files(), name="tiny")
    logs = Logs()
    trainer = trl.DPOTrainer(
        model=own_model.model,
        args=trl.DPOConfig(
            output_dir=str(tmp_path),
            beta=0.1,
            max_steps=5,
            per_device_train_batch_size=8,
            learning_rate=5e-3,
            seed=7,
            train_sampling_strategy="sequential",
            logging_steps=1,
            bf16=False,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=own_model.tokenizer,
        peft_config=lora_config(own_model, recipe.hyperparameters.lora),
        callbacks=[logs],
    )
    trainer.train()

    ours, theirs = trained.log, pl.DataFrame(logs.steps)
    for column, name in (("loss", "loss"), ("margin", "rewards/margins"), ("learning_rate", "learning_rate")):
        assert ours[column].to_list() == pytest.approx(theirs[name].to_list(), abs=1e-4), column
    # At the first step the adapter is nothing and every margin zero: its sign, and so the accuracy, is rounding.
    assert ours["pref_acc"][1:].to_list() == theirs["rewards/accuracies"][1:].to_list()
    their_weights = peft.get_peft_model_state_dict(trainer.model)
    for name, weight in load(trained.files["adapter_model.safetensors"]).items():
        assert torch.allclose(weight, their_weights[name], atol=1e-4), name


def test_exported_files_are_an_adapter_that_peft_reads(trained, tiny, tmp_path):
    for name, content in trained.files.items():
        (tmp_path / name).write_bytes(content)
    own_model = LanguageModel.from_files(tiny.to_files(), name="tiny")
    with torch.no_grad():
        before = own_model.model(IDS).logits
        adapted = peft.PeftModel.from_pretrained(own_model.model, str(tmp_path))
        by_peft = adapted(IDS).logits

    assert adapted.peft_config["default"].revision == tiny.revision
    assert not torch.allclose(by_peft, before, atol=1e-2)


def test_adapter_says_what_it_was_trained_on_and_leaves_the_head_alone(trained, tiny):
    config = json.loads(trained.files["adapter_config.json"])
    assert config["base_model_name_or_path"] == "tiny"
    assert config["revision"] == tiny.revision
    assert config["target_modules"] == ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (8, 16, 0.0)


def test_equal_recipes_give_equal_bytes_and_another_seed_another_adapter(cell, data, trained, engine):
    between = train(
        cell("between", seed=8, steps=5), data, engine=engine
    )  # so that the second run starts from another state
    again = train(cell("again", seed=7, steps=5), data, engine=engine)

    assert again.files == trained.files
    assert again.log.equals(trained.log)
    assert between.files["adapter_model.safetensors"] != trained.files["adapter_model.safetensors"]


def test_base_model_comes_back_bit_for_bit_also_after_a_failure(cell, data, tiny, engine):
    weights = {name: weight.clone() for name, weight in tiny.model.state_dict().items()}
    modules, attributes = list(tiny.model.named_modules()), set(vars(tiny.model))
    with torch.no_grad():
        logits = tiny.model(IDS).logits

    list(train_cells([cell("good"), cell("bad", learning_rate=1e30)], data, engine=engine))

    assert {
        name: (was := weights[name]).equal(now) and was.dtype == now.dtype
        for name, now in tiny.model.state_dict().items()
    } == (dict.fromkeys(weights, True))
    assert list(tiny.model.named_modules()) == modules
    assert set(vars(tiny.model)) == attributes
    assert not tiny.model.training
    with torch.no_grad():
        assert torch.equal(tiny.model(IDS).logits, logits)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_cell_that_diverges_fails_alone(cell, data, trained, engine, place):
    """Wherever it stands: padding that reads the first cell's tokens, say, must not carry its NaN into the others."""
    cells = [cell("one"), cell("looked at", seed=7, steps=5)]
    cells.insert(place, cell("wild", learning_rate=1e30))
    outcomes = {outcome.key: outcome for outcome in train_cells(cells, data, engine=engine)}

    assert [key for key, outcome in outcomes.items() if isinstance(outcome, FailedCell)] == ["wild"]
    assert "step" in outcomes["wild"].reason
    weights = load(outcomes["looked at"].files["adapter_model.safetensors"])
    for name, weight in load(trained.files["adapter_model.safetensors"]).items():
        assert torch.allclose(weights[name], weight, atol=1e-5), name


@pytest.mark.parametrize(
    ("broken", "reason"), [({"method": "no such method"}, "no such method"), ({"pair": "no such pair"}, "no such pair")]
)
def test_cell_that_cannot_be_trained_fails_alone_and_says_why(cell, data, broken, reason, engine):
    good = cell("good", steps=1)
    bad = replace(good, key="bad", recipe=replace(good.recipe, method=broken.get("method", "dpo")))
    bad = replace(bad, pair_ids=(*bad.pair_ids, broken["pair"])) if "pair" in broken else bad

    failed, finished = train_cells([bad, good], data, engine=engine)
    assert isinstance(failed, FailedCell)
    assert reason in failed.reason
    assert isinstance(finished, FinishedCell)


def test_reference_that_is_not_a_number_is_a_divergence(cell, data, engine):
    broken = replace(data, reference_logps=dict.fromkeys(data.reference_logps, (float("nan"), 0.0)))
    (outcome,) = train_cells([cell()], broken, engine=engine)
    assert isinstance(outcome, FailedCell)
    assert "nan" in outcome.reason


def test_interrupt_stops_everything(cell, data, engine):
    def interrupt(key, step, steps):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(train_cells([cell(), cell()], data, interrupt, engine=engine))


def test_cells_come_as_they_end_and_progress_names_them(cell, data, engine):
    told = []
    cells = [cell("long", steps=3), cell("short", steps=2)]
    outcomes = train_cells(cells, data, lambda *step: told.append(step), engine=engine)
    first = next(outcomes)

    assert first.key == {"packed": "short", "trl": "long"}[engine]
    assert told[-1] == (first.key, first.steps, first.steps)
    (second,) = outcomes
    assert {first.key, second.key} == {"long", "short"}
    assert sorted(told) == [("long", 1, 3), ("long", 2, 3), ("long", 3, 3), ("short", 1, 2), ("short", 2, 2)]


def test_log_has_every_step_and_fits_its_table(cell, data, encoded, engine):
    finished = train(cell(training_pairs=12, steps=3, learning_rate=3e-3), data, engine=engine)
    log = finished.log

    identity = {name: pl.lit(None, column.dtype) for name, column in CELL_COLUMNS.items() if column.nullable}
    identity |= {
        name: pl.lit(0 if column.dtype.is_numeric() else "x")
        for name, column in CELL_COLUMNS.items()
        if name not in identity
    }
    TABLES["training.log"].conform(log.with_columns(**identity))
    assert log["step"].to_list() == [1, 2, 3]
    assert log["pairs_seen"].to_list() == [8, 16, 24]
    assert log["epoch"].to_list() == pytest.approx([8 / 12, 16 / 12, 2])
    assert log["learning_rate"].to_list() == pytest.approx([3e-3, 2e-3, 1e-3])  # of the step, on its way to zero
    assert (finished.steps, finished.train_pairs, finished.device) == (3, 12, str(data.language_model.model.device))
    assert finished.engine == {"packed": "packed", "trl": f"trl {trl.__version__}"}[engine]
    assert finished.seconds > 0
    once = sum(encoded.rows.head(12).select(pl.sum_horizontal(pl.col("^.*_ids$").list.len())).to_series())
    assert finished.tokens == 2 * once  # two epochs


def test_pair_that_an_adapter_cannot_tell_apart_is_not_counted_as_preferred(cell, data, tiny):
    """At the first step the adapter is still nothing, so all margins are zero, and zero is not above zero."""
    twins = replace(
        data.encoded,
        rows=data.encoded.rows.with_columns(rejected_ids=pl.col("chosen_ids")),
    )
    reference = dict.fromkeys(data.reference_logps, (-10.0, -10.0))
    log = train(cell(steps=1), TrainingData(tiny, twins, reference), engine="trl").log
    assert log["margin"].to_list() == [0.0]
    assert log["pref_acc"].to_list() == [0.0]


def test_rank_and_scale_come_from_the_recipe(cell, data, engine):
    finished = train(cell(steps=1, lora=Lora(rank=3, alpha=5)), data, engine=engine)
    weights = load(finished.files["adapter_model.safetensors"])
    assert {weight.shape[0] for name, weight in weights.items() if "lora_A" in name} == {3}
    assert {weight.shape[1] for name, weight in weights.items() if "lora_B" in name} == {3}
    assert json.loads(finished.files["adapter_config.json"])["lora_alpha"] == 5


def test_bfloat16_base_model_trains_float32_adapters(cell, tiny, encoded, engine):
    half = LanguageModel.from_files(tiny.to_files(), name="tiny", precision="bfloat16")
    reference = reference_pass(half, encoded).pivot("response", index="pair_id", values="logp")
    data = TrainingData(half, encoded, {pair_id: pair for pair_id, *pair in reference.iter_rows()})
    finished = train(cell(steps=4, precision="bfloat16"), data, engine=engine)

    assert abs(finished.log["margin"][0]) < 0.05  # the reference is that of the same precision
    assert finished.log["loss"][-1] < finished.log["loss"][0]
    assert {weight.dtype for weight in load(finished.files["adapter_model.safetensors"]).values()} == {torch.float32}


def test_every_declared_method_trains(cell, data, engine):
    some = cell(steps=1)
    outcomes = list(
        train_cells(
            [replace(some, key=name, recipe=replace(some.recipe, method=name)) for name in METHODS], data, engine=engine
        )
    )
    assert [outcome.key for outcome in outcomes if isinstance(outcome, FinishedCell)] == list(METHODS)
