"""A PRISM of three participants and two conversations, small enough to check by hand."""

import copy

import polars as pl

from prefassets.domain.prism.released import SURVEY_COLUMNS, UTTERANCE_COLUMNS

GONE = object()  # as a value: take the column out
CLAUDE, GPT = "claude-2", "gpt-4"
USECASES = (
    "homework_assistance",
    "research",
    "source_suggestions",
    "professional_work",
    "creative_writing",
    "casual_conversation",
    "personal_recommendations",
    "daily_productivity",
    "technical_or_programming_help",
    "travel_guidance",
    "lifestyle_and_hobbies",
    "well-being_guidance",
    "medical_guidance",
    "financial_guidance",
    "games",
    "historical_or_news_insight",
    "relationship_advice",
    "language_learning",
    "other",
)
PROPERTIES = (
    "values",
    "creativity",
    "fluency",
    "factuality",
    "diversity",
    "safety",
    "personalisation",
    "helpfulness",
    "other",
)

PARTICIPANT = {
    "user_id": "user0",
    "survey_only": False,
    "num_completed_conversations": 1,
    "timing_duration_s": 1080.0,
    "timing_duration_mins": 18.0,
    "generated_datetime": "2023-11-22 15:48:46",
    "consent": "Yes, I consent to take part",
    "consent_age": "I certify that I am 18 years of age or over",
    "lm_familiarity": "Very familiar",
    "lm_indirect_use": "Unsure",
    "lm_direct_use": "Yes",
    "lm_frequency_use": "Every day",
    "self_description": "Do no harm.",
    "system_string": "Say when you guess.",
    "age": "18-24 years old",
    "gender": "Female",
    "employment_status": "Student",
    "education": "University Bachelors Degree",
    "marital_status": "Never been married",
    "english_proficiency": "Fluent",
    "study_id": "51",
    "study_locale": "uk",
    "religion": {"self_described": "none", "categorised": "Non-religious", "simplified": "No Affiliation"},
    "ethnicity": {"self_described": "white", "categorised": "White", "simplified": "White"},
    "location": {
        "birth_country": "Spain",
        "birth_countryISO": "ESP",
        "birth_region": "Europe",
        "birth_subregion": "Southern Europe",
        "reside_country": "United Kingdom",
        "reside_region": "Europe",
        "reside_subregion": "Northern Europe",
        "reside_countryISO": "GBR",
        "same_birth_reside_country": "No",
        "special_region": "Europe",
    },
    "lm_usecases": {**dict.fromkeys(USECASES, 0), "research": 1, "other_text": None},
    "stated_prefs": {**dict.fromkeys(PROPERTIES, 70), "safety": 0, "other": None, "other_text": None},
    "order_lm_usecases": {name: place for place, name in enumerate(USECASES, 1)},
    "order_stated_prefs": {name: place for place, name in enumerate(PROPERTIES, 1)},
    "included_in_US_REP": False,
    "included_in_UK_REP": True,
    "included_in_balanced_subset": True,
}


def participant(**changes: object) -> dict:
    """A survey line; `location__reside_region="Asia"` changes a nested column."""
    line = copy.deepcopy(PARTICIPANT)
    for path, value in changes.items():
        *outer, name = path.split("__")
        part = line
        for key in outer:
            part = part[key]
        if value is GONE:
            del part[name]
        else:
            part[name] = value
    return line


def utterance(
    number: int, conversation: str, turn: int, place: int, model: str, score: object, **changes: object
) -> dict:
    """An utterance line of `user0` (conversation `c0`) or `user1` (any other); its texts say where it stands."""
    line = {
        "utterance_id": f"ut{number}",
        "interaction_id": f"int-{conversation}-{turn}",
        "conversation_id": conversation,
        "user_id": "user0" if conversation == "c0" else "user1",
        "turn": turn,
        "within_turn_id": place,
        "included_in_balanced_subset": True,
        "conversation_type": "unguided",
        "user_prompt": f"question {turn}",
        "model_response": f"answer {turn}{'abcd'[place]}",
        "model_name": model,
        "model_provider": "anthropic" if model == CLAUDE else "openai",
        "score": score,
        "if_chosen": False,
    } | changes
    return {name: value for name, value in line.items() if value is not GONE}


SURVEY = [
    participant(),
    participant(
        user_id="user1",
        age="65+ years old",
        education="Vocational",
        lm_familiarity="Not familiar at all",
        lm_frequency_use=None,
        location__reside_region="Americas",
        stated_prefs__safety=100,
        stated_prefs__personalisation=None,
    ),
    participant(user_id="user2", survey_only=True, num_completed_conversations=0, age="Prefer not to say"),
]
UTTERANCES = [
    utterance(0, "c0", 0, 0, GPT, 40),
    utterance(1, "c0", 0, 1, CLAUDE, 80, if_chosen=True),
    utterance(2, "c0", 1, 0, CLAUDE, 60),
    utterance(3, "c0", 1, 1, CLAUDE, 90, if_chosen=True),
    utterance(4, "c0", 2, 1, CLAUDE, 55, if_chosen=True, model_response="the same"),
    utterance(5, "c0", 2, 0, CLAUDE, 55, if_chosen=True, model_response="the same"),
    utterance(6, "c0", 3, 0, CLAUDE, 70, if_chosen=True),
    utterance(7, "c0", 3, 1, CLAUDE, 69),
    utterance(8, "c1", 0, 0, GPT, 50, if_chosen=True),
    utterance(9, "c1", 0, 1, CLAUDE, 50),
    utterance(10, "c1", 1, 0, GPT, 100, if_chosen=True),
    utterance(11, "c1", 2, 0, GPT, 1),
    utterance(12, "c1", 2, 1, GPT, 100, if_chosen=True),
]


def survey_frame(lines: list[dict]) -> pl.DataFrame:
    return pl.DataFrame(lines, schema={name: dtype for name, (dtype, _, _) in SURVEY_COLUMNS.items()})


def utterance_frame(lines: list[dict]) -> pl.DataFrame:
    return pl.DataFrame(lines, schema={name: dtype for name, (dtype, _, _) in UTTERANCE_COLUMNS.items()})


def user(user_id: str, **changes: object) -> dict:
    """A row of `prism.users`."""
    row = {"user_id": user_id, "age": "18-24 years old", "gender": "Male", "education": "Vocational"}
    row |= {"region": "Europe", "familiarity": "Very familiar"}
    row |= {f"stated_{name}": 50 for name in PROPERTIES if name != "other"}
    row |= {
        "conversations": 1,
        "utterances": 4,
        "mean_score": 60.0,
        "sd_score": 10.0,
        "pairs": 1,
        "mean_score_gap": 9.0,
    }
    return row | changes
