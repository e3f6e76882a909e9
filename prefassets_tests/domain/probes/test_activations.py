"""Activations are the hidden states that transformers and PEFT find, text by text, at tokens told apart by hand."""

from dataclasses import replace

import numpy as np
import peft
import polars as pl
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from prefassets.domain.probes.activations import AdapterToRead, activations_of_pairs, activations_of_texts
from prefassets.domain.probes.extraction import POSITIONS
from prefassets.domain.probes.texts import Text, encode_pair_texts, encode_texts
from prefassets.domain.training.encoding import encode_pairs
from prefassets.domain.training.language_model import LanguageModel
from prefassets.domain.training.lora import adapter_files, initial_weights
from prefassets.domain.training.quiet import quiet
from prefassets.domain.training.recipe import Lora
from prefassets.domain.training.tiny import train_tiny

LAYERS = 4
CLOSE = {"rtol": 0, "atol": 1e-4}
SUBJECTS = ("budget", "travel", "cooking", "music", "the garden behind the house")
STRIPS = (  # as Llama-2 writes: no special tokens around texts, which are stripped
    "{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content.strip() + ' [END]' }}{% endif %}{% endfor %}"
)
THINKS = (  # as Qwen3 writes: something before a response that is not the response's
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% if m.role == 'assistant' %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{{ m.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def pairs():
    """Of very different lengths; some with an earlier turn."""
    rows = []
    for number in range(30):
        subject = SUBJECTS[number % 5]
        turns = [f"Tell me of {subject}.", f"All about {subject}.", f"How do I plan my {subject}?"]
        roles = ("user", "assistant", "user")
        prompt = [{"role": role, "content": text} for role, text in zip(roles, turns, strict=True)]
        answers = [f"Many people read about {subject}. " * (1 + number * factor % 7) for factor in (1, 3)]
        rows.append((f"pair-{number}", prompt[2 if number % 3 else 0 :], *(answer.strip() for answer in answers)))
    return pl.DataFrame(rows, schema=["pair_id", "prompt", "chosen", "rejected"], orient="row")


@pytest.fixture(scope="module")
def texts(pairs):
    return [Text(*row) for row in pairs.select("pair_id", "prompt", "chosen").iter_rows()]


@pytest.fixture(scope="module")
def tokenizer(pairs):
    conversations = [
        [*prompt, {"role": "assistant", "content": chosen}]
        for prompt, chosen in pairs.select("prompt", "chosen").iter_rows()
    ]
    return train_tiny(conversations, seed=0, steps=1).language_model.tokenizer


def make_model(tokenizer, architecture="Qwen2", **options):
    """Random weights, shaken, so that norms and biases count."""
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
    }
    torch.manual_seed(0)
    config = getattr(transformers, f"{architecture}Config")(**shape | options)
    model = AutoModelForCausalLM.from_config(config).requires_grad_(False)
    for weight in model.parameters():
        weight.add_(0.1 * torch.randn_like(weight))
    return LanguageModel(model, tokenizer, architecture, "random")


@pytest.fixture(scope="module")
def qwen(tokenizer):
    return make_model(tokenizer)


def pieces(messages, response, tokenizer):
    """What ChatML writes, each piece's tokens, and which pieces are the last message and the response."""
    written = []
    for message in [*messages, {"role": "assistant", "content": response}]:
        written += [f"<|im_start|>{message['role']}\n", message["content"], "<|im_end|>\n"]
    return [tokenizer(piece, add_special_tokens=False)["input_ids"] for piece in written]


def by_hand(model, messages, response, tokenizer):
    """(layers, positions, D), of a forward pass over this text alone."""
    ids = pieces(messages, response, tokenizer)
    end = np.cumsum([len(piece) for piece in ids])
    begin = end - [len(piece) for piece in ids]
    with torch.no_grad():
        found = model(
            input_ids=torch.tensor([[token for piece in ids for token in piece]]),
            output_hidden_states=True,
            use_cache=False,
        )
    states_LTD = torch.cat(found.hidden_states)
    message, answer = len(ids) - 5, len(ids) - 2
    at = {
        "prompt_last": states_LTD[:, end[message] - 1],
        "prompt_mean": states_LTD[:, begin[message] : end[message]].mean(1),
        "turn_boundary": states_LTD[:, begin[answer] - 1],
        "response_last": states_LTD[:, end[answer] - 1],
        "response_mean": states_LTD[:, begin[answer] : end[answer]].mean(1),
    }
    return torch.stack([at[position] for position in POSITIONS], dim=1).numpy()


@pytest.mark.parametrize("architecture", ["Qwen2", "Llama", "Mistral", "Gemma3Text"])
def test_every_layer_and_position_is_that_of_a_plain_forward_pass(architecture, tokenizer, texts):
    options = {"head_dim": 8, "sliding_window": 256} if architecture == "Gemma3Text" else {}
    own = make_model(tokenizer, architecture, **options)
    found = activations_of_texts(own, texts, range(LAYERS + 1), tuple(POSITIONS), tokens_per_batch=300)
    assert found.items == tuple(text.item for text in texts)
    assert found.values.dtype == np.float32
    assert not found.left_out
    expected = np.stack([by_hand(own.model, text.messages, text.response, tokenizer) for text in texts])
    scale = np.abs(expected).max()
    assert np.allclose(found.values / scale, expected / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize("layers", [(0,), (3, 1), (LAYERS,)])
def test_some_layers_and_positions_are_the_same_numbers(layers, qwen, texts):
    every = activations_of_texts(qwen, texts, range(LAYERS + 1), tuple(POSITIONS)).values
    for positions in (("response_mean", "prompt_last"), ("turn_boundary",), ("prompt_last",)):
        chosen = [list(POSITIONS).index(position) for position in positions]
        found = activations_of_texts(qwen, texts, layers, positions).values
        assert np.allclose(found, every[:, list(layers)][:, :, chosen], **CLOSE)


def test_what_is_read_beside_a_text_changes_nothing(qwen, texts):
    told = []
    together = activations_of_texts(qwen, texts, (2,), tuple(POSITIONS), on_batch=lambda *done: told.append(done))
    assert told[-1] == (len(texts), len(texts))
    for options in ({"tokens_per_batch": 1}, {"tokens_per_batch": 150}):
        alone = activations_of_texts(qwen, texts[::-1], (2,), tuple(POSITIONS), **options)
        assert np.allclose(alone.values[::-1], together.values, **CLOSE)


def test_nothing_deeper_is_run_and_no_logits_are_made(qwen, texts):
    tokens = {}
    parts = {"layer 2": qwen.model.model.layers[1], "layer 3": qwen.model.model.layers[2], "logits": qwen.model.lm_head}
    hooks = [
        part.register_forward_hook(
            lambda _part, given, _out, name=name: tokens.update({name: tokens.get(name, 0) + given[0].shape[1]})
        )
        for name, part in parts.items()
    ]
    activations_of_texts(qwen, texts, (1, 2), tuple(POSITIONS))
    for hook in hooks:
        hook.remove()
    encoded = encode_texts(texts, qwen.tokenizer, 256, tuple(POSITIONS)).tokens.values()
    ends_of_turn = 2 * len(texts)
    checked = tokens["layer 3"]  # the beginnings of two texts, by which the model is checked
    assert checked <= 64
    assert tokens["layer 2"] == 2 * checked + sum(map(len, encoded)) - ends_of_turn
    assert "logits" not in tokens


@pytest.fixture(scope="module")
def adapters(qwen):
    """Three adapters of two ranks, far from doing nothing."""
    files = []
    for seed, rank in ((0, 4), (1, 4), (2, 2)):
        lora = Lora(rank=rank, alpha=8)
        torch.manual_seed(seed)
        weights = {name: w + 0.1 * torch.randn_like(w) for name, w in initial_weights(qwen, lora, seed).items()}
        files.append(adapter_files(weights, qwen, lora))
    return files


def test_many_adapters_at_once_are_each_loaded_by_peft_on_texts_alone(qwen, adapters, pairs, tmp_path):
    encoded = encode_pair_texts(pairs, qwen.tokenizer, 200, tuple(POSITIONS))
    assert not encoded.left_out
    ids = pairs["pair_id"].to_list()
    asked = {"0": ids[:6], "1": ids[3:10], "2": ids[8:3:-1], None: ids[2:7]}
    readers = [AdapterToRead(str(number), files, tuple(asked[str(number)])) for number, files in enumerate(adapters)]
    before = {name: weight.clone() for name, weight in qwen.model.state_dict().items()}
    modules = list(qwen.model.modules())

    told = []
    found = list(
        activations_of_pairs(
            qwen,
            encoded,
            range(LAYERS + 1),
            base=asked[None],
            adapters=readers,
            tokens_per_batch=250,
            on_batch=lambda *done: told.append(done),
        )
    )

    assert [key for key, _ in found] == [None, "0", "1", "2"]
    assert told[-1] == (sum(map(len, asked.values())),) * 2
    assert all(a is b for a, b in zip(qwen.model.modules(), modules, strict=True))
    assert all(torch.equal(weight, before[name]) for name, weight in qwen.model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in qwen.model.modules())
    rows = {row["pair_id"]: row for row in pairs.iter_rows(named=True)}
    for key, values in found:
        model = make_model(qwen.tokenizer).model
        if key is not None:
            folder = tmp_path / key
            folder.mkdir()
            for name, content in adapters[int(key)].items():
                (folder / name).write_bytes(content)
            with quiet():
                model = peft.PeftModel.from_pretrained(model, str(folder))
        expected = [
            [
                by_hand(model, rows[pair_id]["prompt"], rows[pair_id][side], qwen.tokenizer)
                for side in ("chosen", "rejected")
            ]
            for pair_id in asked[key]
        ]
        assert values.shape == (len(asked[key]), 2, LAYERS + 1, len(POSITIONS), 32)
        assert np.allclose(values, expected, rtol=0, atol=1e-3)


def test_pairs_are_read_as_they_are_trained_on_and_what_was_cut_is_not_there(qwen, pairs):
    long = "One more word. " * 20
    rows = pairs.head(3).with_columns(
        pair_id=pl.Series(["response cut", "message cut", "turn cut"]),
        prompt=pl.Series(
            [
                [{"role": "user", "content": "Well?"}],
                [{"role": "user", "content": f"{long}Well?"}],
                [
                    {"role": "user", "content": long},
                    {"role": "assistant", "content": long},
                    {"role": "user", "content": "Well?"},
                ],
            ]
        ),
        chosen=pl.Series([long, "Yes.", "Yes."]),
        rejected=pl.lit("No."),
    )
    tokenizer = qwen.tokenizer
    encoded = encode_pair_texts(rows, tokenizer, 64, tuple(POSITIONS))
    assert not encoded.left_out
    cut = encode_pairs(rows, tokenizer, 64)
    decoded = {}
    for pair_id, tokens in zip(cut.rows["pair_id"], cut.tokens(), strict=True):
        for text, response in zip(encoded.tokens[pair_id], tokens.answers, strict=True):
            assert np.array_equal(text.prompt, tokens.prompt)
            assert np.array_equal(text.response, response)
        chosen = encoded.tokens[pair_id][0]
        ids = np.concatenate([chosen.prompt, chosen.response])
        decoded[pair_id] = [
            tokenizer.decode(ids[slice(*chosen.span(position))]) for position in ("prompt_mean", "response_mean")
        ]
    assert cut.rows["chosen_truncated"].to_list() > [0, 0, 0]
    assert long.startswith(decoded["response cut"][1])
    assert encoded.tokens["response cut"][0].span("response_last")[1] == 64
    assert decoded["message cut"][0] in long + "Well?"
    assert decoded["message cut"][0].endswith("word. Well?")
    assert decoded["message cut"][1] == "Yes."
    assert decoded["turn cut"] == ["Well?", "Yes."]


@pytest.mark.parametrize(
    ("template", "begins", "ends"),
    [(None, "assistant\n", "<|im_end|>\n"), (STRIPS, " [/INST]", " [END]"), (THINKS, "</think>\n\n", "<|im_end|>\n")],
)
def test_own_text_is_told_from_what_the_template_writes(template, begins, ends, tokenizer, monkeypatch):
    if template:
        monkeypatch.setattr(tokenizer, "chat_template", template)
    words = ["user", "assistant", " How\n\nnow? ", "ein Gruß 🙂", "<<own words>>", "Plan my travel.", "[INST]", "\tx"]
    texts = [
        Text(f"{number}", [{"role": "user", "content": words[number]}], words[-1 - number])
        for number in range(len(words))
    ]
    encoded = encode_texts(texts, tokenizer, 256, tuple(POSITIONS))
    assert not encoded.left_out
    for text in texts:
        tokens = encoded.tokens[text.item]
        ids = np.concatenate([tokens.prompt, tokens.response])
        for position, own in (("prompt_mean", text.messages[0]["content"]), ("response_mean", text.response)):
            begin, end = tokens.span(position)
            assert tokenizer.decode(ids[begin:end]).strip() == own.strip()
            assert tokens.span(position.replace("mean", "last")) == (end - 1, end)
        begin, end = tokens.span("response_mean")
        assert tokens.span("turn_boundary") == (begin - 1, begin)
        assert tokenizer.decode(ids[:begin]).rstrip(" ").endswith(begins.rstrip(" "))
        assert tokenizer.decode(ids[end:]).strip() == ends.strip()


def test_texts_that_cannot_be_read_are_left_out_with_the_reason_and_the_others_read(qwen, texts, monkeypatch):
    question = [{"role": "user", "content": "Well?"}]
    unreadable = {
        "long": (Text("long", question, "word " * 300), "tokens do not fit into the model's 256"),
        "empty": (Text("empty", [{"role": "user", "content": " "}], "Yes."), "its prompt has no text of its own"),
        "silent": (Text("silent", question, ""), "its response has no text of its own"),
        "cut": (Text("cut", question, "A <think> B"), "does not write its response as it is"),
        "shouted": (Text("shouted", [{"role": "user", "content": "<think>"}], "A"), "last message as it is"),
    }
    template = qwen.tokenizer.chat_template.replace("message.content", "message.content.split('<think>')[0]")
    monkeypatch.setattr(qwen.tokenizer, "chat_template", template)
    given = [texts[0], *(text for text, _ in unreadable.values()), texts[1]]
    found = activations_of_texts(qwen, given, (1,), tuple(POSITIONS))
    assert found.items == (texts[0].item, texts[1].item)
    assert np.isfinite(found.values).all()
    assert found.left_out.keys() == unreadable.keys()
    for item, (_, reason) in unreadable.items():
        assert reason in found.left_out[item]

    none = activations_of_texts(qwen, [unreadable["long"][0]], (1, 2), ("prompt_last",))
    assert none.values.shape == (0, 2, 1, 32)
    prompts = [unreadable["silent"][0], Text("unanswered", question)]
    assert activations_of_texts(qwen, prompts, (1,), ("prompt_mean", "turn_boundary")).items == ("silent", "unanswered")


def test_what_makes_no_sense_is_one_clear_error(qwen, texts, pairs, monkeypatch):
    unanswered = replace(texts[3], response=None)
    with pytest.raises(ValueError, match="1 of 2 texts have no response, the first of them 'pair-3'"):
        activations_of_texts(qwen, [texts[0], unanswered], (1,), ("prompt_last", "response_last"))
    with pytest.raises(ValueError, match=r"layers are \[1, 5\]; Qwen2 has 4"):
        activations_of_texts(qwen, texts, [1, 5], ("prompt_last",))
    with pytest.raises(ValueError, match=r"positions are \['last'\]"):
        activations_of_texts(qwen, texts, [1], ["last"])
    with pytest.raises(ValueError, match="have the item of another"):
        activations_of_texts(qwen, [texts[0], texts[0]], [1], ("prompt_last",))
    with pytest.raises(ValueError, match="'it' do not end with a user's"):
        Text("it", [{"role": "assistant", "content": "Yes."}])
    encoded = encode_pair_texts(pairs.head(2), qwen.tokenizer, 200, ("prompt_last",))
    with pytest.raises(KeyError, match="1 of 2 pairs are not encoded"):
        list(activations_of_pairs(qwen, encoded, (1,), base=["pair-0", "pair-9"]))
    monkeypatch.setattr(qwen.tokenizer, "chat_template", "{{ raise_exception('no system message') }}")
    with pytest.raises(ValueError, match="refuses the messages of 'pair-0': no system message"):
        activations_of_texts(qwen, texts, (1,), ("prompt_last",))
    monkeypatch.setattr(qwen.tokenizer, "chat_template", None)
    with pytest.raises(ValueError, match="has no chat template"):
        activations_of_texts(qwen, texts, (1,), ("prompt_last",))


@pytest.mark.parametrize("architecture", ["GPT2", "Lfm2"])
def test_a_model_that_is_built_otherwise_is_refused(architecture, tokenizer, texts):
    own = make_model(tokenizer, architecture)
    with pytest.raises(NotImplementedError, match="does not consist of `layers`"):
        activations_of_texts(own, texts, (1, 3), ("prompt_last", "response_mean"))


def test_a_model_whose_layers_carry_one_text_into_the_next_is_refused(tokenizer, texts):
    own = make_model(tokenizer)

    class Running(torch.nn.Module):
        def forward(self, states):
            return states.cumsum(1)

    own.model.model.layers[1].mlp = Running()
    with pytest.raises(NotImplementedError, match="layer by layer, as it reads each text alone"):
        activations_of_texts(own, texts, (2,), ("prompt_last",))
    assert activations_of_texts(own, texts, (1,), ("prompt_last",)).items  # above it nothing is amiss


def test_a_model_in_16_bits_gives_float32_near_its_own_states(tokenizer, texts):
    own = make_model(tokenizer)
    own.model.to(torch.bfloat16)
    found = activations_of_texts(own, texts[:5], range(LAYERS + 1), tuple(POSITIONS)).values
    assert found.dtype == np.float32
    for text, values in zip(texts, found, strict=False):
        expected = by_hand(own.model.float(), text.messages, text.response, tokenizer)
        off = np.linalg.norm(values - expected, axis=-1) / np.linalg.norm(expected, axis=-1)
        assert off.max() < 0.05
