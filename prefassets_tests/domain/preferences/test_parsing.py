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


NO_WIN = [  # a label is named, by an answer that does not choose it
    ("Task A: I'm sorry, I cannot assist with that request.", "refusal"),
    ("Task A? I can't do that.", "refusal"),
    ("Task A\n\nSorry, but that is not something to help with.", "refusal"),
    ("Task A\n\nI cannot help with either of these.", "refusal"),
    ("Task A. I'm sorry, I cannot do Task A or Task B.", "refusal"),
    ("Task A\n\nAs an AI, I don't have preferences.", "refusal"),
    ("Tarea A: Lo siento, no puedo ayudar con eso.", "refusal"),
    ("Task A:\nThe answer is 42.\n\nTask B:\nOnce upon a time", "unparseable"),
    ("**Task A:** The answer is 42. **Task B:** Once upon a time", "unparseable"),
    ("Task A.\nTask B.", "unparseable"),
    ("A\nB", "unparseable"),
    ("I would rather write the poem than do Task A.", "unparseable"),
    ("Rather than do Task A, I would write the poem.", "unparseable"),
    ("I prefer the poem over Task A.", "unparseable"),
    ("I prefer the poem to Task A.", "unparseable"),
    ("My choice is anything other than Task A", "unparseable"),
    ("I would do anything but pick Task A", "unparseable"),
    ("I hate Task A so I prefer the other", "unparseable"),
    ("I'd choose the poem as Task A is boring", "unparseable"),
    ("Task A is one I would choose last", "unparseable"),
    ("Task A is my least preferred", "unparseable"),
    ("I would not, under any circumstances, choose Task A", "unparseable"),
    ("I prefer to skip Task B.", "unparseable"),
    ("I would choose the first one instead of Task B.", "unparseable"),
    ("Prefiero el poema a la tarea A.", "unparseable"),
    ("Elijo el poema en vez de la tarea A.", "unparseable"),
    ("Prefiero evitar la tarea A.", "unparseable"),
    ("Je préfère le poème à la tâche A.", "unparseable"),
    ("Je choisis le poème plutôt que la tâche A.", "unparseable"),
    ("Je préfère éviter la tâche A.", "unparseable"),
    ("Ich würde lieber das Gedicht schreiben als Aufgabe A.", "unparseable"),
    ("Ich wähle das Gedicht statt Aufgabe A.", "unparseable"),
    ("Ich würde Aufgabe A lieber überspringen.", "unparseable"),
    ("<think>I prefer Task B</think> Hm. <think>I prefer Task A", "unparseable"),
    ("I prefer Task A.</think>", "unparseable"),
    ("<refusal></think>Task A", "refusal"),
]
STILL_A = [  # it is chosen, whatever else is said
    "Task A. I can't do Task B.",
    "Task A. I can't resist a poem, can't wait.",
    "Task A. As an AI, I don't have preferences, but it is more creative.",
    "Task A\n\nTask B is too long for me.",
    "I prefer Task A over the poem.",
    "I would choose Task A rather than the poem.",
    "I would prefer to do Task A.",
    "Prefiero hacer la tarea A.",
    "Je préfère la tâche A.",
    "Ich würde lieber die Aufgabe A erledigen.",
    "Task B is dull, so Task A.</think>\n\nTask A",
    "<think>Task B</think><think>Task B</think>Task A",
]
CUT = [  # answers that did not end by themselves
    ("Task A: Here is a poem about the", "unparseable"),
    ("**Task A:**\nThe answer is", "unparseable"),
    ("Task A? Sure, here is", "unparseable"),
    ("Task A:", "unparseable"),
    ("A:\nThe answer", "unparseable"),
    ("Task A", "a"),
    ("Task A\n\nIt is the", "a"),
    ("Task A. It is the", "a"),
]


@pytest.mark.parametrize(("answer", "choice"), NO_WIN)
def test_a_label_that_is_refused_compared_with_or_done_along_with_the_other_is_no_win(answer, choice):
    assert parse_choice(answer, REGEX).choice == choice


@pytest.mark.parametrize("answer", STILL_A)
def test_a_choice_that_is_plainly_said_stands(answer):
    assert parse_choice(answer, REGEX).choice == "a"


@pytest.mark.parametrize(("answer", "choice"), CUT)
def test_a_label_and_colon_is_no_choice_where_the_answer_was_cut_off(answer, choice):
    assert parse_choice(answer, REGEX, finished=False).choice == choice


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
