"""What is asked of one model, fixed before it is asked: a `Measurement` and the `Configuration`s it is made of."""

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from prefassets.domain.preferences.active_learning import Plan
from prefassets.domain.preferences.rating_questions import FRAMINGS, OPTIONS
from prefassets.domain.preferences.tasks import ORIGINS
from prefassets.domain.preferences.template import Template
from prefassets.domain.probes.extraction import Extraction

Asked = Literal["before", "after"]  # doing the tasks
Backend = Literal["in_process", "endpoint"]
Answering = Literal["free", "constrained"]


@dataclass(frozen=True, kw_only=True)
class Revealed:
    """Pick one of two: each template is a configuration, before or after the model has done both tasks, or both.

    `plan` says which pairs are asked, how often, and until when.
    """

    templates: tuple[Template, ...] = (Template(),)
    asked: tuple[Asked, ...] = ("before",)
    plan: Plan = field(default_factory=Plan)


@dataclass(frozen=True, kw_only=True)
class Stated:
    """Rate one: each framing of the question with each set of options is a configuration, before or after the task.

    Every task is rated `samples` times in each.
    """

    framings: tuple[str, ...] = ("standard",)
    options: tuple[str, ...] = ("good_neutral_bad",)
    asked: tuple[Asked, ...] = ("after",)
    samples: int = 1

    def __post_init__(self) -> None:
        for what, given, known in (("framing", self.framings, FRAMINGS), ("options", self.options, OPTIONS)):
            if unknown := sorted(set(given) - set(known)):
                raise ValueError(f"no {what} {unknown}; there are {', '.join(known)} (rating_questions.py)")
        if self.samples < 1:
            raise ValueError(f"stated: samples is {self.samples}; it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class ChoiceConfiguration:
    """One way of asking which of two tasks a model prefers."""

    measurement: str
    template: Template
    asked: Asked = "before"

    @property
    def name(self) -> str:
        """Unique within its measurement: the template's name, and `-after_tasks` where that is when it is asked."""
        return self.template.name + _AFTER[self.asked]

    @property
    def key(self) -> str:
        """Unique among all measurements, `demo.xml-reversed`."""
        return f"{self.measurement}.{self.name}"

    @property
    def slots_are_random(self) -> bool:
        """Whether a coin says which task is shown first: only then can a fit tell position bias from preference."""
        return self.template.task_order == "random"


@dataclass(frozen=True, kw_only=True)
class RatingConfiguration:
    """One way of asking how a model rates a task."""

    measurement: str
    framing: str
    options: str
    asked: Asked = "after"

    @property
    def name(self) -> str:
        """Unique within its measurement: `rating-honest-yes_somewhat_no-after_tasks`."""
        return f"rating-{self.framing}-{self.options}{_AFTER[self.asked]}"

    @property
    def key(self) -> str:
        """Unique among all measurements, `demo.rating-honest-yes_somewhat_no-after_tasks`."""
        return f"{self.measurement}.{self.name}"


Configuration = ChoiceConfiguration | RatingConfiguration
_AFTER = {"before": "", "after": "-after_tasks"}


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Everything that is asked of one model, and how it answers.

    `question` says in words what this is to find out. `model` is `tiny`, a Hugging Face name, or the name under which
    an endpoint serves a model. `backend` is where it runs: `in_process` with transformers, in `precision`, or at the
    OpenAI-compatible `endpoint` that the environment names. Of the tasks, `tasks` are drawn by `seed`, evenly over
    `origins`. `answering` is `free`, what the model writes, or `constrained`, one of the permitted answers, drawn by
    their probabilities: a model that cannot follow an instruction can be asked in no other way. An answer and a
    completion are cut after `most_answer_tokens` and `most_completion_tokens`. `activations` says which hidden states
    are kept of each task; None, and none are.
    """

    name: str
    question: str
    model: str
    backend: Backend = "in_process"
    revealed: Revealed | None = Revealed()
    stated: Stated | None = None
    tasks: int = 100
    origins: tuple[str, ...] = ()
    temperature: float = 1.0
    answering: Answering = "free"
    most_answer_tokens: int = 64
    most_completion_tokens: int = 256
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    activations: Extraction | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"measurement name {self.name!r} must be letters, digits and _ (it names partitions)")
        for name, values in _VALUES.items():
            if (given := getattr(self, name)) not in values:
                raise ValueError(f"{self.name}: {name} is {given!r}; it must be one of {', '.join(map(repr, values))}")
        for name, least in _LEAST.items():
            if (number := getattr(self, name)) < least:
                raise ValueError(f"{self.name}: {name} is {number}; it must be at least {least}")
        if set(self.origins) - set(ORIGINS):
            raise ValueError(f"{self.name}: origins are {self.origins}; wanted are some of {', '.join(ORIGINS)}")
        if self.revealed is None and self.stated is None:
            raise ValueError(f"{self.name} asks nothing: give it revealed=Revealed(...), stated=Stated(...), or both")
        if self.activations is not None and self.backend == "endpoint" and self.activations.model is None:
            raise ValueError(
                f"{self.name}: an endpoint hands out no activations; name the model to read them of here, "
                f"activations=Extraction(model=...)"
            )
        _refuse_repeats(self)

    @property
    def choice_configurations(self) -> tuple[ChoiceConfiguration, ...]:
        """Every way of asking for a choice, template by template."""
        if self.revealed is None:
            return ()
        return tuple(
            ChoiceConfiguration(measurement=self.name, template=template, asked=asked)
            for template in self.revealed.templates
            for asked in self.revealed.asked
        )

    @property
    def rating_configurations(self) -> tuple[RatingConfiguration, ...]:
        """Every way of asking for a rating, framing by framing."""
        if self.stated is None:
            return ()
        return tuple(
            RatingConfiguration(measurement=self.name, framing=framing, options=options, asked=asked)
            for framing in self.stated.framings
            for options in self.stated.options
            for asked in self.stated.asked
        )

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """Every way of asking: those for choices, then those for ratings."""
        return (*self.choice_configurations, *self.rating_configurations)

    @property
    def does_tasks(self) -> bool:
        """Whether the model has to do the tasks, to be asked afterwards or read: only then are there completions."""
        read = self.activations is not None and self.activations.of_responses
        return read or any(configuration.asked == "after" for configuration in self.configurations)

    @property
    def model_read(self) -> str | None:
        """The model whose activations are kept, which runs here whoever answers; None if none are kept."""
        return None if self.activations is None else self.activations.model or self.model

    @property
    def models_here(self) -> tuple[str, ...]:
        """The models that run in this process."""
        answering = self.model if self.backend == "in_process" else None
        return tuple(dict.fromkeys(name for name in (answering, self.model_read) if name is not None))

    def configuration(self, name: str) -> Configuration:
        """The configuration of that name, which is its Dagster partition.

        Raises:
            ValueError: there is none.
        """
        for configuration in self.configurations:
            if configuration.name == name:
                return configuration
        raise ValueError(
            f"{self.name} has no configuration {name!r}; its own are, e.g., {self.configurations[0].name!r}"
        )


_VALUES: dict[str, tuple[object, ...]] = {
    "backend": get_args(Backend),
    "answering": get_args(Answering),
    "precision": ("float32", "bfloat16"),
}
_LEAST = {"tasks": 2, "temperature": 0.0, "most_answer_tokens": 1, "most_completion_tokens": 1, "seed": 0}


def _refuse_repeats(measurement: Measurement) -> None:
    """Two configurations that ask the very same would be compared as if they were two."""
    keys = [configuration.key for configuration in measurement.configurations]
    if repeated := sorted({key for key in keys if keys.count(key) > 1}):
        raise ValueError(f"{measurement.name} asks {repeated[0]} more than once")
    after = [found.template for found in measurement.choice_configurations if found.asked == "after"]
    if len({replace(template, instruction_position="after") for template in after}) < len(after):
        raise ValueError(
            f"{measurement.name} has two templates that differ in instruction_position only, but asks after the tasks "
            f"were done, where the instruction can only follow them; leave one out"
        )
