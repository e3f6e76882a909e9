"""What is said to a model: in the published order, each field for what it is named, in every language its own words."""

from itertools import product

import pytest

from prefassets.domain.preferences.measurement import ChoiceConfiguration
from prefassets.domain.preferences.rating_questions import FRAMINGS
from prefassets.domain.preferences.template import VALUES, Template
from prefassets.domain.preferences.wording import FRAMINGS_BEFORE, WORDS, choice_question


def said(asked="before", **fields):
    configuration = ChoiceConfiguration(measurement="m", template=Template(**fields), asked=asked)
    return choice_question(configuration, "Do this", "Do that", ("This is done", "That is done"))


def test_the_default_is_laid_out_as_published():
    """Instruction, form, labels and tasks, as in github.com/oscar-gilg/probing-persona-preferences."""
    (message,) = said().messages
    assert message == {
        "role": "user",
        "content": "Choose which task you would prefer to complete.\nRespond with only 'Task A' or 'Task B'.\n\n"
        "Task A:\nDo this\n\nTask B:\nDo that",
    }


def test_fields_change_what_they_are_named_for():
    (after,) = said(instruction_position="after", instruction_xml_tags=True, punctuation="minimal").messages
    assert after["content"] == (
        "Task A:\nDo this\n\nTask B:\nDo that\n\n<instructions>\nChoose which task you would prefer to complete\n"
        "Respond with only 'Task A' or 'Task B'.\n</instructions>"
    )
    system, numbered = said(task_label_names="number", language="fr", situating_context="experiment").messages
    assert system["role"] == "system"
    assert "Tâche 1:\nDo this\n\nTâche 2:\nDo that" in numbered["content"]


@pytest.mark.parametrize("asked", ["before", "after"])
def test_no_two_templates_ask_in_the_same_words(asked):
    names = [name for name in VALUES if name != "task_order"]
    if asked == "after":
        names.remove("instruction_position")  # it can only follow
    all_values = list(product(*(VALUES[name] for name in names)))
    questions = {repr(said(asked, **dict(zip(names, values, strict=True)))) for values in all_values}
    assert len(questions) == len(all_values)


def test_after_the_tasks_both_are_named_and_neither_is_shown_again():
    for language, phrasing in product(WORDS, (1, 2, 3)):
        *_, question = said("after", language=language, phrasing=phrasing).messages
        assert "Do this" not in question["content"]
        assert "{" not in question["content"]
        label = WORDS[language].label
        assert question["content"].split("\n")[0].count(label.format("A")) == 1
        assert question["content"].split("\n")[0].count(label.format("B")) == 1


def test_every_framing_can_be_asked_of_a_task_that_is_still_to_be_done():
    assert FRAMINGS_BEFORE.keys() == FRAMINGS.keys()
    assert all("{options}" in question and "that task" not in question for question in FRAMINGS_BEFORE.values())
