"""A causal language model with its tokenizer, ready to run: made here, from the Hugging Face hub, or from a folder."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from prefassets.domain.training.cores import use_the_cores_of_this_process
from prefassets.domain.training.quiet import quiet

WEIGHTS = "model.safetensors"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class ModelUnreachable(OSError):
    """A base model is neither in the local cache nor can it be fetched."""


class CannotQuantise(RuntimeError):
    """A base model is to be held in 4 bits, and this machine cannot. It is never held in more instead."""


@dataclass(frozen=True)
class LanguageModel:
    """A frozen causal language model, in evaluation mode on the device it runs on, with its tokenizer.

    `name` and `revision` identify it: a hub name and its commit, or what the weights' digest is.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    revision: str

    def __post_init__(self) -> None:
        use_the_cores_of_this_process()
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.model.config.pad_token_id = self.tokenizer.pad_token_id
        self.model.config.use_cache = False
        self.model.requires_grad_(False).eval().to(device())

    @property
    def device_name(self) -> str:
        """`cpu`, or the GPU's name as its driver says it: what a rate of training is of."""
        device = self.model.device
        return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type

    @property
    def quantised(self) -> bool:
        """Whether its linear layers, but for the output head, are held in 4 bits."""
        return bool(getattr(self.model, "is_loaded_in_4bit", False))

    @classmethod
    def from_files(
        cls, files: Mapping[str, bytes], name: str, precision: str = "float32", quantised: bool = False
    ) -> "LanguageModel":
        """The model that `to_files` wrote; its revision is the digest of its weights, also where they are quantised.

        Args:
            quantised: hold its linear layers in 4 bits (nf4, double quantisation), and compute in `precision`.

        Raises:
            CannotQuantise: this machine cannot.
        """
        with TemporaryDirectory() as folder:  # transformers reads folders only
            for file, content in files.items():
                (Path(folder) / file).write_bytes(content)
            model, tokenizer = _load(folder, precision, quantised)
        return cls(model, tokenizer, name, weights_digest(files[WEIGHTS]))

    @classmethod
    def from_hub(
        cls, name: str, precision: str = "bfloat16", revision: str | None = None, quantised: bool = False
    ) -> "LanguageModel":
        """A released model by its Hugging Face name, or by the path of a folder in the same format.

        What the local cache holds is taken from there, without asking the hub whether there is something newer. The
        model's revision is the commit of the hub repository; of a folder, the digest of its weights.

        Args:
            revision: the commit wanted; None for the cached one or else the newest.
            quantised: hold its linear layers in 4 bits (nf4, double quantisation), and compute in `precision`.

        Raises:
            CannotQuantise: this machine cannot hold it in 4 bits.
            ModelUnreachable: there is no such model, or neither the cache nor the hub can give it.
        """
        try:
            model, tokenizer = _load(name, precision, quantised, revision=revision, local_files_only=True)
        except OSError:
            try:
                model, tokenizer = _load(name, precision, quantised, revision=revision)
            except OSError as error:
                raise ModelUnreachable(
                    f"base model {name!r} is not in the local cache and could not be fetched from the Hugging Face hub "
                    f"({str(error).splitlines()[0]}). It has to be a hub name, such as Qwen/Qwen2.5-0.5B-Instruct, or "
                    f"a folder. Set HF_HOME to a cache that holds it, allow access to huggingface.co, or use "
                    f'base_model="tiny", which needs no download.'
                ) from error
        return cls(model, tokenizer, name, getattr(model.config, "_commit_hash", None) or _folder_digest(Path(name)))

    def to_files(self) -> dict[str, bytes]:
        """The model and its tokenizer as files in Hugging Face layout, by file name."""
        with TemporaryDirectory() as folder, quiet():  # transformers writes folders only
            self.model.save_pretrained(folder, max_shard_size="1TB")
            self.tokenizer.save_pretrained(folder)
            return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}

    def description(self) -> dict[str, Any]:
        """What the table `model.base` says of the model's shape."""
        config = self.model.config.get_text_config()
        return {
            "architecture": type(self.model).__name__,
            "parameters": self.model.num_parameters(),
            "vocabulary": len(self.tokenizer),
            "hidden_size": config.hidden_size,
            "layers": config.num_hidden_layers,
        }


def weights_digest(weights: bytes) -> str:
    """Twelve hexadecimal digits of the SHA-256 of a weights file."""
    return hashlib.sha256(weights).hexdigest()[:12]


def device() -> torch.device:
    """Where models run: the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _load(
    source: str, precision: str, quantised: bool, **where: Any
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(source, **where)
        if len(tokenizer) <= len(tokenizer.all_special_tokens):  # what transformers makes up when there are no files
            raise OSError(f"{source} has no tokenizer files")
        if quantised:
            return _load_in_four_bits(source, precision, **where), tokenizer
        return AutoModelForCausalLM.from_pretrained(source, dtype=DTYPES[precision], **where), tokenizer


def _load_in_four_bits(source: str, precision: str, **where: Any) -> PreTrainedModel:
    try:
        from bitsandbytes.nn import Linear4bit  # only where it is used: not every machine has it
    except Exception as error:
        raise CannotQuantise(
            f"to hold {source} in 4 bits needs bitsandbytes, which cannot be imported here ({error}). Install it (`pip "
            f"install bitsandbytes`), or train a recipe that is not quantised, such as `lora` instead of `qlora`; "
            f"nothing was loaded or trained."
        ) from error
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=DTYPES[precision],
    )
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=DTYPES[precision], quantization_config=config, device_map={"": device()}, **where
        )
    except torch.OutOfMemoryError:
        raise
    except (ImportError, NotImplementedError, RuntimeError, ValueError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise CannotQuantise(
            f"bitsandbytes could not bring {source} into 4 bits on {device()} ({said}). It needs "
            f"a GPU of a kind that it supports, or a build of it with its CPU library; else train a recipe that is not "
            f"quantised, such as `lora` instead of `qlora`; nothing was trained."
        ) from error
    for module in model.modules():
        if isinstance(module, Linear4bit):
            # Or else, on some CPUs, its first forward pass without gradients rounds it for good to bfloat16, in a
            # layout that has no way back for gradients, and that no width has but multiples of 64.
            module.support_avx512bf16_for_cpu = False
    return model


def _folder_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as weights:
            while block := weights.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()[:12]
