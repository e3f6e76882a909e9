"""A causal language model with its tokenizer, ready to run: made here, from the Hugging Face hub, or from a folder."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from prefassets.domain.training.cores import use_the_cores_of_this_process
from prefassets.domain.training.quiet import quiet

WEIGHTS = "model.safetensors"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class ModelUnreachable(OSError):
    """A base model is neither in the local cache nor can it be fetched."""


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

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], name: str, precision: str = "float32") -> "LanguageModel":
        """The model that `to_files` wrote; its revision is the digest of its weights."""
        with TemporaryDirectory() as folder:  # transformers reads folders only
            for file, content in files.items():
                (Path(folder) / file).write_bytes(content)
            model, tokenizer = _load(folder, precision)
        return cls(model, tokenizer, name, weights_digest(files[WEIGHTS]))

    @classmethod
    def from_hub(cls, name: str, precision: str = "bfloat16", revision: str | None = None) -> "LanguageModel":
        """A released model by its Hugging Face name, or by the path of a folder in the same format.

        What the local cache holds is taken from there, without asking the hub whether there is something newer. The
        model's revision is the commit of the hub repository; of a folder, the digest of its weights.

        Args:
            revision: the commit wanted; None for the cached one or else the newest.

        Raises:
            ModelUnreachable: there is no such model, or neither the cache nor the hub can give it.
        """
        try:
            model, tokenizer = _load(name, precision, revision=revision, local_files_only=True)
        except OSError:
            try:
                model, tokenizer = _load(name, precision, revision=revision)
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


def _load(source: str, precision: str, **where: Any) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(source, **where)
        if len(tokenizer) <= len(tokenizer.all_special_tokens):  # what transformers makes up when there are no files
            raise OSError(f"{source} has no tokenizer files")
        return AutoModelForCausalLM.from_pretrained(source, dtype=DTYPES[precision], **where), tokenizer


def _folder_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as weights:
            while block := weights.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()[:12]
