"""How a pair of tasks is put before a model: the fields that the report of 2026-01-14 varied, and their values."""

from dataclasses import dataclass, fields
from typing import Literal, get_args

TaskOrder = Literal["random", "canonical", "reversed"]
InstructionPosition = Literal["before", "after"]
ResponseFormat = Literal["regex", "xml", "tool_use"]
Phrasing = Literal[1, 2, 3]
Punctuation = Literal["standard", "minimal"]
Language = Literal["en", "es", "fr", "de"]
TaskLabelNames = Literal["letter", "number"]
SituatingContext = Literal["none", "experiment"]


@dataclass(frozen=True, kw_only=True)
class Template:
    """One way of asking which of two tasks is preferred. Fields and values are those of the report's 48 runs.

    `task_order` says which task stands in slot A, the one shown first: a coin per question (`random`), the one that
    comes first in the list of tasks (`canonical`), or the one that comes later (`reversed`). The last two let position
    bias into utilities, which is why the report found order to matter most; they are here to repeat its runs.
    `instruction_position` is where the instruction stands beside the tasks; after the tasks were done, it can only
    follow. `response_format` is what the model is to write: a task's label, the label in an XML tag, or a call of a
    tool. `phrasing` numbers the wordings of the instruction. `punctuation` "minimal" leaves out the instruction's
    outer marks; `typos` swaps letters in it. `task_label_names` is "Task A" or "Task 1". `instruction_xml_tags` puts
    the instruction between tags. `situating_context` "experiment" tells the model that its preferences are being
    measured. `seed` is of the model's answers. `language` is of everything but the tasks' own texts.
    """

    task_order: TaskOrder = "random"
    instruction_position: InstructionPosition = "before"
    response_format: ResponseFormat = "regex"
    phrasing: Phrasing = 1
    punctuation: Punctuation = "standard"
    typos: bool = False
    language: Language = "en"
    task_label_names: TaskLabelNames = "letter"
    instruction_xml_tags: bool = False
    situating_context: SituatingContext = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, values in VALUES.items():
            if (given := getattr(self, name)) not in values:
                raise ValueError(f"template: {name} is {given!r}; it must be one of {', '.join(map(repr, values))}")
        if self.seed < 0:
            raise ValueError(f"template: seed is {self.seed}; it must not be negative")

    @property
    def name(self) -> str:
        """What differs from the defaults, `xml-reversed-seed1`; `plain` if nothing does. No two templates share one."""
        return "-".join(_words(self)) or "plain"

    def fields(self) -> dict[str, str]:
        """Every field by name, its value as text: what sensitivity is regressed on. Task order and seed are in it."""
        return {field.name: str(getattr(self, field.name)) for field in fields(self)}


VALUES: dict[str, tuple[object, ...]] = {
    "task_order": get_args(TaskOrder),
    "instruction_position": get_args(InstructionPosition),
    "response_format": get_args(ResponseFormat),
    "phrasing": get_args(Phrasing),
    "punctuation": get_args(Punctuation),
    "typos": (False, True),
    "language": get_args(Language),
    "task_label_names": get_args(TaskLabelNames),
    "instruction_xml_tags": (False, True),
    "situating_context": get_args(SituatingContext),
}
_SAID = {  # of a value that differs from the default, where the value alone does not say of which field it is
    "instruction_position": "instruction_{}",
    "phrasing": "phrasing{}",
    "punctuation": "{}_punctuation",
    "typos": "typos",
    "task_label_names": "{}s",
    "instruction_xml_tags": "xml_tags",
    "seed": "seed{}",
}
_FIRST = ("response_format", "task_order")  # what most templates differ in


def _words(template: Template) -> list[str]:
    names = [field.name for field in fields(template) if field.name not in _FIRST]
    differing = [name for name in (*_FIRST, *names) if getattr(template, name) != getattr(Template, name)]
    return [_SAID.get(name, "{}").format(getattr(template, name)) for name in differing]
