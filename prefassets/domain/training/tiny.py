"""The base model `tiny`: a small Qwen2 trained here on the corpus at hand, so that log-probs mean something at once."""

# B windows of a batch, T tokens of a window

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from tokenizers import pre_tokenizers
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from prefassets.domain.training.cores import use_the_cores_of_this_process
from prefassets.domain.training.encoding import Message
from prefassets.domain.training.language_model import (
    WEIGHTS,
    LanguageModel,
    device,
    weights_digest,
)

WINDOWS, WINDOW = 32, 128  # per step; tokens
LEARNING_RATE = 4e-3
VOCABULARY = 1_000
CHARACTERS_FOR_TOKENIZER = 2_000_000
START, END = "<|im_start|>", "<|im_end|>"
CHATML = (  # Qwen2.5's template without its default system prompt and tools
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


@dataclass(frozen=True)
class TrainedTiny:
    """The model, the tokens it was trained on (repeats counted) and its loss at the end, in nats per token."""

    language_model: LanguageModel
    tokens_seen: int
    final_loss: float


def conversations(utterances: pl.DataFrame) -> list[list[Message]]:
    """The corpus of `tiny`: every response of `prism.utterances` once, within a conversation, as chat messages.

    A turn has up to four responses, told apart by `within_turn_id`. Those of one number, turn after turn, make one
    conversation. Which response a user chose, or how it was scored, is not looked at.
    """
    in_order = utterances.sort("conversation_id", "within_turn_id", "turn")
    exchanges = in_order.select("conversation_id", "within_turn_id", "user_prompt", "model_response").iter_rows()
    found: dict[tuple[str, int], list[Message]] = {}
    for conversation_id, within_turn_id, prompt, response in exchanges:
        found.setdefault((conversation_id, within_turn_id), []).extend(
            [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        )
    return list(found.values())


def train_tiny(
    texts: Sequence[list[Message]],
    seed: int,
    steps: int,
    on_step: Callable[[int, int], None] | None = None,
) -> TrainedTiny:
    """Train a tokenizer and a small language model on conversations. Equal arguments give equal weights on one machine.

    Args:
        texts: conversations, each a list of messages with role and content.
        steps: of 32 windows of 128 tokens each.
        on_step: told the step finished and the number of steps.

    Raises:
        ValueError: there is no text.
    """
    if not texts:
        raise ValueError("the tiny base model needs at least one conversation to learn from; prism.utterances has none")
    use_the_cores_of_this_process()
    generator = np.random.default_rng(seed)
    shuffled = [texts[index] for index in generator.permutation(len(texts))]
    tokenizer = _tokenizer(shuffled)
    windows_BT = _windows(shuffled, tokenizer, steps * WINDOWS)[generator.permutation(steps * WINDOWS)]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(_config(tokenizer)).train().to(device())
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    losses = []
    for step in range(1, steps + 1):
        batch_BT = windows_BT[(step - 1) * WINDOWS : step * WINDOWS].to(device())
        loss = model(input_ids=batch_BT, labels=batch_BT, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        losses.append(loss.item())
        if on_step:
            on_step(step, steps)
    unnamed = LanguageModel(model, tokenizer, "tiny", "")
    trained = LanguageModel(model, tokenizer, "tiny", weights_digest(unnamed.to_files()[WEIGHTS]))
    last = losses[-min(20, steps) :]
    return TrainedTiny(trained, tokens_seen=windows_BT.numel(), final_loss=sum(last) / len(last))


def _tokenizer(texts: Sequence[list[Message]]) -> Qwen2Tokenizer:
    """Qwen2's byte-level BPE, learned on as many of the texts as it needs, with a ChatML template."""
    sample, characters = [], 0
    for message in (message for text in texts for message in text):
        sample.append(message["content"])
        characters += len(message["content"])
        if characters > CHARACTERS_FOR_TOKENIZER:
            break
    alphabet = pre_tokenizers.ByteLevel.alphabet()  # so that no text is unknown
    tokenizer = Qwen2Tokenizer().train_new_from_iterator(
        sample, VOCABULARY, new_special_tokens=[START, END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.eos_token = END
    tokenizer.chat_template = CHATML
    return tokenizer


def _windows(texts: Sequence[list[Message]], tokenizer: Qwen2Tokenizer, count: int) -> torch.Tensor:
    """The conversations one after the other, cut into windows; again from the start if there are not enough."""
    tokens: list[int] = []
    wanted = count * WINDOW
    for begin in range(0, len(texts), 1_000):
        rendered = tokenizer.apply_chat_template(list(texts[begin : begin + 1_000]), tokenize=False)
        for ids in tokenizer(rendered, add_special_tokens=False)["input_ids"]:
            tokens += [*ids, tokenizer.pad_token_id]
        if len(tokens) >= wanted:
            break
    return torch.from_numpy(np.resize(np.asarray(tokens), (count, WINDOW)))


def _config(tokenizer: Qwen2Tokenizer) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
