"""What a probe could read off without knowing anything of what a model holds in mind."""

# N items, D width

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TEXT_AXES = 100  # of the TF-IDF matrix; fewer, where there are fewer texts or words


def random_activations(items: int, width: int, seed: int) -> NDArray[np.float32]:
    """Independent standard normal numbers of the activations' shape."""
    return np.random.default_rng(seed).standard_normal((items, width), dtype=np.float32)


def shuffled_items(units: Sequence[str], seed: int) -> NDArray[np.int64]:
    """For each item, another whose label it is given: whole units change places.

    A unit's items get the labels of one other unit, in another order and again from the start where those are fewer.
    So whatever makes labels of one unit alike, or opposite, still does. Items must come in an order of their own, by
    name, or another order would shuffle otherwise.
    """
    generator = np.random.default_rng(seed)
    names, of_N = np.unique(np.asarray(units, dtype=str), return_inverse=True)
    members = [np.flatnonzero(of_N == unit) for unit in range(len(names))]
    given_N = np.empty(len(of_N), dtype=np.int64)
    for unit, source in enumerate(generator.permutation(len(names))):
        given_N[members[unit]] = np.resize(generator.permutation(members[source]), len(members[unit]))
    return given_N


def one_hot(topics: Sequence[str | None]) -> NDArray[np.float64]:
    """A column per topic, 1 for the items of it; an item without one has none."""
    distinct = sorted({topic for topic in topics if topic is not None})
    return np.array([[float(topic == each) for each in distinct] for topic in topics]).reshape(len(topics), -1)


def log_length(lengths: Sequence[float]) -> NDArray[np.float64]:
    """log(1 + length), one column."""
    return np.log1p(np.asarray(lengths, dtype=np.float64))[:, None]


class TextFeatures:
    """TF-IDF of texts, words and pairs of words, reduced to the main axes of the texts that are fitted.

    Vocabulary, weights and axes are those of the fitted texts alone (Deerwester et al. 1990, latent semantic analysis);
    at most `TEXT_AXES` axes.
    """

    def __init__(self, texts: Sequence[str | None]) -> None:
        self.texts = [text or "" for text in texts]

    def __call__(self, fitted_n: NDArray[np.int64]) -> NDArray[np.float64]:
        from sklearn.decomposition import TruncatedSVD  # a second to import: only where it is used
        from sklearn.feature_extraction.text import TfidfVectorizer

        words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"(?u)\S+")
        try:
            fitted = words.fit_transform([self.texts[item] for item in fitted_n])
        except ValueError:  # no word in any of them
            return np.zeros((len(self.texts), 1))
        axes = min(TEXT_AXES, min(fitted.shape) - 1)
        if axes < 1:
            return np.zeros((len(self.texts), 1))
        reduced = TruncatedSVD(axes, random_state=0).fit(fitted)
        return reduced.transform(words.transform(self.texts))
