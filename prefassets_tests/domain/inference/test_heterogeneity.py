"""H is what its definition says, finds what was planted, and its intervals hold what they promise."""

import numpy as np
import polars as pl
import pytest

from prefassets.domain.inference.heterogeneity import FEWEST_USERS, compare_groups, split_heterogeneity, user_sums
from prefassets.domain.prism.pairs import within_model_pairs
from prefassets.domain.prism.splits import assign
from prefassets.domain.prism.synthetic import synthetic_prism
from prefassets.domain.prism.users import user_covariates

CONVERSATIONS = 6
NOBODY = np.array([])


def planted_pairs(h, seed, users=300, mean_pairs=13, features=16, strength=1.0, taste=0.0):
    """Choices between random answers. The share `h` of each user's squared direction is theirs alone.

    All directions are equally long, so all users are equally consistent and H is `h` exactly. `taste` is the size of a
    direction that lasts for one conversation.
    """
    rng = np.random.default_rng([seed, int(100 * h)])
    own = rng.normal(size=(users, features))
    own[:, 0] = 0
    preferred = np.sqrt(h) * own / np.linalg.norm(own, axis=1, keepdims=True)
    preferred[:, 0] = np.sqrt(1 - h)
    user = np.repeat(np.arange(users), np.maximum(1, rng.poisson(mean_pairs, users)))
    conversation = user * CONVERSATIONS + rng.integers(0, CONVERSATIONS, len(user))
    passing = taste * rng.normal(size=(users * CONVERSATIONS, features)) / np.sqrt(features)
    difference = rng.normal(size=(len(user), features))
    utility = strength * (difference * (preferred[user] + passing[conversation])).sum(axis=1)
    chosen_first = rng.random(len(user)) < 1 / (1 + np.exp(-utility))
    return difference * np.where(chosen_first, 1, -1)[:, None], user, conversation


def planted(h, seed, **options):
    return user_sums(*planted_pairs(h, seed, **options))


def nobody(sums):
    return sums.of(NOBODY)


def alone(sums, draws=400, seed=0):
    return compare_groups(sums, nobody(sums), draws, seed)["A"]


def by_definition(direction, user, conversation, times=None):
    """kappa_within and kappa_between, one product at a time; user u is `times[u]` users with equal pairs."""
    times = np.ones(user.max() + 1, int) if times is None else times
    scaled = direction / np.sqrt((direction**2).mean(axis=0))
    within, between = [], []
    for p in range(len(scaled)):
        for q in range(len(scaled)):
            product = scaled[p] @ scaled[q]
            if user[p] != user[q]:
                between += times[user[p]] * times[user[q]] * [product]
            elif conversation[p] != conversation[q]:
                within += times[user[p]] * [product]
    return np.mean(within), np.mean(between)


# ---- the formula


def test_the_sums_give_the_definition():
    direction, user, conversation = planted_pairs(0.5, seed=1, users=25, mean_pairs=5)
    shuffled = np.random.default_rng(0).permutation(len(user))
    found = alone(user_sums(direction[shuffled], user[shuffled], conversation[shuffled]))
    within, between = by_definition(direction, user, conversation)
    assert found.kappa_within == pytest.approx(within, rel=1e-10)
    assert found.kappa_between == pytest.approx(between, rel=1e-10)


def test_both_groups_together_are_one_group():
    sums = planted(0.5, seed=2, users=60, strength=4.0)
    whole = alone(sums)
    together = compare_groups(sums.of(np.arange(25)), sums.of(np.arange(25, 60)), draws=400)["A + B"]
    for name in ("pairs", "users", "users_within", "kappa_within", "kappa_between", "heterogeneity"):
        assert getattr(together, name) == pytest.approx(getattr(whole, name), rel=1e-10), name


def test_a_drawn_sample_gives_the_definition_of_that_sample(monkeypatch):
    """A user drawn twice is two users with equal pairs, which are not multiplied with each other."""
    direction, user, conversation = planted_pairs(0.5, seed=3, users=20, mean_pairs=5, strength=4.0)
    times = np.array([2, 0] * 10)

    class Drawn:
        def integers(self, users, size):
            return np.repeat(np.arange(users), times)[None, :]

    within, between = by_definition(direction, user, conversation, times)
    monkeypatch.setattr(np.random, "default_rng", lambda seed: Drawn())
    found = alone(user_sums(direction, user, conversation), draws=1)
    assert found.lower == found.upper == pytest.approx(1 - between / within, rel=1e-10)


# ---- simulated truth


@pytest.mark.parametrize("h", [0, 0.25, 0.5, 0.75, 1.0])
def test_what_was_planted_is_found_without_bias(h):
    """60 samples of 700 users: the two kappas are unbiased, so the ratio of their means is; 4 Monte Carlo errors."""
    found = [alone(planted(h, seed, users=700), draws=1) for seed in range(60)]
    within = np.array([one.kappa_within for one in found])
    between = np.array([one.kappa_between for one in found])
    pooled = 1 - between.mean() / within.mean()
    residual = between - (1 - pooled) * within  # the delta method's error of a ratio of means
    error = residual.std(ddof=1) / np.sqrt(len(found)) / within.mean()
    assert abs(pooled - h) < 4 * error + 1e-3


@pytest.mark.parametrize("h", [0, 0.5])
def test_the_interval_covers_the_truth(h):
    """150 samples of 300 users: 95 % coverage has a Monte Carlo error of 1.8 points; 4 of them are allowed."""
    found = [alone(planted(h, seed), draws=300, seed=seed) for seed in range(150)]
    covered = np.mean([one.lower <= h <= one.upper for one in found])
    assert 0.88 < covered <= 0.995


def test_the_difference_of_equal_groups_is_rarely_called_one():
    """100 pairs of equal groups of 200: 5 % expected, less than 14 % allowed (4 Monte Carlo errors)."""
    called = []
    for seed in range(100):
        difference = compare_groups(
            planted(0.5, 2 * seed, users=200), planted(0.5, 2 * seed + 1, users=200), draws=300, seed=seed
        )["A - B"]
        if difference.heterogeneity is not None:
            called.append(difference.lower > 0 or difference.upper < 0)
    assert len(called) > 90
    assert np.mean(called) < 0.14


def test_a_clear_difference_is_found_with_its_sign():
    found = compare_groups(planted(0.1, 0, users=700), planted(0.9, 1, users=700), draws=500)
    assert found["A - B"].upper < 0
    assert found["A - B"].heterogeneity == found["A"].heterogeneity - found["B"].heterogeneity


def test_a_taste_for_one_conversation_is_not_taken_for_a_taste_of_the_user():
    direction, user, conversation = planted_pairs(0, seed=4, users=3000, taste=2.0)
    assert abs(alone(user_sums(direction, user, conversation)).heterogeneity) < 0.1
    each_pair_its_own = np.arange(len(user))
    assert alone(user_sums(direction, user, each_pair_its_own)).heterogeneity > 0.2


def test_one_large_feature_does_not_decide():
    direction, user, conversation = planted_pairs(0.5, seed=5, users=700)
    noise = 1_000 * np.random.default_rng(5).normal(size=(len(user), 1))
    found = alone(user_sums(np.hstack([direction, noise]), user, conversation))
    assert found.heterogeneity == pytest.approx(0.5, abs=0.2)
    in_other_units = user_sums(direction * np.logspace(-3, 3, 16), user, conversation)
    assert alone(in_other_units).heterogeneity == pytest.approx(
        alone(user_sums(direction, user, conversation)).heterogeneity, rel=1e-9
    )


# ---- what cannot be computed


def test_users_who_do_not_repeat_themselves_have_no_heterogeneity():
    found = compare_groups(planted(0.5, seed=6, strength=0.0), planted(0.5, seed=7), draws=400)
    assert "kappa_within is not told from zero" in found["A"].state
    assert (found["A"].heterogeneity, found["A"].lower, found["A"].upper, found["A"].draws) == (None, None, None, 0)
    assert isinstance(found["A"].kappa_within, float)
    assert found["B"].state == "estimated"
    assert found["A - B"].state == "undefined: so is A"
    assert found["A - B"].heterogeneity is None


def test_one_pair_a_user_says_nothing_about_within():
    direction, user, conversation = planted_pairs(0.5, seed=8)
    first = np.unique(user, return_index=True)[1]
    found = alone(user_sums(direction[first], user[first], conversation[first]))
    assert found.state == "undefined: no user has pairs in two conversations"
    assert (found.users, found.users_within, found.kappa_within) == (300, 0, None)
    assert found.kappa_between is not None


def test_a_user_with_one_pair_counts_between_users_only():
    direction, user, conversation = planted_pairs(0.5, seed=9, users=40, strength=4.0)
    first_of_some = np.unique(user, return_index=True)[1][:15]
    kept = np.isin(np.arange(len(user)), first_of_some) | (user >= 15)
    everyone = alone(user_sums(direction[kept], user[kept], conversation[kept]))
    within, between = by_definition(direction[kept], user[kept], conversation[kept])
    assert (everyone.users, everyone.users_within) == (40, 25)
    assert (everyone.kappa_within, everyone.kappa_between) == pytest.approx((within, between), rel=1e-10)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("users", [0, 1, 2, FEWEST_USERS - 1])
def test_too_few_users_have_no_interval(users):
    sums = planted(0.5, seed=10, strength=4.0)
    found = compare_groups(sums.of(np.arange(users)), sums.of(np.arange(100, 200)), draws=100)
    assert found["A"].state.startswith("undefined: no pairs" if not users else f"undefined: users with pairs: {users}")
    assert found["A"].heterogeneity is None
    assert (found["A"].kappa_within is None) == (users == 0)
    assert (found["A"].kappa_between is None) == (users < 2)
    assert found["B"].state == found["A + B"].state == "estimated"


@pytest.mark.filterwarnings("error")
def test_features_that_are_all_equal_have_no_heterogeneity():
    _, user, conversation = planted_pairs(0.5, seed=11)
    found = alone(user_sums(np.zeros((len(user), 3)), user, conversation))
    assert found.state.startswith("undefined: kappa_within")
    assert (found.kappa_within, found.kappa_between) == (0.0, 0.0)


def test_features_that_are_not_finite_are_refused():
    direction, user, conversation = planted_pairs(0.5, seed=12)
    direction[3, 2] = np.nan
    direction[4, 0] = np.inf
    with pytest.raises(ValueError, match=f"2 of {len(user)} pairs have features that are not finite"):
        user_sums(direction, user, conversation)
    with pytest.raises(ValueError, match="there must be one of each per pair"):
        user_sums(direction, user[1:], conversation)


# ---- tables


def frames(direction, user, conversation):
    names = {"user_id": [f"u{n}" for n in user], "conversation_id": [f"c{n}" for n in conversation]}
    features = pl.DataFrame(names).with_columns(
        chosen=pl.Series(direction.astype(np.float32)).arr.to_list(),
        rejected=pl.Series(np.zeros_like(direction, dtype=np.float32)).arr.to_list(),
    )
    halves = [
        (split, f"u{n}", group)
        for split, groups in (("parity", ("A", "B")), ("without_b", ("A", None)))
        for n in np.unique(user)
        for group in [groups[n % 2]]
    ]
    assignments = pl.DataFrame(
        halves, {"split": pl.String, "user_id": pl.String, "user_group": pl.String}, orient="row"
    )
    return features, assignments


def test_every_split_has_both_groups_their_difference_and_their_union():
    features, assignments = frames(*planted_pairs(0.5, seed=13))
    rows = split_heterogeneity(features, assignments, draws=200)
    assert rows.select("split", "user_group").rows() == [
        (split, group) for split in ("parity", "without_b") for group in ("A", "B", "A - B", "A + B")
    ]
    states = dict(rows.filter(split="without_b").select("user_group", "state").rows())
    assert states == {
        "A": "estimated",
        "B": "undefined: no pairs",
        "A - B": "undefined: so is B",
        "A + B": "estimated",
    }
    assert rows.select(pl.col(pl.Float64).is_nan().any()).row(0) == (False,) * 5


def test_the_seed_alone_decides():
    features, assignments = frames(*planted_pairs(0.5, seed=14))
    first = split_heterogeneity(features, assignments, draws=200, seed=1)
    again = split_heterogeneity(features.sample(fraction=1, shuffle=True, seed=3), assignments, draws=200, seed=1)
    numbers = ["heterogeneity", "lower", "upper"]
    assert np.allclose(first[numbers].fill_null(0), again[numbers].fill_null(0), rtol=1e-6)
    other = split_heterogeneity(features, assignments, draws=200, seed=2)
    assert first["heterogeneity"].equals(other["heterogeneity"])
    assert not first["lower"].equals(other["lower"])
    without_the_other = split_heterogeneity(features, assignments.filter(split="parity"), draws=200, seed=1)
    assert without_the_other.equals(first.filter(split="parity"))


def test_hidden_states_of_two_widths_are_refused():
    features, assignments = frames(*planted_pairs(0.5, seed=15))
    mixed = features.with_columns(
        chosen=pl.when(pl.int_range(pl.len()) == 0).then(pl.col("chosen").list.head(3)).otherwise("chosen")
    )
    with pytest.raises(ValueError, match="hidden states of chosen answers have"):
        split_heterogeneity(mixed, assignments)


def test_no_pairs_at_all_give_undefined_rows():
    features, assignments = frames(*planted_pairs(0.5, seed=16))
    rows = split_heterogeneity(features.clear(), assignments, draws=50)
    assert len(rows) == 8
    assert rows["heterogeneity"].null_count() == 8
    assert rows.filter(user_group="A + B")["state"].to_list() == ["undefined: no pairs"] * 2


# ---- synthetic PRISM


def test_on_synthetic_prism_each_age_group_agrees_and_both_together_do_not():
    """On word counts, so that no model is needed. `age` is planted as two directions, `personalisation` as strength."""
    prism = synthetic_prism(seed=0, scale=0.4)
    pairs = within_model_pairs(prism.utterances).pairs
    words = sorted({word for text in (*pairs["chosen"], *pairs["rejected"]) for word in text.split()})
    place = {word: n for n, word in enumerate(words)}

    def counts(texts):
        found = np.zeros((len(texts), len(words)), np.float32)
        for row, text in enumerate(texts):
            np.add.at(found[row], [place[word] for word in text.split()], 1)
        return pl.Series(found).arr.to_list()

    features = pairs.select("user_id", "conversation_id").with_columns(
        chosen=counts(pairs["chosen"]), rejected=counts(pairs["rejected"])
    )
    assignments = assign(user_covariates(prism.survey, prism.utterances, pairs))
    rows = split_heterogeneity(
        features, assignments.filter(pl.col("split").is_in(["age", "personalisation"])), draws=500
    )
    found = {(row["split"], row["user_group"]): row for row in rows.iter_rows(named=True)}
    for group in "AB":
        assert found["age", group]["upper"] < found["age", "A + B"]["lower"]
    assert found["age", "A - B"]["lower"] < 0 < found["age", "A - B"]["upper"]
    assert found["personalisation", "A - B"]["upper"] < 0
