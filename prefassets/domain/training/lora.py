"""LoRA adapters on a shared base model: put on, written as PEFT files, and taken off without a trace."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy

import safetensors.torch
import torch
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
)
from transformers import PreTrainedModel

from prefassets.domain.training.language_model import LanguageModel
from prefassets.domain.training.quiet import quiet
from prefassets.domain.training.recipe import Lora

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"


def lora_config(language_model: LanguageModel, lora: Lora) -> LoraConfig:
    """PEFT's configuration of `lora` on every linear layer of this model but its output head, the layers by name."""
    model = language_model.model
    head = model.get_output_embeddings()
    linear = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=sorted(linear),
        task_type="CAUSAL_LM",
    )


def initial_weights(language_model: LanguageModel, lora: Lora, seed: int) -> dict[str, torch.Tensor]:
    """An adapter before its first step, by PEFT's names and as PEFT draws it after `transformers.set_seed(seed)`."""
    model = language_model.model
    with quiet(), left_untouched(model), torch.random.fork_rng():
        torch.manual_seed(seed)
        return weights_of(get_peft_model(model, lora_config(language_model, lora)))


def weights_of(adapted: PeftModel) -> dict[str, torch.Tensor]:
    """The adapter's weights by PEFT's names, copied to the CPU."""
    weights = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    return {name: weight.detach().to("cpu", copy=True) for name, weight in weights.items()}


def adapter_files(
    weights: Mapping[str, torch.Tensor], language_model: LanguageModel, lora: Lora | LoraConfig
) -> dict[str, bytes]:
    """The adapter in PEFT layout, with the base model it belongs to; equal adapters give equal bytes.

    Args:
        lora: its shape, of an adapter on every linear layer; else PEFT's configuration of it.
    """
    config = {
        **(lora if isinstance(lora, LoraConfig) else lora_config(language_model, lora)).to_dict(),
        "base_model_name_or_path": language_model.name,  # PEFT would write the folder that the model was read from
        "revision": language_model.revision,
        "inference_mode": True,
    }
    in_order = {name: weight.contiguous() for name, weight in sorted(weights.items())}
    return {
        ADAPTER_WEIGHTS: safetensors.torch.save(in_order, metadata={"format": "pt"}),
        ADAPTER_CONFIG: json.dumps(config, indent=2, sort_keys=True, default=sorted).encode(),
    }


def read_adapter(language_model: LanguageModel, files: Mapping[str, bytes]) -> tuple[Lora, dict[str, torch.Tensor]]:
    """A trained adapter's shape (without the dropout of its training) and its weights by PEFT's names.

    Raises:
        ValueError: the adapter belongs to another base model.
    """
    config = peft_config(files)
    trained_on, here = (config.base_model_name_or_path, config.revision), (language_model.name, language_model.revision)
    if config.revision is not None and trained_on != here:
        raise ValueError(
            f"the adapter was trained on {trained_on[0]} revision {trained_on[1]}, but the base model here is "
            f"{here[0]} revision {here[1]}; score it on its own base model, or train it again on this one"
        )
    return Lora(rank=config.r, alpha=config.lora_alpha), safetensors.torch.load(files[ADAPTER_WEIGHTS])


def peft_config(files: Mapping[str, bytes]) -> LoraConfig:
    """PEFT's configuration of a trained adapter."""
    return LoraConfig(**json.loads(files[ADAPTER_CONFIG]))


def sharing_weights(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of the model that has layers and settings of its own and the same weights, which take no more memory."""
    return deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})


@contextmanager
def left_untouched(model: torch.nn.Module) -> Iterator[None]:
    """Whatever is put around the model's layers or patched onto it inside is gone afterwards, also after an error.

    PEFT replaces layers and TRL the model's `forward`, both in place; neither changes a base weight.
    """
    layers = {name: dict(module.named_children()) for name, module in model.named_modules()}
    own_attributes = set(vars(model))
    was_trainable = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    try:
        yield
    finally:
        for name, children in layers.items():
            for child_name, child in children.items():
                setattr(model.get_submodule(name), child_name, child)
        for name in vars(model).keys() - own_attributes:
            delattr(model, name)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(was_trainable[name])
        model.eval()
