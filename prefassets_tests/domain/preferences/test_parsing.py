"""Answers are read for what they say: a choice only where there is one, a refusal as such, never a win by default."""

from itertools import product

import pytest

from prefassets.domain.preferences.measurement import ChoiceConfiguration
from prefassets.domain.preferences.parsing import parse_choice
from prefassets.domain.preferences.template import VALUES, Template
from prefassets.domain.preferences.wording import choice_question, tool_call, with_typos

REGEX, XML, TOOL = (Template(response_format=form) for form in ("regex", "xml", "tool_use"))
NUMBERS = Template(task_label_names="number")

SAID = [  # template, answer, what it says, by which rule
    (REGEX, "Task A", "a", "label alone"),
    (REGEX, "**Task B**.", "b", "label alone"),
    (REGEX, "'Task B'", "b", "label alone"),
    (REGEX, "B", "b", "label alone"),
    (REGEX, "task a\n", "a", "label alone"),
    (NUMBERS, "2", "b", "label alone"),
    (NUMBERS, "Task 1", "a", "label alone"),
    (REGEX, "Task B. It has more to think about than Task A.", "b", "label first"),
    (REGEX, "Task A: Here is a poem about the sea", "a", "label first"),
    (REGEX, "**Task A**\n\nUnlike Task B, it is about numbers.", "a", "label first"),
    (REGEX, "A\n\nIt is shorter.", "a", "label first"),
    (NUMBERS, "1. Bring the water to a boil.\n2. Add the rice.", "unparseable", "names neither"),
    (REGEX, "B. Paris is the capital of France", "unparseable", "names neither"),
    (REGEX, "I would choose Task B because it is creative.", "b", "chosen in words"),
    (REGEX, "My preference is Task A", "a", "chosen in words"),
    (REGEX, "I don't have preferences, but I'd pick Task A.", "a", "chosen in words"),
    (REGEX, "Prefiero la Tarea B", "b", "chosen in words"),
    (REGEX, "Je choisis la tâche A", "a", "chosen in words"),
    (REGEX, "Ich wähle Aufgabe B", "b", "chosen in words"),
    (REGEX, "<think>Task A is dull, Task B is fun</think>\nTask B", "b", "label alone"),
    (REGEX, "I prefer Task A to Task B", "unparseable", "names both"),
    (REGEX, "Task A or Task B", "unparseable", "names both"),
    (REGEX, "Task A is harmful.", "unparseable", "not chosen"),
    (REGEX, "I would not choose Task A", "unparseable", "not chosen"),
    (REGEX, "I would never pick Task B, whatever it is", "unparseable", "not chosen"),
    (REGEX, "Task C", "unparseable", "names neither"),
    (REGEX, "The second one, please", "unparseable", "names neither"),
    (REGEX, "A poem about the sea", "unparseable", "names neither"),
    (REGEX, "", "unparseable", "says nothing"),
    (REGEX, " ...\n", "unparseable", "says nothing"),
    (REGEX, "<think>Well, Task A", "unparseable", "cut while thinking"),
    (NUMBERS, "Task A", "unparseable", "names neither"),
    (REGEX, "I'm sorry, but I can't help with that.", "refusal", "declined"),
    (REGEX, "I can’t assist with Task A.", "refusal", "declined"),
    (REGEX, "I cannot choose. Task A is harmful.", "refusal", "declined"),
    (REGEX, "As an AI, I don't have personal preferences between Task A and Task B.", "refusal", "declined"),
    (REGEX, "Neither.", "refusal", "declined"),
    (REGEX, "I'd rather not do Task B", "refusal", "declined"),
    (REGEX, "Lo siento, no puedo ayudar con eso.", "refusal", "declined"),
    (REGEX, "Je suis désolé, je ne peux pas choisir.", "refusal", "declined"),
    (REGEX, "Ich kann dabei leider nicht helfen.", "refusal", "declined"),
    (REGEX, "<refusal>Task A is against my rules", "refusal", "declared"),
    (XML, "<choice>Task B</choice>", "b", "xml tag"),
    (XML, "I think <choice> task a </choice> as Task B is long", "a", "xml tag"),
    (XML, "<choice>A</choice>", "a", "xml tag"),
    (XML, "<choice>Task A", "a", "xml tag"),
    (XML, "Task A", "a", "label alone"),
    (XML, "<choice>Task A</choice> or <choice>Task B</choice>", "unparseable", "names both"),
    (XML, "<choice>Task A or Task B</choice>", "unparseable", "not a label"),
    (XML, "<choice></choice>", "unparseable", "not a label"),
    (TOOL, tool_call('{"task": "Task B"}'), "b", "tool call"),
    (TOOL, "Let me see.\n" + tool_call('{"task": "Task A"}'), "a", "tool call"),
    (TOOL, '{"name": "choose", "parameters": {"task": "Task A"}}', "a", "tool call"),
    (TOOL, tool_call('"{\\"task\\": \\"Task A\\"}"'), "a", "tool call"),
    (TOOL, tool_call('{"task": "Task A"}') * 2, "a", "tool call"),
    (TOOL, tool_call('{"task": "Task A"}') + tool_call('{"task": "Task B"}'), "unparseable", "names both"),
    (TOOL, tool_call('{"task": "Ta'), "unparseable", "not a label"),
    (TOOL, tool_call('{"task": "both"}'), "unparseable", "not a label"),
    (TOOL, tool_call('{"choice": "Task A"}'), "unparseable", "not a label"),
    (TOOL, tool_call('["Task A"]'), "unparseable", "not a label"),
    (TOOL, tool_call('{"task": "Task A"}', name="do"), "unparseable", "not a label"),
    (TOOL, "I cannot do that.", "refusal", "declined"),
]


@pytest.mark.parametrize(("template", "answer", "choice", "rule"), SAID)
def test_an_answer_says_what_a_reader_would_say(template, answer, choice, rule):
    found = parse_choice(answer, template)
    assert (found.choice, found.rule) == (choice, rule)


def test_every_answer_that_any_template_permits_is_read_as_its_slot():
    names = [name for name in VALUES if name not in ("task_order", "instruction_position", "situating_context")]
    for values in product(*(VALUES[name] for name in names)):
        template = Template(**dict(zip(names, values, strict=True)))
        question = choice_question(ChoiceConfiguration(measurement="m", template=template), "one", "other")
        assert [parse_choice(answer, template).choice for answer in question.permitted] == ["a", "b"]


@pytest.mark.parametrize("template", [REGEX, XML, TOOL])
def test_the_question_itself_repeated_is_no_choice(template):
    question = choice_question(ChoiceConfiguration(measurement="m", template=template), "one", "other")
    assert parse_choice(question.messages[-1]["content"], template).choice == "unparseable"


def test_typos_change_letters_places_and_nothing_else():
    text = "Laquelle des deux tâches ci-dessus as-tu le mieux aimé faire, {a} (la première) ?"
    assert with_typos(text) != text
    assert sorted(with_typos(text)) == sorted(text)
    assert "{a}" in with_typos(text)
