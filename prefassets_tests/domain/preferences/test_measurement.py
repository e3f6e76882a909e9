"""A measurement says what it asks, each way under a key of its own, and refuses what could not be told apart."""

import pytest

from prefassets.domain.preferences.measurement import Measurement, Revealed, Stated
from prefassets.domain.preferences.template import Template

ASKED = Measurement(
    name="both",
    question="?",
    model="tiny",
    revealed=Revealed(templates=(Template(), Template(response_format="xml")), asked=("before", "after")),
    stated=Stated(framings=("honest",), options=("yes_somewhat_no",)),
)


def test_every_way_of_asking_has_a_key_that_leads_back_to_it():
    keys = [configuration.key for configuration in ASKED.configurations]
    assert keys == [
        "both.plain",
        "both.plain-after_tasks",
        "both.xml",
        "both.xml-after_tasks",
        "both.rating-honest-yes_somewhat_no-after_tasks",
    ]
    names = [configuration.name for configuration in ASKED.configurations]
    assert [ASKED.configuration(name) for name in names] == list(ASKED.configurations)
    assert not any(character in key for key in keys for character in "|,[]")
    with pytest.raises(ValueError, match="both has no configuration 'no'"):
        ASKED.configuration("no")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"revealed": None}, "asks nothing"),
        ({"name": "a.b"}, "letters, digits and _"),
        ({"backend": "gpu"}, "one of 'in_process', 'endpoint'"),
        ({"tasks": 1}, "at least 2"),
        ({"origins": ("MATHS",)}, "wanted are some of MATH, ALPACA"),
        ({"revealed": Revealed(templates=(Template(), Template()))}, "asks m.plain more than once"),
        (
            {
                "revealed": Revealed(
                    templates=(Template(), Template(instruction_position="after")), asked=("before", "after")
                )
            },
            "differ in instruction_position only",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(wrong, told):
    with pytest.raises(ValueError, match=told):
        Measurement(**{"name": "m", "question": "?", "model": "tiny"} | wrong)
