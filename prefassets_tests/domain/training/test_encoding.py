"""Tokens of a pair are those of the chat template; what does not fit is cut from the right place, and counted."""

import polars as pl
import pytest

from prefassets.domain.training.encoding import encode_pairs

LONG = "one two three four five six seven eight nine ten. " * 6


def conversation(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(contents)]


def encode(tiny, prompt, chosen="Yes.", rejected="No.", max_length=1_000):
    pairs = pl.DataFrame({"pair_id": ["p"], "prompt": [prompt], "chosen": [chosen], "rejected": [rejected]})
    return encode_pairs(pairs, tiny.tokenizer, max_length).rows.row(0, named=True)


def template_ids(tiny, messages, **options):
    return tiny.tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, **options)


@pytest.mark.parametrize(
    "answer",
    ["Yes.", "  It's 漢字,\n\nreally.\n", "", "<|im_end|> inside", LONG],
    ids=["short", "odd", "empty", "special", "long"],
)
def test_prompt_and_response_together_are_the_templates_tokens(tiny, answer):
    prompt = conversation("Hello?", "Hi.", "Is it so?")
    row = encode(tiny, prompt, chosen=answer)

    assert row["prompt_ids"] == template_ids(tiny, prompt, add_generation_prompt=True)
    assert row["prompt_ids"] + row["chosen_ids"] == template_ids(
        tiny, conversation("Hello?", "Hi.", "Is it so?", answer)
    )
    assert row["prompt_ids"] + row["rejected_ids"] == template_ids(
        tiny, conversation("Hello?", "Hi.", "Is it so?", "No.")
    )
    assert row["chosen_truncated"] == row["rejected_truncated"] == 0


def test_answer_that_would_merge_into_the_prompt_keeps_the_prompt_that_the_model_sees(tiny):
    prompt = conversation("Is it so?")
    row = encode(tiny, prompt, chosen="\nYes.")

    assert row["prompt_ids"] == template_ids(tiny, prompt, add_generation_prompt=True)
    whole = tiny.tokenizer.apply_chat_template(conversation("Is it so?", "\nYes."), tokenize=False)
    assert tiny.tokenizer.decode(row["prompt_ids"] + row["chosen_ids"]) == whole


def test_oldest_messages_go_first_and_whole(tiny):
    prompt = conversation(LONG, LONG, "middle question", "middle answer", "last question")
    kept = template_ids(tiny, prompt[2:], add_generation_prompt=True)
    whole = template_ids(tiny, prompt, add_generation_prompt=True)
    answer_tokens = len(encode(tiny, prompt)["chosen_ids"])

    row = encode(tiny, prompt, max_length=len(kept) + answer_tokens)
    assert row["prompt_ids"] == kept
    assert row["chosen_truncated"] == row["rejected_truncated"] == len(whole) - len(kept)

    one_less = encode(tiny, prompt, max_length=len(kept) + answer_tokens - 1)
    assert one_less["prompt_ids"] == template_ids(tiny, prompt[4:], add_generation_prompt=True)


def test_last_message_loses_the_start_of_its_text_but_not_its_frame(tiny):
    prompt = conversation("old", "older answer", LONG + "the very end")
    row = encode(tiny, prompt, max_length=40)
    text = tiny.tokenizer.decode(row["prompt_ids"])

    assert text.startswith("<|im_start|>user\n")
    assert text.endswith("the very end<|im_end|>\n<|im_start|>assistant\n")
    assert len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) == 40
    whole = template_ids(tiny, prompt, add_generation_prompt=True)
    assert row["chosen_truncated"] == row["rejected_truncated"] == len(whole) - len(row["prompt_ids"])


def test_long_response_is_cut_at_its_end_beside_a_quarter_for_the_prompt(tiny):
    row = encode(tiny, conversation(LONG), chosen=LONG, max_length=80)
    whole = template_ids(tiny, conversation("", LONG))

    assert len(row["prompt_ids"]) == 20
    assert len(row["chosen_ids"]) == 60
    assert tiny.tokenizer.decode(row["chosen_ids"]) == LONG[: len(tiny.tokenizer.decode(row["chosen_ids"]))]
    prompt_cut = row["rejected_truncated"]  # the short answer lost nothing of its own
    assert (
        row["chosen_truncated"] - prompt_cut
        == len(whole) - len(template_ids(tiny, conversation(""), add_generation_prompt=True)) - 60
    )


def test_short_prompt_leaves_its_room_to_the_response(tiny):
    prompt = conversation("Hi")
    length = len(template_ids(tiny, prompt, add_generation_prompt=True))
    assert length < 20
    row = encode(tiny, prompt, chosen=LONG, max_length=80)
    assert len(row["prompt_ids"]) == length
    assert len(row["chosen_ids"]) == 80 - length


@pytest.mark.parametrize("max_length", [12, 30, 60, 200])
def test_nothing_is_dropped_nothing_too_long_and_every_token_accounted_for(tiny, max_length):
    prompts = [conversation(*([LONG, "short"] * turns + ["and now?"])) for turns in range(4)]
    answers = ["Yes.", LONG, LONG * 2, ""]
    pairs = pl.DataFrame({"pair_id": list("abcd"), "prompt": prompts, "chosen": answers, "rejected": answers[::-1]})

    whole, cut = (encode_pairs(pairs, tiny.tokenizer, length).rows for length in (100_000, max_length))
    assert cut["pair_id"].to_list() == list("abcd")
    for response in ("chosen", "rejected"):
        tokens = [rows["prompt_ids"].list.len() + rows[f"{response}_ids"].list.len() for rows in (whole, cut)]
        assert tokens[1].max() <= max_length
        assert (tokens[0].cast(pl.Int64) - tokens[1].cast(pl.Int64)).to_list() == cut[f"{response}_truncated"].to_list()


def test_selected_pairs_come_in_the_order_asked_for(encoded):
    wanted = encoded.rows["pair_id"].to_list()[5:2:-1]
    assert encoded.select(wanted).rows["pair_id"].to_list() == wanted
    with pytest.raises(KeyError, match="no such pair"):
        encoded.select(["no such pair"])


def test_tokenizer_without_a_template_is_refused(tiny, monkeypatch):
    monkeypatch.setattr(tiny.tokenizer, "chat_template", None)
    with pytest.raises(ValueError, match="no chat template"):
        encode(tiny, conversation("Hi"))


def test_template_that_rewrites_the_prompt_is_refused(tiny, monkeypatch):
    rewriting = "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}"
    monkeypatch.setattr(tiny.tokenizer, "chat_template", rewriting)
    with pytest.raises(ValueError, match="rewrites the prompt"):
        encode(tiny, conversation("Hi"))
