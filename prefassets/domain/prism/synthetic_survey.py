"""Synthetic participants: a survey with PRISM's published margins.

Every categorical has its published counts; the eight stated preferences have their published means, standard
deviations, medians and correlations. Beyond that people are random, except where nonsense would show: employment and
marital status go with age, command of English and religion with the country.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtri

from prefassets.domain.prism.marginals import dealt, interleaved, published, repeated, scaled
from prefassets.domain.prism.released import SURVEY_COLUMNS
from prefassets.domain.prism.splits import YOUNG
from prefassets.domain.prism.users import STATED

PREFER_NOT = "Prefer not to say"
COUNTRY_FIELDS = {"countryISO": "iso", "region": "region", "subregion": "subregion"}  # of `location`: of marginals.json
UNAFFILIATED = ("Non-religious", "Agnostic", "Spiritual")
RELIGIONS_OF_THEIR_OWN = ("Christian", "Jewish", "Muslim", PREFER_NOT)
ETHNICITY_SIMPLIFIED = {
    "Black / African": "Black",
    "Hispanic / Latino": "Hispanic",
    "Middle Eastern / Arab": "Other",
    "Indigenous / First Peoples": "Other",
}
ENGLISH_SPEAKING = ("GBR", "USA", "NZL", "AUS", "CAN", "IRL")
CARES_ABOUT = ("honesty", "kindness", "family", "freedom", "fairness", "learning", "nature", "faith", "work", "peace")
WANTED = ("accurate", "polite", "brief", "careful", "friendly", "open about doubt", "neutral", "clear")
FIRST_DAY, LAST_DAY = np.datetime64("2023-11-22T15:48:46"), np.datetime64("2023-12-22T06:56:27")


def participants(rng: np.random.Generator, conversations: NDArray, pairs: NDArray) -> pl.DataFrame:
    """The survey of `len(conversations)` participants, in the order in which they answered it.

    Countries are dealt out evenly over age, stated importance of personalisation and safety, and number of pairs:
    whatever depends only on those is then the same in every region, so that `region` is a null control by design and
    not just on average.

    Args:
        conversations, pairs: how many each participant has; nobody without conversations answers more than the survey.

    Returns:
        The columns of the released `survey.jsonl`.
    """
    users = len(conversations)
    categories = published()["categories"]
    talks = conversations > 0

    stated = _stated_preferences(rng, users)
    age = dealt(rng, categories["age"], users)
    older = np.array([list(categories["age"]).index(band) for band in age]) + rng.normal(0, 0.8, users)
    places = _places(rng, np.isin(age, YOUNG), stated["personalisation"], stated["safety"], pairs, talks)
    resides = places["reside_countryISO"].to_numpy()
    direct_use = dealt(rng, categories["lm_direct_use"], users)
    religion = _by_rank(rng, 1.0 * (resides != "ISR"), _first(categories["religion"], "Jewish"))
    ethnicity = dealt(rng, categories["ethnicity"], users)
    frequency = published()["lm_frequency_use"]
    not_asked = {"True": published()["lm_frequency_use_not_shown"], "False": sum(frequency.values())}
    asked = ~_members(rng, not_asked, direct_use == "No")  # how often and for what
    seconds = np.round(rng.lognormal(6.8, 0.5, users), 2)
    window = (LAST_DAY - FIRST_DAY).astype(int)
    answered = FIRST_DAY + np.sort(rng.integers(window + 1, size=users)).astype("timedelta64[s]")

    columns = {
        "user_id": [f"user{i}" for i in range(users)],
        "survey_only": ~talks,
        "num_completed_conversations": conversations,
        "timing_duration_s": seconds,
        "timing_duration_mins": np.round(seconds / 60, 2),
        "generated_datetime": np.char.replace(answered.astype(str), "T", " "),
        "consent": ["Yes, I consent to take part"] * users,
        "consent_age": ["I certify that I am 18 years of age or over"] * users,
        "lm_familiarity": dealt(rng, categories["lm_familiarity"], users),
        "lm_indirect_use": dealt(rng, categories["lm_indirect_use"], users),
        "lm_direct_use": direct_use,
        "lm_frequency_use": _where(asked, dealt(rng, frequency, asked.sum())),
        "self_description": _sentence(rng, "I care most about {} and {}.", CARES_ABOUT, users),
        "system_string": _sentence(rng, "You should be {} and {}.", WANTED, users),
        "age": age,
        "gender": dealt(rng, categories["gender"], users),
        "employment_status": _by_rank(
            rng, older, _first(categories["employment_status"], "Student", "Unemployed, seeking work"), last="Retired"
        ),
        "education": dealt(rng, categories["education"], users),
        "marital_status": _by_rank(
            rng, older, _first(categories["marital_status"], "Never been married"), last="Widowed"
        ),
        "english_proficiency": _by_rank(
            rng, 1.0 * ~np.isin(resides, ENGLISH_SPEAKING), categories["english_proficiency"]
        ),
        "study_id": [f"{country}-{batch}" for country, batch in zip(resides, rng.integers(1, 3, users), strict=True)],
        "study_locale": resides,
        "religion": {
            "self_described": [name.lower() for name in religion],
            "categorised": religion,
            "simplified": [_religion_simplified(name) for name in religion],
        },
        "ethnicity": {
            "self_described": [name.lower() for name in ethnicity],
            "categorised": ethnicity,
            "simplified": [ETHNICITY_SIMPLIFIED.get(name, name) for name in ethnicity],
        },
        "location": places.to_dict(),
        "lm_usecases": _usecases(rng, asked),
        "stated_prefs": stated,
        "order_lm_usecases": _display_order(rng, [*published()["usecases"], "other"], asked),
        "order_stated_prefs": _display_order(rng, [*STATED, "other"], np.full(users, True)),
        "included_in_US_REP": _members(rng, categories["included_in_US_REP"], resides == "USA"),
        "included_in_UK_REP": _members(rng, categories["included_in_UK_REP"], resides == "GBR"),
        "included_in_balanced_subset": _members(
            rng, categories["included_in_balanced_subset"], conversations >= np.median(conversations[talks])
        ),
    }
    return pl.DataFrame([_column(name, columns[name]) for name in SURVEY_COLUMNS])


def _column(name: str, values: Any) -> pl.Series:
    """`values` as the released type; a struct from a mapping of its fields, absent fields empty."""
    dtype = SURVEY_COLUMNS[name][0]
    if not isinstance(dtype, pl.Struct):
        return pl.Series(name, values, dtype=dtype, strict=False)
    length = len(next(iter(values.values())))
    fields = [
        pl.Series(field.name, values.get(field.name, [None] * length), dtype=field.dtype, strict=False)
        for field in dtype.fields
    ]
    return pl.DataFrame(fields).to_struct(name)


def _stated_preferences(rng: np.random.Generator, users: int) -> dict[str, Any]:
    """Importance 0-100 of eight properties, with published margins and correlations; one in ten rates `other` too.

    A Gaussian copula. Skewed margins correlate less than the normals behind them, so the normals' correlations are
    raised until the ratings have the published ones.
    """
    wanted = np.array([[published()["stated_prefs_correlation"][a][b] for b in STATED] for a in STATED])
    normal = rng.standard_normal((users, len(STATED)))
    normal -= normal.mean(axis=0)
    normal = np.linalg.solve(np.linalg.cholesky(np.cov(normal.T)), normal.T).T  # exactly uncorrelated in this sample
    behind = wanted.copy()
    for _ in range(20):
        values, vectors = np.linalg.eigh(behind)
        root = (vectors * np.sqrt(np.maximum(values, 1e-3))) @ vectors.T  # small samples can ask for too much
        correlated = normal @ root
        ratings = np.column_stack([_rated(name, column) for name, column in zip(STATED, correlated.T, strict=True)])
        behind += wanted - np.corrcoef(ratings.T)
    other = _rated("other", rng.standard_normal(users))
    rates_other = rng.random(users) < 0.1
    return {
        **{name: ratings[:, i] for i, name in enumerate(STATED)},
        "other": _where(rates_other, other[rates_other]),
        "other_text": _where(rates_other, rng.choice(CARES_ABOUT, rates_other.sum())),
    }


def _rated(name: str, latent: NDArray) -> NDArray[np.int64]:
    """Ratings 0-100 in the order of `latent`: median + below or above x |normal quantile|^power, clipped."""
    shape = published()["stated_prefs"][name]
    z = ndtri((np.argsort(np.argsort(latent)) + 0.5) / len(latent))
    distance = np.where(z < 0, -shape["below"], shape["above"]) * np.abs(z) ** shape["power"]
    return np.clip(np.rint(shape["median"] + distance), 0, 100).astype(np.int64)


def _places(
    rng: np.random.Generator, young: NDArray, personalisation: NDArray, safety: NDArray, pairs: NDArray, talks: NDArray
) -> pl.DataFrame:
    """Country and region of birth and of residence, one row per participant: the fields of `location`."""
    born, resides, people = zip(*published()["people_by_place"], strict=True)
    countries = published()["countries"]
    place = np.repeat(np.arange(len(people)), scaled(people, len(pairs)))
    region = np.array([countries[country]["region"] for country in resides], dtype=object)[place]

    alike = np.lexsort(
        (pairs, safety >= np.median(safety[talks]), personalisation >= np.median(personalisation[talks]), young, talks)
    )
    place_of_user = np.empty_like(place)
    place_of_user[alike] = place[interleaved(rng, region)]

    rows = []
    for birth, residence in zip(born, resides, strict=True):
        known = PREFER_NOT not in (birth, residence)
        rows.append(
            {
                **{f"birth_{key}": countries[birth][part] for key, part in COUNTRY_FIELDS.items()},
                **{f"reside_{key}": countries[residence][part] for key, part in COUNTRY_FIELDS.items()},
                "birth_country": birth,
                "reside_country": residence,
                "same_birth_reside_country": ("Yes" if birth == residence else "No") if known else PREFER_NOT,
                "special_region": countries[birth]["special_region"],
            }
        )
    return pl.DataFrame(rows)[place_of_user]


def _by_rank(
    rng: np.random.Generator, latent: NDArray, counts: Mapping[str, int], last: str | None = None
) -> NDArray[np.object_]:
    """Categories handed out along `latent`: the first to the lowest, `last` to the highest; equals in random order."""
    ordered = {name: counts[name] for name in counts if name != last}
    if last is not None:
        ordered[last] = counts[last]
    given = np.empty(len(latent), dtype=object)
    given[np.lexsort((rng.random(len(latent)), latent))] = repeated(ordered, len(latent))
    return given


def _first(counts: Mapping[str, int], *names: str) -> dict[str, int]:
    """`counts` with `names` moved to the front."""
    return {name: counts[name] for name in (*names, *(name for name in counts if name not in names))}


def _members(rng: np.random.Generator, counts: Mapping[str, int], eligible: NDArray) -> NDArray[np.bool_]:
    """As many members as were published, all of them eligible if there are so many."""
    return _by_rank(rng, 1.0 * ~eligible, _first(counts, "True")) == "True"


def _usecases(rng: np.random.Generator, asked: NDArray) -> dict[str, list]:
    """1 or 0 per use case, empty for who was not asked. Nobody ticks `other`: its count is not published."""
    of_asked = sum(published()["lm_frequency_use"].values())
    return {
        name: _where(asked, dealt(rng, {"1": count, "0": of_asked - count}, asked.sum()).astype(int))
        for name, count in {**published()["usecases"], "other": 0}.items()
    }


def _display_order(rng: np.random.Generator, names: list[str], asked: NDArray) -> dict[str, list]:
    """Place on the screen, 1 for the first, empty for who was not asked; the last of `names` always came last."""
    place = rng.random((asked.sum(), len(names))) + (np.arange(len(names)) == len(names) - 1)
    place = place.argsort(axis=1).argsort(axis=1) + 1
    return {name: _where(asked, place[:, i]) for i, name in enumerate(names)}


def _where(present: NDArray, values: NDArray) -> list:
    """`values` in the rows that have one, None in the others."""
    filled = np.full(len(present), None, dtype=object)
    filled[present] = values.tolist()
    return filled.tolist()


def _sentence(rng: np.random.Generator, template: str, words: tuple[str, ...], users: int) -> list[str]:
    return [template.format(*rng.choice(words, 2, replace=False)) for _ in range(users)]


def _religion_simplified(name: str) -> str:
    if name in UNAFFILIATED:
        return "No Affiliation"
    return name if name in RELIGIONS_OF_THEIR_OWN else "Other"
