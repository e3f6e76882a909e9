"""What a predictor of battles must beat: how often each winner is one, the longer answer, and length, form and words.

N battles, K things counted in a text, X axes of words, F features
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefassets.domain.arena.recipe import WINNERS

PREDICTION_SCHEMA = pl.Schema(
    {
        "predictor": pl.String(),
        "battle": pl.String(),
        "a": pl.Float64(),
        "b": pl.Float64(),
        "tie": pl.Float64(),
        "a_swapped": pl.Float64(),
        "b_swapped": pl.Float64(),
        "tie_swapped": pl.Float64(),
        "tokens": pl.Int64(),
        "left_out": pl.Int64(),
    }
)
COUNTED = {  # in all the answers of one side, or in all prompts
    "words": r"\S+",
    "lines": r"\n",
    "paragraphs": r"\n\s*\n",
    "items of lists": r"(?m)^\s*(?:[-*•]|\d+[.)])\s",
    "headings": r"(?m)^#{1,6}\s",
    "bold": r"\*\*[^*\n]+\*\*",
    "code": r"```",
    "tables": r"(?m)^\s*\|",
    "digits": r"\d",
    "questions": r"[?？]",
    "exclamations": r"[!！]",
    "other scripts": r"[^\x00-\x7f]",
    "refusals": (
        r"(?i)\b(?:i['’]m sorry|i am sorry|i apologi[sz]e|unfortunately|as an? (?:ai|language model|large language)|"
        r"i (?:cannot|can['’]t|am unable|am not able|don['’]t have)|i['’]m (?:unable|not able))\b"
    ),
}
READ = 8_000  # characters of the answers of one side whose words are weighed; all of them are counted
MOST_WORDS = 20_000
AXES = 50
VALIDATION = 0.15  # of the prompts of training, which say how many trees there are
MOST_TREES = 400
TREES: dict[str, Any] = {"learning_rate": 0.06, "max_leaf_nodes": 15, "min_samples_leaf": 40, "l2_regularization": 1.0}
EXCHANGED = [1, 0, 2]  # where A, B and tie are once the answers have changed places


def baseline_predictions(training: pl.DataFrame, battles: pl.DataFrame, seed: int) -> pl.DataFrame:
    """What three simple predictors say of battles, having learned from others. Nothing is learned from `battles`.

    - `prior`: the shares of winners.
    - `longer`: those shares where A is longer in characters, where B is, and where both are equal.
    - `length_and_words`: gradient-boosted trees on how long prompts and answers are, how they are formatted, how often
      answers refuse, whether they are equal, and in which words they differ (TF-IDF, reduced to `AXES` axes).

    The trees learn each battle in both orders of its answers, and what they predict is the mean over both orders: so
    exchanging the answers exchanges the probabilities. There are as many trees as is best for prompts that they did
    not learn from; where that is none, it is the prior.

    No winner is ever impossible (Laplace): shares are counted with three battles more, one of each winner or, of
    `longer`, as the prior has it, and the trees' probabilities are weighed likewise.

    Args:
        training: judged battles with the columns of `BATTLE_SCHEMA`, in any order.
        battles: those to predict; `winner` is not looked at.
        seed: of the axes, and of the prompts that the trees do not learn from.

    Returns:
        The columns of `PREDICTION_SCHEMA`, predictor by predictor, battles in the order given.

    Raises:
        ValueError: there is nothing to learn from.
    """
    if training.is_empty():
        raise ValueError("there are no battles to learn from; a baseline needs those of training")
    training = training.sort("battle")  # in another order, sums are rounded otherwise
    prior_N3 = _shares(training, battles, pl.lit(0), np.ones(3))
    predicted = {
        "prior": prior_N3,
        "longer": _shares(training, battles, _longer(), 3 * prior_N3),
        "length_and_words": _length_and_words(training, battles, prior_N3, seed),
    }
    return pl.concat(_predictions(name, battles, p_N3) for name, p_N3 in predicted.items())


def _predictions(predictor: str, battles: pl.DataFrame, p_N3: NDArray[np.float64]) -> pl.DataFrame:
    said = battles.select(
        pl.lit(predictor).alias("predictor"),
        "battle",
        *(pl.Series(column, p_N3[:, place]) for place, column in enumerate(("a", "b", "tie"))),
    )
    return said.with_columns(
        pl.lit(None, dtype).alias(column) for column, dtype in PREDICTION_SCHEMA.items() if column not in said.columns
    ).match_to_schema(PREDICTION_SCHEMA)


def _longer() -> pl.Expr:
    return (pl.col("length_a") - pl.col("length_b")).sign()


def _shares(
    training: pl.DataFrame, battles: pl.DataFrame, kind: pl.Expr, added: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Shares of winners among the training battles of each battle's kind, with `added` (3, or N x 3) more of each."""
    of_kind = (
        training.select("winner", kind=kind)
        .group_by("kind")
        .agg((pl.col("winner") == winner).sum().alias(winner) for winner in WINNERS)
    )
    found = battles.select("battle", kind=kind).join(of_kind, on="kind", how="left", maintain_order="left")
    counts_N3 = found.select(pl.col(WINNERS).fill_null(0)).to_numpy() + added
    return counts_N3 / counts_N3.sum(axis=1, keepdims=True)


def _length_and_words(
    training: pl.DataFrame, battles: pl.DataFrame, prior_N3: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    words = _Words(training, seed)
    shown = np.vstack(_features(training, words.apart(training)))
    won = np.array([WINNERS.index(winner) for winner in training["winner"]])
    trees = _trees(
        shown,
        np.concatenate([won, np.array(EXCHANGED)[won]]),
        np.tile(training["prompt_digest"].to_numpy(), 2),
        seed,
    )
    if trees is None or battles.is_empty():
        return prior_N3
    given, exchanged = (_probabilities(trees, shown) for shown in _features(battles, words.apart(battles)))
    p_N3 = (given + exchanged[:, EXCHANGED]) / 2
    return (len(training) * p_N3 + 1) / (len(training) + 3)


def _features(battles: pl.DataFrame, words_NX: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of battles as given, and with the answers exchanged, which only turns the sign of what is A minus B."""
    a_NK, b_NK, prompts_NK = (_counts(battles[column]) for column in ("answers_a", "answers_b", "prompts"))
    others = battles.select("turns", equal=pl.col("answers_a") == pl.col("answers_b")).cast(pl.Float32).to_numpy()
    longer = battles.select(pl.col("length_a") - pl.col("length_b")).cast(pl.Float32).to_numpy()
    together = np.hstack([prompts_NK, a_NK + b_NK, others])
    apart = np.hstack([a_NK - b_NK, longer, words_NX])
    return np.hstack([together, apart]), np.hstack([together, -apart])


def _counts(texts: pl.Series) -> NDArray[np.float32]:
    """Logarithms of 1 + how often each of `COUNTED` comes in the texts of a battle, and of 1 + their characters."""
    joined = pl.col("text")
    return (
        pl.DataFrame({"text": texts.list.join("\n")})
        .select(
            joined.str.len_chars().alias("characters"),
            *(joined.str.count_matches(pattern).alias(name) for name, pattern in COUNTED.items()),
        )
        .select(pl.all().cast(pl.Float32).log1p())
        .to_numpy()
    )


class _Words:
    """In which words the answers A of a battle differ from the answers B: TF-IDF, A minus B, on its main axes.

    Words, their weights and the axes are those of the battles that are fitted (Deerwester et al. 1990).
    """

    def __init__(self, fitted: pl.DataFrame, seed: int) -> None:
        from sklearn.decomposition import TruncatedSVD  # a second to import: only where it is used
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._weights = TfidfVectorizer(sublinear_tf=True, min_df=2, max_features=MOST_WORDS, dtype=np.float32)
        self._axes = None
        try:
            self._weights.fit([*_read(fitted["answers_a"]), *_read(fitted["answers_b"])])
        except ValueError:  # no word is in two answers
            return
        apart = self._difference(fitted)
        if (axes := min(AXES, min(apart.shape) - 1)) > 0:
            self._axes = TruncatedSVD(axes, random_state=seed).fit(apart)

    def apart(self, battles: pl.DataFrame) -> NDArray[np.float32]:
        """N x X, X fewer than `AXES` where there are fewer words or battles."""
        if self._axes is None or battles.is_empty():
            return np.zeros((len(battles), 0), dtype=np.float32)
        return self._axes.transform(self._difference(battles))

    def _difference(self, battles: pl.DataFrame) -> Any:
        a, b = (self._weights.transform(_read(battles[column])) for column in ("answers_a", "answers_b"))
        return a - b


def _read(answers: pl.Series) -> Sequence[str]:
    return answers.list.join("\n").str.slice(0, READ).to_list()


def _trees(shown_NF: NDArray[np.float32], won_N: NDArray[np.int64], prompt_N: NDArray[Any], seed: int) -> Any:
    """As many trees as are best for prompts that were left out, fitted to all; None where the best is no tree."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    prompts = np.random.default_rng(seed).permutation(np.unique(prompt_N))
    left_out = np.isin(prompt_N, prompts[: round(VALIDATION * len(prompts))])
    fitted = ~left_out
    left_out &= np.isin(won_N, won_N[fitted])  # of a winner that was never seen, trees can say nothing
    if not left_out.any() or len(np.unique(won_N[fitted])) < 2:
        return None
    tried = HistGradientBoostingClassifier(
        **TREES, max_iter=MOST_TREES, early_stopping=True, n_iter_no_change=20, random_state=seed
    ).fit(shown_NF[fitted], won_N[fitted], X_val=shown_NF[left_out], y_val=won_N[left_out])
    best = int(np.argmax(tried.validation_score_))  # minus the log loss, first without any tree
    if best == 0:
        return None
    return HistGradientBoostingClassifier(**TREES, max_iter=best, early_stopping=False, random_state=seed).fit(
        shown_NF, won_N
    )


def _probabilities(trees: Any, shown_NF: NDArray[np.float32]) -> NDArray[np.float64]:
    p_N3 = np.zeros((len(shown_NF), 3))
    p_N3[:, trees.classes_] = trees.predict_proba(shown_NF)
    return p_N3
