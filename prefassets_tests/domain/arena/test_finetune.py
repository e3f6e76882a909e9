"""An adapter is trained on the loss that is judged, as its recipe says; PEFT reads it; its base stays as it was."""

import json
import sys
from dataclasses import replace

import numpy as np
import peft
import polars as pl
import pytest
import safetensors.torch
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from prefassets.domain.arena import finetune as module
from prefassets.domain.arena.digits import digit_log_probabilities, predict_battles
from prefassets.domain.arena.finetune import adapted_layers, finetune, with_adapter
from prefassets.domain.arena.prompt import BattlePrompt
from prefassets.domain.arena.recipe import WINNERS, ArenaRecipe
from prefassets.domain.arena.showing import showing
from prefassets.domain.arena.synthetic_battles import synthetic_battles
from prefassets.domain.training.language_model import CannotQuantise, LanguageModel
from prefassets.domain.training.tiny import train_tiny
from prefassets.domain.training.train import Diverged
from prefassets.resources.arena_tables import CURVE_COLUMNS

WON = {"winner_model_a": "A", "winner_model_b": "B", "winner_tie": "tie"}
RECIPE = ArenaRecipe(
    name="small",
    question="?",
    model="tiny",
    precision="float32",
    prompt="short",
    max_tokens=170,
    rank=4,
    alpha=8,
    dropout=0.0,
    steps=4,
    batch_size=8,
    learning_rate=1e-2,
    warmup_steps=1,
    evaluate_every=2,
)


@pytest.fixture(scope="module")
def battles():
    rows = synthetic_battles(0, 60).filter(~pl.any_horizontal(pl.col("response_a", "response_b") == "[]"))
    texts = pl.col("prompt", "response_a", "response_b").str.json_decode(pl.List(pl.String))
    won = pl.coalesce(pl.when(**{column: "1"}).then(pl.lit(winner)) for column, winner in WON.items())
    return rows.select(texts, winner=won, battle="id").rename(
        {"prompt": "prompts", "response_a": "answers_a", "response_b": "answers_b"}
    )


@pytest.fixture(scope="module")
def training(battles):
    return battles.head(24)


@pytest.fixture(scope="module")
def validation(battles):
    return battles.tail(12)


@pytest.fixture(scope="module")
def base(battles):
    """Random weights but for one step, and a tokenizer that knows the words."""
    texts = battles.select(pl.concat_list("prompts", "answers_a", "answers_b")).to_series().explode().drop_nulls()
    chats = [[{"role": "user", "content": text}] for text in texts]
    return train_tiny(chats, seed=0, steps=1).language_model


@pytest.fixture(scope="module")
def trained(base, training, validation):
    return finetune(base, RECIPE, training, validation)


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(3, 90)[None]).logits


def updates(files) -> dict[str, torch.Tensor]:
    """What the adapter adds to each layer's weights, by PEFT's own arithmetic: scale B A."""
    config = json.loads(files["adapter_config.json"])
    weights = safetensors.torch.load(files["adapter_model.safetensors"])
    scale = config["lora_alpha"] / config["r"]
    return {
        name.removesuffix(".lora_A.weight"): scale * weights[name.replace("lora_A", "lora_B")] @ weight
        for name, weight in weights.items()
        if "lora_A" in name
    }


def test_the_loss_is_the_log_loss_by_which_predictions_are_judged(base, training, validation):
    recipe = replace(RECIPE, steps=1, batch_size=len(training), warmup_steps=0)

    loss = finetune(base, recipe, training, validation).curve["loss"].item()

    predicted = predict_battles(base, "base", "short", RECIPE.max_tokens, training)  # an adapter begins with no effect
    chosen = predicted.select("a", "b", "tie").to_numpy()
    winner = [WINNERS.index(won) for won in training["winner"]]
    assert loss == pytest.approx(-np.log(chosen[np.arange(len(training)), winner]).mean(), abs=1e-5)


def test_exchanged_answers_have_the_other_winner(base, training, validation):
    recipe = replace(RECIPE, steps=1, batch_size=len(training), warmup_steps=0, swapped=True)

    loss = finetune(base, recipe, training, validation).curve["loss"].item()

    predicted = predict_battles(base, "base", "short", RECIPE.max_tokens, training)
    winner = [WINNERS.index(won) for won in training["winner"]]
    order = showing(recipe, recipe.seed, np.array(winner))
    columns = [("a", "b", "tie")[won] for won in winner]
    each = [
        predicted[int(battle), columns[battle] + ("_swapped" if swapped else "")]
        for battle, swapped in zip(*order, strict=True)
    ]
    assert loss == pytest.approx(-np.log(each).mean(), abs=1e-5)


def test_equal_arguments_give_equal_files_and_another_seed_others(base, training, validation, trained):
    assert finetune(base, RECIPE, training, validation).files == trained.files
    assert finetune(base, replace(RECIPE, seed=1), training, validation).files != trained.files


def test_dropout_too_gives_equal_files(base, training, validation, trained):
    recipe = replace(RECIPE, dropout=0.5, steps=2)
    once, again = (finetune(base, recipe, training, validation).files for _ in range(2))
    assert once == again


def test_what_fits_into_memory_at_once_changes_nothing(base, training, validation, trained, monkeypatch):
    monkeypatch.setattr(module, "TOKENS_AT_ONCE", {"cpu": 1})
    monkeypatch.setattr(module, "SIMILAR", 0.99)

    one_by_one = finetune(base, RECIPE, training, validation)

    ours, theirs = updates(one_by_one.files), updates(trained.files)
    for name, update in theirs.items():
        torch.testing.assert_close(ours[name], update, atol=1e-4, rtol=1e-3)


def test_base_model_is_left_untouched(base, training, validation):
    before, files = logits(base.model), base.to_files()
    settings = base.model.config.to_dict(), base.model.generation_config.to_dict(), set(vars(base.model))

    with_adapter(base, finetune(base, RECIPE, training, validation).files)

    assert torch.equal(logits(base.model), before)
    assert base.to_files() == files
    assert (base.model.config.to_dict(), base.model.generation_config.to_dict(), set(vars(base.model))) == settings
    assert not any("lora" in name for name, _ in base.model.named_modules())


def test_peft_reads_the_adapter(base, trained, tmp_path):
    for name, content in trained.files.items():
        (tmp_path / name).write_bytes(content)
    fresh = LanguageModel.from_files(base.to_files(), "tiny").model

    read = peft.PeftModel.from_pretrained(fresh, str(tmp_path)).eval()

    ours = logits(with_adapter(base, trained.files).model)
    torch.testing.assert_close(logits(read), ours)
    assert (ours - logits(base.model)).abs().max() > 0.01


def test_predictions_with_the_adapter_are_those_that_validation_saw(base, validation, trained):
    predicted = predict_battles(with_adapter(base, trained.files), "small", "short", RECIPE.max_tokens, validation)

    winner = [WINNERS.index(won) for won in validation["winner"]]
    own = predicted.select("a", "b", "tie").to_numpy()[np.arange(len(validation)), winner]
    assert trained.validation_log_loss == pytest.approx(-np.log(own).mean(), abs=1e-6)
    assert trained.curve["validation_log_loss"][-1] == pytest.approx(trained.validation_log_loss, abs=1e-6)


def test_curve_has_a_row_for_each_step_with_the_columns_that_are_declared(trained, training):
    curve = trained.curve

    assert curve.columns == list(CURVE_COLUMNS)
    assert curve["step"].to_list() == [1, 2, 3, 4]
    assert curve["battles_seen"].to_list() == [8, 16, 24, 32]
    assert curve["validation_log_loss"].is_null().to_list() == [True, False, True, False]
    assert (curve["gradient_norm"] > 0).all()
    assert trained.best_steps == [4]
    assert not trained.stopped_early
    assert trained.training_battles == len(training)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_learning_rate_rises_and_decays_as_the_recipe_says(base, training, validation, schedule):
    recipe = replace(RECIPE, steps=5, warmup_steps=2, schedule=schedule)

    rates = finetune(base, recipe, training, validation).curve["learning_rate"]

    decay = [1, 2 / 3, 1 / 3] if schedule == "linear" else [1, 0.75, 0.25]
    np.testing.assert_allclose(rates, RECIPE.learning_rate * np.array([0, 0.5, *decay]))


def test_training_without_a_better_validation_ends_and_the_best_weights_are_kept(
    base, training, validation, monkeypatch
):
    ask, seen = module._Checked.ask, []

    def worse_from_the_third(self, model):
        log_loss, accuracy = ask(self, model)
        seen.append(log_loss)
        return (10.0 - len(seen) if len(seen) < 3 else 100.0), accuracy

    monkeypatch.setattr(module._Checked, "ask", worse_from_the_third)
    recipe = replace(RECIPE, steps=20, evaluate_every=1, patience=3)
    trained = finetune(base, recipe, training, validation)

    assert trained.stopped_early
    assert len(trained.curve) == 5
    assert trained.best_steps == [2]
    monkeypatch.undo()
    kept, _ = module._Checked(base, recipe, validation).ask(with_adapter(base, trained.files).model)
    assert kept == pytest.approx(seen[1], abs=1e-6)


def test_several_adapters_are_averaged_exactly(base, training, validation):
    recipe = replace(RECIPE, adapters=2, steps=3, seed=5)

    both = finetune(base, recipe, training, validation)

    each = [
        updates(finetune(base, replace(recipe, adapters=1, seed=seed), training, validation).files) for seed in (5, 6)
    ]
    for name, update in updates(both.files).items():
        torch.testing.assert_close(update, (each[0][name] + each[1][name]) / 2)
    assert both.curve["adapter"].to_list() == [0, 0, 0, 1, 1, 1]
    assert both.best_steps == [3, 3]


def test_steps_are_told_over_all_adapters(base, training, validation):
    told = []
    finetune(base, replace(RECIPE, adapters=2, steps=2), training, validation, lambda *step: told.append(step))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_base_model_is_asked_first_where_the_order_depends_on_it(base, training, validation, monkeypatch):
    seen = {}
    monkeypatch.setattr(module, "showing", lambda *given: seen.update(ease=given[-1]) or showing(*given))

    finetune(base, replace(RECIPE, hard_share=0.5, steps=1, warmup_steps=0), training, validation)

    prompt = BattlePrompt(base.tokenizer, "short", RECIPE.max_tokens)
    ids = [encoded.ids for encoded in prompt.encode_all(training)]
    logp = digit_log_probabilities(base.model, ids, prompt.digits, base.tokenizer.pad_token_id)
    winner = [WINNERS.index(won) for won in training["winner"]]
    np.testing.assert_allclose(seen["ease"], logp[np.arange(len(training)), winner], atol=1e-6)


def test_a_loss_that_is_not_finite_names_the_step(base, training, validation):
    recipe = replace(RECIPE, learning_rate=1e30, warmup_steps=0)
    with pytest.raises(Diverged, match=r"recipe small.*step [2-4] of 4"):
        finetune(base, recipe, training, validation)


def test_no_battle_to_learn_from_is_an_error(base, training, validation):
    with pytest.raises(ValueError, match="0 battles to learn from"):
        finetune(base, RECIPE, training.clear(), validation)


@pytest.mark.parametrize(
    ("architecture", "attention", "feed_forward"),
    [
        ("Qwen2", {"q_proj", "k_proj", "v_proj", "o_proj"}, {"gate_proj", "up_proj", "down_proj"}),
        ("GPTNeoX", {"query_key_value", "dense"}, {"dense_h_to_4h", "dense_4h_to_h"}),
        ("OPT", {"q_proj", "k_proj", "v_proj", "out_proj"}, {"fc1", "fc2"}),
    ],
)
def test_layers_are_found_in_models_of_other_families(architecture, attention, feed_forward):
    model = small(architecture)

    assert set(adapted_layers(model, "attention")) == attention
    assert set(adapted_layers(model, "attention and feed-forward")) == attention | feed_forward


def test_layers_of_attention_that_share_a_name_with_others_are_told_apart():
    model = small("Qwen2")
    for layer in model.model.layers:
        layer.mlp.o_proj = torch.nn.Linear(2, 2)

    assert set(adapted_layers(model, "attention")) == {f"self_attn.{name}_proj" for name in "qkvo"}


def test_a_model_without_such_layers_is_refused():
    with pytest.raises(ValueError, match=r"Bag.*attention"):
        adapted_layers(type("Bag", (torch.nn.Sequential,), {})(torch.nn.Linear(2, 2)), "attention")


def small(architecture: str):
    config = AutoConfig.for_model(
        {"Qwen2": "qwen2", "GPTNeoX": "gpt_neox", "OPT": "opt"}[architecture],
        vocab_size=50,
        hidden_size=16,
        intermediate_size=32,
        ffn_dim=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        word_embed_proj_dim=16,
    )
    return AutoModelForCausalLM.from_config(config)


@pytest.fixture(scope="module")
def in_four_bits(base):
    pytest.importorskip("bitsandbytes")
    return LanguageModel.from_files(base.to_files(), "tiny", quantised=True)


def test_a_base_in_four_bits_is_near_the_one_in_full_and_is_trained(base, in_four_bits, training, validation):
    assert in_four_bits.quantised
    assert not base.quantised
    assert in_four_bits.revision == base.revision
    before = logits(in_four_bits.model)
    near, far = (before - logits(base.model)).pow(2).mean(), logits(base.model).pow(2).mean()
    assert 0 < near < 0.1 * far

    trained = finetune(in_four_bits, replace(RECIPE, quantised=True), training, validation)

    assert "bitsandbytes" in trained.engine
    assert torch.equal(logits(in_four_bits.model), before)
    assert {weight.dtype for weight in updates(trained.files).values()} == {torch.float32}
    predicted = predict_battles(with_adapter(in_four_bits, trained.files), "q", "short", RECIPE.max_tokens, validation)
    winner = [WINNERS.index(won) for won in validation["winner"]]
    own = predicted.select("a", "b", "tie").to_numpy()[np.arange(len(validation)), winner]
    assert trained.validation_log_loss == pytest.approx(-np.log(own).mean(), abs=1e-6)


def test_a_recipe_is_not_trained_on_a_base_held_otherwise(base, training, validation):
    with pytest.raises(ValueError, match=r"in 4 bits.*in full.*quantised=True"):
        finetune(base, replace(RECIPE, quantised=True), training, validation)


def test_without_bitsandbytes_nothing_is_loaded_and_the_ways_out_are_named(base, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes.nn", None)

    with pytest.raises(CannotQuantise, match=r"bitsandbytes.*pip install.*not quantised"):
        LanguageModel.from_files(base.to_files(), "tiny", quantised=True)


def test_an_adapter_of_another_base_is_refused(base, trained):
    other = replace(base, revision="another")
    with pytest.raises(ValueError, match="another"):
        with_adapter(other, trained.files)
