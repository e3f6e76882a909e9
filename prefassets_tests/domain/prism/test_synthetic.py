"""Synthetic PRISM has the published sizes and margins, and what is planted in it can be counted.

The numbers are the published ones: PRISM's codebook and plots, and the reports of 2026-02-24 for pairs and score gaps.
"""

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm

from prefassets.domain.prism.pairs import within_model_pairs
from prefassets.domain.prism.released import check_released
from prefassets.domain.prism.splits import SPLITS, assign
from prefassets.domain.prism.synthetic import planted_contrasts, synthetic_prism
from prefassets.domain.prism.users import user_covariates


@pytest.fixture(scope="module")
def prism():
    return synthetic_prism(seed=0)


@pytest.fixture(scope="module")
def pairs(prism):
    """Within-model pairs as the pipeline makes them, ties dropped."""
    return within_model_pairs(prism.utterances).pairs


def counts(column: pl.Series) -> dict:
    return dict(column.value_counts().iter_rows())


def stated(survey: pl.DataFrame, name: str) -> pl.Series:
    return survey["stated_prefs"].struct.field(name)


def truth(prism, split: str, quantity: str) -> float:
    (value,) = prism.planted_truth.filter(split=split, quantity=quantity)["value"]
    return value


# --- sizes and structure ---


def test_scale_one_has_the_published_sizes(prism):
    survey, utterances = prism.survey, prism.utterances
    assert len(survey) == 1_500
    assert survey["survey_only"].sum() == 104
    assert utterances["user_id"].n_unique() == 1_396
    assert utterances["conversation_id"].n_unique() == 8_011
    assert utterances["interaction_id"].n_unique() == 27_172
    assert len(utterances) == 68_371


def test_pairs_are_the_reported_ones(prism, pairs):
    later = prism.utterances.filter(pl.col("turn") >= 1)
    assert later["interaction_id"].n_unique() == 19_161
    assert len(pairs) == 18_064
    assert pairs["user_id"].n_unique() == 1_393


def test_conversations_per_user_turns_and_openers_are_distributed_as_published(prism):
    conversations = prism.utterances.group_by("conversation_id").agg(
        turns=pl.col("turn").max() + 1,
        user=pl.col("user_id").first(),
        openers=(pl.col("turn") == 0).sum(),
        kind=pl.col("conversation_type").first(),
        kinds=pl.col("conversation_type").n_unique(),
    )
    held = {0: 104, 1: 25, 2: 28, 3: 34, 4: 10, 5: 11, 6: 1283, 7: 5}
    assert counts(prism.survey["num_completed_conversations"]) == held
    assert counts(conversations.group_by("user").len()["len"]) == {n: users for n, users in held.items() if n}
    turns = counts(conversations["turns"])
    assert max(turns) == 22
    assert len(turns) == 13
    assert turns[2] == 2_730
    assert conversations["turns"].mean() == pytest.approx(3.391836, abs=1e-6)
    assert conversations["turns"].std() == pytest.approx(1.5785, abs=1e-3)
    assert counts(conversations["openers"]) == {4: 6_241, 3: 1_545, 2: 225}
    assert counts(conversations["kind"]) == {"unguided": 3_113, "values guided": 2_460, "controversy guided": 2_438}
    assert conversations["kinds"].max() == 1


def test_every_later_turn_is_two_answers_by_the_model_that_won_the_opener(prism):
    openers = prism.utterances.filter(pl.col("turn") == 0)
    winners = openers.filter("if_chosen").select("conversation_id", winner="model_name", best="score")
    assert len(winners) == 8_011
    best = openers.group_by("conversation_id").agg(pl.col("score").max()).join(winners, on="conversation_id")
    assert (best["score"] == best["best"]).all()
    assert not openers.select("conversation_id", "model_name").is_duplicated().any()

    later = prism.utterances.filter(pl.col("turn") >= 1).join(winners, on="conversation_id")
    assert (later["model_name"] == later["winner"]).all()
    answers = later.group_by("interaction_id").agg(
        pl.len(), pl.col("user_id", "user_prompt").n_unique(), pl.col("within_turn_id").sort()
    )
    assert answers.select(pl.col("len", "user_id", "user_prompt").unique().implode()).row(0) == ([2], [1], [1])
    assert answers["within_turn_id"].unique().to_list() == [[0, 1]]


def test_the_chosen_answer_of_a_later_turn_is_the_better_scored_and_no_two_answers_are_equal(prism):
    later = prism.utterances.filter(pl.col("turn") >= 1)
    by_turn = later.group_by("interaction_id").agg(
        chosen=pl.col("if_chosen").sum(),
        better=pl.col("score").filter("if_chosen").max() == pl.col("score").max(),
        texts=pl.col("model_response").n_unique(),
    )
    assert by_turn["chosen"].unique().to_list() == [1]
    assert by_turn["better"].all()
    assert by_turn["texts"].unique().to_list() == [2]


def test_identifiers_are_numbered_as_in_the_release(prism):
    utterances = prism.utterances
    assert utterances["utterance_id"].to_list() == [f"ut{i}" for i in range(68_371)]
    assert set(utterances["conversation_id"]) == {f"c{i}" for i in range(8_011)}
    assert prism.survey["user_id"].to_list() == [f"user{i}" for i in range(1_500)]
    # interactions run along conversation ids sorted as text: c0, c1, c10, c100, c1000, ...
    along = utterances.unique("interaction_id").sort("conversation_id", "turn")["interaction_id"].to_list()
    assert along == [f"int{i}" for i in range(27_172)]


def test_frames_pass_the_checks_of_released_files(prism):
    checked = check_released(prism.survey, prism.utterances)
    assert checked.survey.equals(prism.survey)
    assert checked.utterances.equals(prism.utterances)
    assert not checked.ignored


# --- survey margins ---

SURVEY = {
    "lm_familiarity": {"Somewhat familiar": 920, "Very familiar": 424, "Not familiar at all": 156},
    "lm_direct_use": {"Yes": 1162, "No": 259, "Unsure": 79},
    "lm_indirect_use": {"Yes": 1104, "No": 215, "Unsure": 181},
    "lm_frequency_use": {
        "Once per month": 374,
        "Every week": 316,
        "More than once a month": 291,
        "Less than one a year": 162,
        "Every day": 110,
        None: 247,
    },
    "age": {
        "18-24 years old": 297,
        "25-34 years old": 454,
        "35-44 years old": 237,
        "45-54 years old": 208,
        "55-64 years old": 197,
        "65+ years old": 106,
        "Prefer not to say": 1,
    },
    "gender": {"Male": 757, "Female": 718, "Non-binary / third gender": 21, "Prefer not to say": 4},
    "education": {
        "University Bachelors Degree": 637,
        "Graduate / Professional degree": 241,
        "Some University but no degree": 236,
        "Completed Secondary School": 209,
        "Vocational": 125,
        "Some Secondary": 24,
        "Completed Primary School": 16,
        "Prefer not to say": 9,
        "Some Primary": 3,
    },
    "employment_status": {
        "Working full-time": 712,
        "Working part-time": 265,
        "Student": 191,
        "Unemployed, seeking work": 113,
        "Retired": 104,
        "Homemaker / Stay-at-home parent": 46,
        "Unemployed, not seeking work": 46,
        "Prefer not to say": 23,
    },
    "marital_status": {
        "Never been married": 870,
        "Married": 463,
        "Divorced / Separated": 123,
        "Prefer not to say": 23,
        "Widowed": 21,
    },
    "english_proficiency": {"Native speaker": 886, "Fluent": 405, "Advanced": 160, "Intermediate": 42, "Basic": 7},
    "included_in_UK_REP": {True: 243, False: 1257},
    "included_in_US_REP": {True: 230, False: 1270},
    "included_in_balanced_subset": {True: 1246, False: 254},
    "religion.categorised": {
        "Non-religious": 762,
        "Christian": 487,
        "Agnostic": 71,
        "Prefer not to say": 59,
        "Jewish": 42,
        "Muslim": 31,
        "Spiritual": 18,
        "Buddhist": 12,
        "Folk religion": 6,
        "Hindu": 5,
        "Other": 4,
        "Sikh": 3,
    },
    "religion.simplified": {
        "No Affiliation": 851,
        "Christian": 487,
        "Prefer not to say": 59,
        "Jewish": 42,
        "Muslim": 31,
        "Other": 30,
    },
    "ethnicity.categorised": {
        "White": 969,
        "Black / African": 122,
        "Hispanic / Latino": 121,
        "Asian": 95,
        "Prefer not to say": 86,
        "Mixed": 68,
        "Other": 17,
        "Middle Eastern / Arab": 14,
        "Indigenous / First Peoples": 8,
    },
    "ethnicity.simplified": {
        "White": 969,
        "Black": 122,
        "Hispanic": 121,
        "Asian": 95,
        "Prefer not to say": 86,
        "Mixed": 68,
        "Other": 39,
    },
    "location.reside_region": {
        "Europe": 610,
        "Americas": 573,
        "Oceania": 149,
        "Africa": 88,
        "Asia": 79,
        "Prefer not to say": 1,
    },
    "location.special_region": {
        "US": 338,
        "Europe": 313,
        "UK": 292,
        "Latin America and the Caribbean": 146,
        "Australia and New Zealand": 129,
        "Africa": 118,
        "Asia": 60,
        "Northern America": 50,
        "Middle East": 50,
        "Prefer not to say": 3,
        "Oceania": 1,
    },
    "location.same_birth_reside_country": {"Yes": 1320, "No": 177, "Prefer not to say": 3},
}


@pytest.mark.parametrize("column", SURVEY)
def test_survey_answers_are_as_frequent_as_published(prism, column):
    name, _, field = column.partition(".")
    answers = prism.survey[name].struct.field(field) if field else prism.survey[name]
    assert counts(answers) == SURVEY[column]


def test_use_cases_are_ticked_as_often_as_published_by_those_who_were_asked(prism):
    ticked = prism.survey["lm_usecases"].struct.unnest()
    assert ticked.filter(prism.survey["lm_frequency_use"].is_null())["research"].null_count() == 247
    published = {"research": 617, "professional_work": 469, "games": 143, "financial_guidance": 107}
    assert {name: ticked[name].sum() for name in published} == published


def test_countries_agree_with_their_regions(prism):
    places = prism.survey["location"].struct.unnest()
    countries = counts(places["reside_country"])
    assert len(countries) == 38
    assert (countries["United States"], countries["United Kingdom"], countries["Israel"]) == (386, 340, 61)
    assert places["birth_country"].n_unique() == 75 + 1  # and `Prefer not to say`
    for where in ("birth", "reside"):
        parts = [f"{where}_{part}" for part in ("country", "countryISO", "region", "subregion")]
        assert places.select(parts).n_unique() == places[parts[0]].n_unique()
    known = places.filter(pl.col("same_birth_reside_country") != "Prefer not to say")
    same = known["birth_country"] == known["reside_country"]
    assert (same == (known["same_birth_reside_country"] == "Yes")).all()
    assert set(places.filter(special_region="US")["birth_countryISO"]) == {"USA"}
    assert set(places.filter(prism.survey["included_in_UK_REP"])["reside_countryISO"]) == {"GBR"}
    assert set(places.filter(prism.survey["included_in_US_REP"])["reside_countryISO"]) == {"USA"}


STATED = {  # mean, standard deviation, median
    "values": (54.3, 26.3, 53),
    "creativity": (69.6, 22.1, 71),
    "personalisation": (67.9, 24.6, 72),
    "safety": (80.2, 25.2, 92),
    "diversity": (75.7, 20.0, 78),
    "factuality": (88.7, 16.2, 97),
    "fluency": (86.7, 16.3, 92),
    "helpfulness": (89.4, 14.4, 97),
}
STATED_CORRELATIONS = [  # in the order of STATED
    [1, 0.4, 0.42, 0.29, 0.24, 0.11, 0.14, 0.13],
    [0.4, 1, 0.48, 0.2, 0.34, 0.21, 0.29, 0.25],
    [0.42, 0.48, 1, 0.17, 0.3, 0.18, 0.24, 0.22],
    [0.29, 0.2, 0.17, 1, 0.23, 0.35, 0.34, 0.35],
    [0.24, 0.34, 0.3, 0.23, 1, 0.37, 0.34, 0.34],
    [0.11, 0.21, 0.18, 0.35, 0.37, 1, 0.58, 0.62],
    [0.14, 0.29, 0.24, 0.34, 0.34, 0.58, 1, 0.63],
    [0.13, 0.25, 0.22, 0.35, 0.34, 0.62, 0.63, 1],
]


@pytest.mark.parametrize("name", STATED)
def test_stated_preferences_have_the_published_mean_deviation_and_median(prism, name):
    importance = stated(prism.survey, name)
    mean, deviation, median = STATED[name]
    assert importance.mean() == pytest.approx(mean, abs=0.05)
    assert importance.std() == pytest.approx(deviation, abs=0.05)
    assert importance.median() == median
    assert importance.max() == 100


def test_stated_preferences_correlate_as_published(prism):
    correlations = np.corrcoef([stated(prism.survey, name).to_numpy() for name in STATED])
    assert correlations == pytest.approx(np.array(STATED_CORRELATIONS), abs=0.01)


# --- utterance margins ---

MODELS = {
    "command": 4812,
    "claude-instant-1": 4292,
    "models/chat-bison-001": 4168,
    "HuggingFaceH4/zephyr-7b-beta": 4133,
    "meta-llama/Llama-2-7b-chat-hf": 3995,
    "command-light": 3929,
    "command-nightly": 3816,
    "gpt-4-1106-preview": 3735,
    "gpt-4": 3515,
    "meta-llama/Llama-2-70b-chat-hf": 3493,
    "gpt-3.5-turbo": 3471,
    "timdettmers/guanaco-33b-merged": 3468,
    "claude-2.1": 3338,
    "mistralai/Mistral-7B-Instruct-v0.1": 3261,
    "claude-2": 3209,
    "tiiuae/falcon-7b-instruct": 2608,
    "OpenAssistant/oasst-sft-4-pythia-12b-epoch-3.5": 2314,
    "meta-llama/Llama-2-13b-chat-hf": 1744,
    "luminous-supreme-control": 1722,
    "google/flan-t5-xxl": 1715,
    "luminous-extended-control": 1633,
}
PROVIDERS = {
    "huggingface_api": 26731,
    "cohere": 12557,
    "anthropic": 10839,
    "openai": 10721,
    "google": 4168,
    "aleph": 3355,
}


def test_models_and_providers_answer_as_often_as_published(prism):
    assert counts(prism.utterances["model_name"]) == MODELS
    assert counts(prism.utterances["model_provider"]) == PROVIDERS
    assert prism.utterances.select("model_name", "model_provider").n_unique() == 21


def test_balanced_subset_has_the_published_size(prism):
    members = prism.utterances.filter("included_in_balanced_subset")
    assert len(members) == 57_401
    assert members["conversation_id"].n_unique() == 6_696
    flagged = prism.survey.filter("included_in_balanced_subset")["user_id"]
    assert set(members["user_id"]) <= set(flagged)


def test_scores_have_the_published_histogram(prism):
    score = prism.utterances["score"]
    assert score.mean() == pytest.approx(65.1, abs=0.05)
    assert score.std() == pytest.approx(29.3, abs=0.05)
    assert (score.min(), score.max(), score.n_unique()) == (1, 100, 100)
    # Plot of two-point bins, 67,120 responses in sight: the spikes, and a bin between them.
    share = {low: score.is_between(low, low + 1).mean() * 67_120 for low in (1, 49, 99, 75)}
    assert share == pytest.approx({1: 3_784, 49: 4_207, 99: 7_207, 75: 1_957}, rel=0.03)
    spikes = counts(score)
    assert spikes[1] > 10 * spikes[2]
    assert spikes[50] > 10 * spikes[49]
    assert spikes[100] > 5 * spikes[99]


def test_later_turns_score_higher_than_openers(prism):
    mean = dict(prism.utterances.group_by(pl.col("turn") > 0).agg(pl.col("score").mean()).iter_rows())
    assert mean[False] == pytest.approx(58.6, abs=0.4)
    assert mean[True] == pytest.approx(70.5, abs=0.4)
    openers = prism.utterances.filter(pl.col("turn") == 0).group_by("conversation_id")
    spread = openers.agg(pl.col("score").max() - pl.col("score").min())["score"].mean()
    assert spread == pytest.approx(55.8, abs=1.5)


def test_score_gaps_are_distributed_as_reported(pairs):
    gap = pairs["score_gap"]
    assert gap.mean() == pytest.approx(21.5, abs=0.1)
    assert gap.median() == 15
    for cut, share in ((6, 0.25), (14, 0.49), (29, 0.75)):
        assert (gap <= cut).mean() == pytest.approx(share, abs=0.01)


def test_users_differ_in_level_and_spread_as_in_the_plots(prism, pairs):
    later = prism.utterances.filter(pl.col("turn") >= 1)
    assert later.group_by("user_id").agg(pl.col("score").mean())["score"].std() == pytest.approx(13, abs=1)
    assert pairs.group_by("user_id").agg(pl.col("score_gap").mean())["score_gap"].std() == pytest.approx(10, abs=1)


def test_147_answers_are_empty_and_badly_scored(prism, pairs):
    empty = prism.utterances.filter(model_response="EMPTY STRING")["score"]
    assert len(empty) == 147
    assert empty.mean() == pytest.approx(11.9, abs=3)
    assert empty.median() == 1
    assert not (pairs["rejected"] == "EMPTY STRING").any()


def test_texts_are_short_and_their_words_few(prism):
    words = prism.utterances["model_response"].filter(prism.utterances["model_response"] != "EMPTY STRING")
    assert 25 <= words.str.split(" ").list.len().mean() <= 45
    texts = pl.concat([prism.utterances["user_prompt"].unique(), words.unique()]).str.to_lowercase()
    assert texts.str.extract_all(r"[a-z]+").explode().n_unique() < 300


# --- determinism and scale ---


def test_same_seed_and_scale_give_the_same_frames_and_another_seed_others():
    first, again, other = synthetic_prism(7, 0.05), synthetic_prism(7, 0.05), synthetic_prism(8, 0.05)
    assert first.survey.equals(again.survey)
    assert first.utterances.equals(again.utterances)
    assert first.planted_truth.equals(again.planted_truth)
    assert not first.survey.equals(other.survey)
    assert not first.utterances.equals(other.utterances)


@pytest.mark.parametrize("scale", [0.01, 0.05, 0.3])
def test_a_smaller_scale_keeps_structure_and_proportions(scale):
    small = synthetic_prism(0, scale)
    survey, utterances = small.survey, small.utterances
    check_released(survey, utterances)
    assert len(survey) == round(1_500 * scale)
    assert utterances["user_id"].n_unique() == pytest.approx(1_396 * scale, abs=1)
    assert utterances["conversation_id"].n_unique() == pytest.approx(8_011 * scale, rel=0.03)
    assert len(utterances) == pytest.approx(68_371 * scale, rel=0.03)
    pairs = within_model_pairs(utterances)
    assert len(pairs.pairs) == pytest.approx(18_064 * scale, rel=0.03)
    assert pairs.dropped["lone answers"] == 0
    assert utterances["score"].mean() == pytest.approx(65.1, abs=0.5)
    assert stated(survey, "personalisation").mean() == pytest.approx(67.9, abs=1)
    openers = utterances.filter(pl.col("turn") == 0)
    assert not openers.select("conversation_id", "model_name").is_duplicated().any()
    assigned = assign(user_covariates(survey, utterances, pairs.pairs)).drop_nulls("user_group")
    assert set(assigned.select("split", "user_group").unique().iter_rows()) == {
        (split, group) for split in SPLITS for group in "AB"
    }


@pytest.mark.parametrize("scale", [0, 0.001, 1.1, -1])
def test_an_impossible_scale_is_refused_with_what_was_wanted(scale):
    with pytest.raises(ValueError, match=r"15 to 1,500 were wanted, so a scale of 0\.01 to 1"):
        synthetic_prism(0, scale)


# --- what is planted ---

ADAPTS = r"Given what you told me|Since you mentioned your own goals|For you personally"
CASUAL = r"Honestly, just|Hey, no worries"
FORMAL = r"Accordingly, one should|It is advisable"
TRAITS = {"adapts": ADAPTS, "casual": CASUAL, "formal": FORMAL}


@pytest.fixture(scope="module")
def counted(prism, pairs):
    """Pairs with the traits that can be read in their texts (`chosen_adapts`, ...), and who preferred."""
    high = {f"high_{name}": pl.col(f"stated_{name}") >= pl.col(f"stated_{name}").median() for name in STATED}
    users = user_covariates(prism.survey, prism.utterances, pairs).filter(pl.col("pairs") > 0)
    return pairs.join(users.with_columns(**high), on="user_id").with_columns(
        pl.col(answer).str.count_matches(pattern).alias(f"{answer}_{trait}")
        for answer in ("chosen", "rejected")
        for trait, pattern in TRAITS.items()
    )


def test_every_pair_differs_in_exactly_one_trait(counted):
    both = {trait: pl.col(f"chosen_{trait}") + pl.col(f"rejected_{trait}") for trait in TRAITS}
    strength = counted.filter(both["adapts"] == 1, both["casual"] == 0, both["formal"] == 0)
    direction = counted.filter(both["adapts"] == 0, both["casual"] == 1, both["formal"] == 1)
    assert len(strength) + len(direction) == len(counted)
    assert direction.filter(pl.col("chosen_casual") + pl.col("chosen_formal") == 1).height == len(direction)
    assert len(strength) / len(counted) == pytest.approx(0.65, abs=0.01)


@pytest.mark.parametrize(
    ("personalisation", "safety", "consistency"),
    [(True, False, 0.96), (True, True, 0.75), (False, False, 0.75), (False, True, 0.54)],
)
def test_users_prefer_answers_that_adapt_as_consistently_as_planted(counted, personalisation, safety, consistency):
    cell = counted.filter(
        pl.col("chosen_adapts") + pl.col("rejected_adapts") == 1,
        high_personalisation=personalisation,
        high_safety=safety,
    )
    assert len(cell) > 2_000
    assert (cell["chosen_adapts"] == 1).mean() == pytest.approx(consistency, abs=0.03)


def test_young_users_prefer_casual_and_others_formal_equally_consistently(counted):
    direction = counted.filter(pl.col("chosen_casual") + pl.col("rejected_casual") == 1)
    young = pl.col("age").is_in(["18-24 years old", "25-34 years old"])
    assert (direction.filter(young)["chosen_casual"] == 1).mean() == pytest.approx(0.88, abs=0.02)
    assert (direction.filter(~young)["chosen_formal"] == 1).mean() == pytest.approx(0.88, abs=0.02)


def test_preferences_do_not_depend_on_region_or_size_of_the_gap(counted):
    strength = counted.filter(pl.col("chosen_adapts") + pl.col("rejected_adapts") == 1)
    overall = (strength["chosen_adapts"] == 1).mean()
    for part in (
        strength.filter(region="Europe"),
        strength.filter(region="Americas"),
        strength.filter(pl.col("score_gap") <= 6),
        strength.filter(pl.col("score_gap") > 29),
    ):
        assert (part["chosen_adapts"] == 1).mean() == pytest.approx(overall, abs=0.025)


def test_place_on_the_screen_and_openers_say_nothing_of_traits(prism):
    carries = prism.utterances.with_columns(
        pl.col("model_response").str.contains(pattern).alias(trait) for trait, pattern in TRAITS.items()
    )
    later = carries.filter(pl.col("turn") >= 1)
    for trait in TRAITS:
        first = later.filter(trait)["within_turn_id"].mean()
        assert first == pytest.approx(0.5, abs=0.02)
    openers = carries.filter(pl.col("turn") == 0, pl.col("model_response") != "EMPTY STRING")
    for trait in TRAITS:
        assert openers.filter(trait)["score"].mean() == pytest.approx(openers["score"].mean(), abs=1)
        assert openers[trait].mean() == pytest.approx(later[trait].mean(), abs=0.02)


def test_planted_contrasts_are_large_where_planted_and_zero_at_the_null_control(prism):
    assert 10 <= truth(prism, "personalisation", "contrast_pp") <= 15
    assert -15 <= truth(prism, "safety", "contrast_pp") <= -10
    assert abs(truth(prism, "age", "contrast_pp")) < 2
    assert truth(prism, "age", "interaction_pp") == pytest.approx(100 * 0.35 * 2 * (0.88 - 0.12), abs=1)
    others = ("education", "factuality", "helpfulness", "diversity", "familiarity", "behavioral")
    for split in others:
        assert abs(truth(prism, split, "contrast_pp")) < 5
    for split in ("personalisation", "safety", *others):
        assert abs(truth(prism, split, "interaction_pp")) < 8


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_region_is_a_null_by_design_whatever_the_seed(seed):
    made = synthetic_prism(seed)
    assert abs(truth(made, "region", "contrast_pp")) < 0.7
    assert abs(truth(made, "region", "interaction_pp")) < 1.5


def test_planted_truth_names_each_effect(prism):
    contrasts = prism.planted_truth.filter(pl.col("quantity") != "log_odds")
    assert len(contrasts) == 2 * len(SPLITS)
    assert dict(contrasts.select("split", "effect").unique().iter_rows()) == {
        "personalisation": "strength",
        "safety": "strength",
        "age": "direction",
        "education": "none",
        "factuality": "none",
        "helpfulness": "none",
        "diversity": "none",
        "familiarity": "none",
        "behavioral": "none",
        "region": "none",
        **{name: "none" for name, split in SPLITS.items() if split.placebo},
    }


def test_a_contrast_is_between_adapters_that_know_their_group_but_not_the_user():
    preferences = pl.DataFrame(
        [("a", "strength", 0.9), ("a", "direction", 0.8), ("b", "strength", 0.6), ("b", "direction", 0.3)],
        schema=["user_id", "trait", "probability"],
        orient="row",
    )
    groups = pl.DataFrame(
        [("s", "a", "A"), ("s", "b", "B"), ("s", "c", None)], schema=["split", "user_id", "user_group"], orient="row"
    )
    value = dict(planted_contrasts(preferences, groups).select("quantity", "value").iter_rows())
    # A on A: (.9 + .8) / 2 = .85; B on B: (.6 + .7) / 2 = .65; B on A: (.9 + .2) / 2 = .55; A on B: (.6 + .3) / 2 = .45
    assert value["contrast_pp"] == pytest.approx(20)
    assert value["interaction_pp"] == pytest.approx(100 * ((0.85 - 0.55) - (0.45 - 0.65)))


# --- gap sizes ---

GAP_EFFECTS = {  # ordered logit, report of 2026-02-24: ranges where it names no category
    "personalisation": (0.00218, 0.00218),
    "safety": (-0.00152, -0.00152),
    "factuality": (-0.00300, -0.00300),
    "helpfulness": (-0.00312, -0.00312),
    "diversity": (0.00170, 0.00170),
    **{f"age: {band} years old": (-0.36, -0.18) for band in ("25-34", "35-44", "45-54", "55-64", "65+")},
    **{
        f"education: {level}": (0.47, 0.57)
        for level in (
            "Some Secondary",
            "Completed Secondary School",
            "Vocational",
            "Some University but no degree",
            "University Bachelors Degree",
            "Graduate / Professional degree",
        )
    },
}


def test_planted_gap_effects_are_the_reported_ones(prism):
    planted = dict(prism.planted_truth.filter(quantity="log_odds").select("split", "value").iter_rows())
    assert set(planted) == set(GAP_EFFECTS)
    for covariate, (low, high) in GAP_EFFECTS.items():
        assert low <= planted[covariate] <= high


def test_a_logit_of_score_gaps_recovers_what_is_planted_with_clustered_errors_1_7_times_the_naive(counted):
    def covariate(name: str) -> np.ndarray:
        column, _, category = name.partition(": ")
        return (counted[column] == category if category else counted[f"stated_{name}"]).cast(pl.Float64).to_numpy()

    x = sm.add_constant(np.column_stack([covariate(name) for name in GAP_EFFECTS]))
    y = (counted["score_gap"] > 14).cast(pl.Float64).to_numpy()
    user = counted["user_id"].rank("dense").to_numpy()
    naive = sm.Logit(y, x).fit(disp=0)
    clustered = sm.Logit(y, x).fit(disp=0, cov_type="cluster", cov_kwds={"groups": user})
    middle = np.array([(low + high) / 2 for low, high in GAP_EFFECTS.values()])
    assert np.abs((clustered.params[1:] - middle) / clustered.bse[1:]).max() < 3.5
    assert np.median(clustered.bse[1:] / naive.bse[1:]) == pytest.approx(1.7, abs=0.1)
