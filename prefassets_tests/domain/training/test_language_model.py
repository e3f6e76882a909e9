"""A base model is the same whether just made, read back or released; one that is missing is named with the ways out."""

import pytest
import torch
from huggingface_hub import constants
from transformers import Qwen2Config, Qwen2ForCausalLM

from prefassets.domain.training.language_model import LanguageModel, ModelUnreachable

TEXT = "<|im_start|>user\nIs 漢字 naïve?\n\n  It's 2024.<|im_end|>\n"


def logits(language_model: LanguageModel, text: str = TEXT) -> torch.Tensor:
    ids = torch.tensor([language_model.tokenizer(text)["input_ids"]])
    with torch.no_grad():
        return language_model.model(ids).logits


def test_model_read_back_from_its_files_is_the_model_that_was_written(tiny):
    again = LanguageModel.from_files(tiny.to_files(), name="tiny")

    assert again.revision == tiny.revision
    assert again.tokenizer(TEXT)["input_ids"] == tiny.tokenizer(TEXT)["input_ids"]
    assert again.tokenizer.chat_template == tiny.tokenizer.chat_template
    assert again.tokenizer.eos_token == "<|im_end|>"
    assert torch.equal(logits(again), logits(tiny))
    for file in ("model.safetensors", "tokenizer.json"):
        assert again.to_files()[file] == tiny.to_files()[file]


@pytest.fixture
def released(tmp_path, tiny):
    """A small random Qwen2 in the released format: a folder with bfloat16 weights."""
    config = Qwen2Config(
        vocab_size=len(tiny.tokenizer) + 7,  # released models pad their vocabulary
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_released_model_is_loaded_in_the_precision_asked_for(released, precision, dtype):
    loaded = LanguageModel.from_hub(str(released), precision)

    assert loaded.model.dtype == dtype
    assert loaded.description() == {
        "architecture": "Qwen2ForCausalLM",
        "parameters": sum(weight.numel() for weight in loaded.model.parameters()),
        "vocabulary": len(loaded.tokenizer),
        "hidden_size": 32,
        "layers": 1,
    }
    assert not any(weight.requires_grad for weight in loaded.model.parameters())


def test_revision_of_a_folder_changes_with_its_weights(released, tiny):
    before = LanguageModel.from_hub(str(released)).revision
    assert LanguageModel.from_hub(str(released)).revision == before

    Qwen2ForCausalLM(Qwen2Config.from_pretrained(released)).save_pretrained(released)
    assert LanguageModel.from_hub(str(released)).revision != before


def test_folder_without_a_tokenizer_is_refused_rather_than_given_an_empty_one(released):
    for path in released.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelUnreachable, match="no tokenizer files"):
        LanguageModel.from_hub(str(released))


def test_model_that_cannot_be_had_is_named_with_the_ways_out(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnreachable, match=r"no-such/model.*HF_HOME.*tiny"):
        LanguageModel.from_hub("no-such/model")
