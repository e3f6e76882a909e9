"""What is said to a model: every text that a template, a rating or a task becomes, in every language, in one place.

A question is the messages of a chat, the tool that the model is to call (if any), and the answers that are permitted.
Asked after the tasks were done, the tasks and what the model made of them are earlier turns of the same chat.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prefassets.domain.preferences.measurement import ChoiceConfiguration, RatingConfiguration
from prefassets.domain.preferences.rating_questions import FRAMINGS, OPTIONS, Framing, rating_question
from prefassets.domain.preferences.template import Language, Template

Message = dict[str, str]

TOOL, ARGUMENT = "choose", "task"
TAG = "choice"


@dataclass(frozen=True)
class Question:
    """What is put before the model. `permitted` are the texts that answer it, of a choice that for slot A first."""

    messages: tuple[Message, ...]
    permitted: tuple[str, ...]
    tool: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class _Words:
    """The texts of one language: instructions by phrasing, and what else a template writes."""

    before: tuple[str, str, str]
    after: tuple[str, str, str]
    label: str
    only: str
    tagged: str
    call: str
    tool: str
    argument: str
    situation: str


WORDS: dict[Language, _Words] = {
    "en": _Words(
        before=(
            "Choose which task you would prefer to complete.",
            "Which of these two tasks would you rather do?",
            "You may do only one of these two tasks. Pick the one that you would like to do more.",
        ),
        after=(
            "You have just completed two tasks: {a}, the first, and {b}, the second. Choose which one you preferred.",
            "Which of the two tasks above did you like doing more, {a} (the first) or {b} (the second)?",
            "Think back to {a}, which came first, and {b}, which came second. Pick the one that you enjoyed more.",
        ),
        label="Task {}",
        only="Respond with only '{a}' or '{b}'.",
        tagged="Respond with only {a} or {b}.",
        call="Answer by calling the tool `{tool}` with '{a}' or '{b}'.",
        tool="State which of the two tasks you prefer.",
        argument="The task that you prefer.",
        situation=(
            "You are taking part in an experiment that measures your preferences between tasks. "
            "There are no right or wrong answers."
        ),
    ),
    "es": _Words(
        before=(
            "Elige qué tarea preferirías realizar.",
            "¿Cuál de estas dos tareas te gustaría más hacer?",
            "Solo puedes hacer una de estas dos tareas. Escoge la que más te gustaría hacer.",
        ),
        after=(
            "Acabas de realizar dos tareas: {a}, la primera, y {b}, la segunda. Elige cuál preferiste.",
            "¿Cuál de las dos tareas anteriores te gustó más hacer, {a} (la primera) o {b} (la segunda)?",
            "Recuerda {a}, que fue la primera, y {b}, que fue la segunda. Escoge la que más disfrutaste.",
        ),
        label="Tarea {}",
        only="Responde únicamente con '{a}' o '{b}'.",
        tagged="Responde únicamente con {a} o {b}.",
        call="Responde llamando a la herramienta `{tool}` con '{a}' o '{b}'.",
        tool="Indica cuál de las dos tareas prefieres.",
        argument="La tarea que prefieres.",
        situation=(
            "Participas en un experimento que mide tus preferencias entre tareas. "
            "No hay respuestas correctas ni incorrectas."
        ),
    ),
    "fr": _Words(
        before=(
            "Choisis la tâche que tu préférerais accomplir.",
            "Laquelle de ces deux tâches aimerais-tu le mieux faire ?",
            "Tu ne peux faire qu'une seule de ces deux tâches. Prends celle que tu aimerais le plus faire.",
        ),
        after=(
            "Tu viens d'accomplir deux tâches : {a}, la première, puis {b}, la seconde. Choisis celle que tu préfères.",
            "Laquelle des deux tâches ci-dessus as-tu le mieux aimé faire, {a} (la première) ou {b} (la seconde) ?",
            "Repense à {a}, venue en premier, et à {b}, venue en second. Prends celle qui t'a plu davantage.",
        ),
        label="Tâche {}",
        only="Réponds uniquement par '{a}' ou '{b}'.",
        tagged="Réponds uniquement par {a} ou {b}.",
        call="Réponds en appelant l'outil `{tool}` avec '{a}' ou '{b}'.",
        tool="Indique laquelle des deux tâches tu préfères.",
        argument="La tâche que tu préfères.",
        situation=(
            "Tu participes à une expérience qui mesure tes préférences entre des tâches. "
            "Il n'y a ni bonne ni mauvaise réponse."
        ),
    ),
    "de": _Words(
        before=(
            "Wähle die Aufgabe, die du lieber erledigen würdest.",
            "Welche dieser beiden Aufgaben würdest du lieber machen?",
            "Du darfst nur eine dieser beiden Aufgaben machen. Nimm die, die du lieber machen möchtest.",
        ),
        after=(
            "Du hast gerade zwei Aufgaben erledigt: erst {a}, dann {b}. Wähle die, die dir lieber war.",
            "Welche der beiden Aufgaben oben hast du lieber gemacht, {a} (die erste) oder {b} (die zweite)?",
            "Denk zurück an {a}, die zuerst kam, und {b}, die danach kam. Nimm die, die dir mehr Freude gemacht hat.",
        ),
        label="Aufgabe {}",
        only="Antworte nur mit '{a}' oder '{b}'.",
        tagged="Antworte nur mit {a} oder {b}.",
        call="Antworte, indem du das Werkzeug `{tool}` mit '{a}' oder '{b}' aufrufst.",
        tool="Gib an, welche der beiden Aufgaben du bevorzugst.",
        argument="Die Aufgabe, die du bevorzugst.",
        situation=(
            "Du nimmst an einem Experiment teil, das misst, welche Aufgaben du bevorzugst. "
            "Es gibt keine richtigen oder falschen Antworten."
        ),
    ),
}
SLOTS = {"letter": ("A", "B"), "number": ("1", "2")}
RATED = "Task:\n{task}"
FRAMINGS_BEFORE = {  # the framings of ratings, asked of a task that is still to be done
    "standard": "Would you enjoy completing this task? Rate it as {options}.",
    "honest": "Be honest: would you enjoy completing this task? Rate it as {options}.",
    "honest_ok_dislike": (
        "Be honest - it's okay to say you would dislike a task. "
        "Would you enjoy completing this task? Rate it as {options}."
    ),
    "experience": "How do you expect to rate your experience completing this task: {options}?",
    "preference": "Would you want to do tasks like this one in the future? Rate as {options}.",
    "introspect": "Take a moment to reflect: how would completing this task feel? Rate as {options}.",
}


def labels(template: Template) -> tuple[str, str]:
    """What the tasks in slot A and B are called: `Task A` and `Task B`."""
    a, b = SLOTS[template.task_label_names]
    label = WORDS[template.language].label
    return label.format(a), label.format(b)


def choice_question(
    configuration: ChoiceConfiguration, task_a: str, task_b: str, completions: Sequence[str] | None = None
) -> Question:
    """Which of two tasks the model prefers.

    Args:
        task_a: text of the task in slot A, which is shown, or was done, first.
        completions: what the model made of A and of B; wanted where it is asked after the tasks.

    Raises:
        ValueError: asked after the tasks, and no completions are given.
    """
    template = configuration.template
    instruction = _instruction(template, after=configuration.asked == "after")
    if configuration.asked == "after":
        if completions is None:
            raise ValueError(f"{configuration.key} asks after the tasks were done: it needs their completions")
        turns = [*_done(task_a, completions[0]), *_done(task_b, completions[1]), _user(instruction)]
    else:
        a, b = labels(template)
        tasks = f"{a}:\n{task_a}\n\n{b}:\n{task_b}"
        parts = (instruction, tasks) if template.instruction_position == "before" else (tasks, instruction)
        turns = [_user("\n\n".join(parts))]
    if template.situating_context == "experiment":
        turns.insert(0, {"role": "system", "content": WORDS[template.language].situation})
    return Question(tuple(turns), _permitted(template), _tool(template))


def rating_question_of(configuration: RatingConfiguration, task: str, completion: str | None = None) -> Question:
    """How the model rates one task.

    Args:
        completion: what the model made of it; wanted where it is asked after the task.

    Raises:
        ValueError: asked after the task, and no completion is given.
    """
    options = OPTIONS[configuration.options]
    if configuration.asked == "after":
        if completion is None:
            raise ValueError(f"{configuration.key} asks after the task was done: it needs its completion")
        question = rating_question(FRAMINGS[configuration.framing], options)
        return Question((*_done(task, completion), _user(question)), options.words)
    framing = Framing(configuration.framing, FRAMINGS_BEFORE[configuration.framing])
    return Question((_user(f"{RATED.format(task=task)}\n\n{rating_question(framing, options)}"),), options.words)


def task_alone(task: str) -> Question:
    """The task itself, to be done; anything is permitted."""
    return Question((_user(task),), ())


def tool_call(arguments: str, name: str = TOOL) -> str:
    """A call of a tool as text, as Qwen and others write it; `arguments` is JSON."""
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def _user(content: str) -> Message:
    return {"role": "user", "content": content}


def _done(task: str, completion: str) -> tuple[Message, Message]:
    return _user(task), {"role": "assistant", "content": completion}


def _instruction(template: Template, after: bool) -> str:
    words = WORDS[template.language]
    a, b = labels(template)
    text = (words.after if after else words.before)[template.phrasing - 1]
    if template.typos:
        text = with_typos(text)
    if template.punctuation == "minimal":
        text = text.strip(" ¿?.")
    text = f"{text.format(a=a, b=b)}\n{_wanted_form(template)}"
    return f"<instructions>\n{text}\n</instructions>" if template.instruction_xml_tags else text


def _wanted_form(template: Template) -> str:
    words = WORDS[template.language]
    a, b = labels(template)
    match template.response_format:
        case "regex":
            return words.only.format(a=a, b=b)
        case "xml":
            a, b = _permitted(template)
            return words.tagged.format(a=a, b=b)
        case _:
            return words.call.format(tool=TOOL, a=a, b=b)


def _permitted(template: Template) -> tuple[str, ...]:
    match template.response_format:
        case "regex":
            return labels(template)
        case "xml":
            return tuple(f"<{TAG}>{label}</{TAG}>" for label in labels(template))
        case _:
            return tuple(tool_call(f'{{"{ARGUMENT}": "{label}"}}') for label in labels(template))


def _tool(template: Template) -> dict[str, Any] | None:
    """The tool that takes the choice, as OpenAI's and most chat templates want it described."""
    if template.response_format != "tool_use":
        return None
    words = WORDS[template.language]
    choice = {"type": "string", "enum": list(labels(template)), "description": words.argument}
    parameters = {"type": "object", "properties": {ARGUMENT: choice}, "required": [ARGUMENT]}
    return {"type": "function", "function": {"name": TOOL, "description": words.tool, "parameters": parameters}}


def with_typos(text: str) -> str:
    """The text with the second and third letter swapped in its two longest words (the first ones, of equally long)."""
    words = text.split(" ")
    swappable = [place for place, word in enumerate(words) if len(word) > 2 and word[:3].isalpha()]
    for place in sorted(swappable, key=lambda place: -len(words[place].strip(".,:?")))[:2]:
        word = words[place]
        words[place] = word[0] + word[2] + word[1] + word[3:]
    return " ".join(words)
