"""The recipes of Arena's preference predictor. A new one is a new entry here; `replace` one to change one thing of it.

`lora` and `qlora` are the report's; then its recommendations, one change each, and all of them together. Those of the
demo train `tiny`, on a laptop, in minutes.
"""

from dataclasses import replace
from functools import cache

from prefassets.domain.arena.recipe import ArenaRecipe
from prefassets.domain.arena.scores import BASELINES

_LORA = ArenaRecipe(
    name="lora",
    question="Does the report's finetuning predict which answer people prefer?",
    model="Qwen/Qwen2.5-0.5B-Instruct",
)
_DEMO = ArenaRecipe(
    name="demo_lora",
    question="Does a tiny model, finetuned, find the preference that was planted?",
    model="tiny",
    precision="float32",
    prompt="short",
    max_tokens=256,
    modules="attention and feed-forward",
    dropout=0.0,
    steps=600,
    learning_rate=1e-3,  # twice that, and some seeds end at the same answer to everything
    warmup_steps=50,
    patience=6,
    swapped=True,
)


def _variant(of: ArenaRecipe, name: str, question: str, **changed: object) -> ArenaRecipe:
    return replace(of, name=name, question=question, variant_of=of.name, **changed)  # type: ignore[arg-type]


_RECIPES = (
    _LORA,
    _variant(_LORA, "qlora", "Is anything lost with the base model in 4 bits?", quantised=True),
    _variant(_LORA, "lower_rate", "Is 5e-5 too fast?", learning_rate=1e-5),
    _variant(_LORA, "longer_warmup", "Does a slower start help?", warmup_steps=300),
    _variant(_LORA, "rank_32", "Does a larger adapter help?", rank=32, alpha=64),
    _variant(_LORA, "feed_forward", "Do adapters in feed-forward layers help?", modules="attention and feed-forward"),
    _variant(_LORA, "linear", "Does a linear decay help?", schedule="linear"),
    _variant(_LORA, "weight_decay", "Does weight decay help?", weight_decay=0.05),
    _variant(_LORA, "early_stopping", "Does it overfit?", evaluate_every=25, patience=8),
    _variant(_LORA, "more_steps", "Was it stopped too early?", steps=2000),
    _variant(_LORA, "swapped", "Does exchanging the answers help?", swapped=True),
    _variant(_LORA, "hard_examples", "Does it help to repeat what the base model gets wrong?", hard_share=0.5),
    _variant(_LORA, "easiest_first", "Does a curriculum help?", order="easiest first"),
    _variant(_LORA, "short_prompt", "Does another prompt help?", prompt="short"),
    _variant(_LORA, "larger_model", "Does a larger model help?", model="Qwen/Qwen2.5-1.5B-Instruct"),
    _variant(_LORA, "averaged", "Does the average of three adapters help?", adapters=3),
    _variant(
        _LORA,
        "recommended",
        "Do the report's recommendations help together?",
        rank=32,
        alpha=64,
        modules="attention and feed-forward",
        steps=2000,
        learning_rate=2e-5,
        warmup_steps=300,
        schedule="linear",
        weight_decay=0.05,
        evaluate_every=25,
        patience=8,
        swapped=True,
    ),
    _DEMO,
    _variant(_DEMO, "demo_qlora", "Is anything lost with the tiny model in 4 bits?", quantised=True),
    _variant(_DEMO, "demo_unswapped", "What does exchanging the answers give the tiny model?", swapped=False),
)


@cache
def all_recipes() -> dict[str, ArenaRecipe]:
    """Every recipe by name, in the order of this file.

    Raises:
        ValueError: two recipes share a name, one has the name of a baseline or looks like a base model's, or one is a
            variant of a recipe that is not there.
    """
    by_name = {recipe.name: recipe for recipe in _RECIPES}
    if len(by_name) < len(_RECIPES):
        raise ValueError("two recipes of prefassets/arena_recipes.py share a name")
    for recipe in _RECIPES:
        if recipe.name in BASELINES or not recipe.name.isidentifier():
            raise ValueError(
                f"recipe name {recipe.name!r} must be letters, digits and _, and none of {', '.join(BASELINES)}: "
                f"predictors are told apart by their names"
            )
        if recipe.variant_of is not None and recipe.variant_of not in by_name:
            raise ValueError(f"recipe {recipe.name} is a variant of {recipe.variant_of}, which is not there")
    return by_name
