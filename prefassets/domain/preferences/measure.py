"""A configuration asked: from tasks, a plan and something that answers to the rows of choices, ratings, completions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefassets.domain.preferences.active_learning import Fit
from prefassets.domain.preferences.active_learning import measure as measure_pairs
from prefassets.domain.preferences.asking import Answer, Asker, Request
from prefassets.domain.preferences.measurement import ChoiceConfiguration, Measurement, RatingConfiguration
from prefassets.domain.preferences.parsing import Parsed, parse_choice
from prefassets.domain.preferences.rating_questions import OPTIONS, UNPARSEABLE, parse_rating
from prefassets.domain.preferences.wording import Question, choice_question, rating_question_of, task_alone

MALFORMED = "malformed"  # the rule for what is no answer of a model
_ANSWERED = pl.Schema(
    {
        "answer": pl.String(),
        "tokens": pl.Int64(),
        "finished": pl.Boolean(),
        "malformed": pl.Boolean(),
        "digest": pl.String(),
        "model": pl.String(),
        "revision": pl.String(),
    }
)
CHOICES = pl.Schema(
    {
        "measurement": pl.String(),
        "configuration": pl.String(),
        "round": pl.Int64(),
        "sample": pl.Int64(),
        "task_a": pl.String(),
        "task_b": pl.String(),
        "choice": pl.String(),
        "rule": pl.String(),
        "probability_a": pl.Float64(),
        **_ANSWERED,
    }
)
RATINGS = pl.Schema(
    {
        "measurement": pl.String(),
        "configuration": pl.String(),
        "framing": pl.String(),
        "options": pl.String(),
        "asked": pl.String(),
        "task_id": pl.String(),
        "sample": pl.Int64(),
        "rating": pl.String(),
        "value": pl.Int64(),
        "probabilities": pl.List(pl.Float64()),
        **_ANSWERED,
    }
)
COMPLETIONS = pl.Schema({"measurement": pl.String(), "task_id": pl.String(), "sample": pl.Int64(), **_ANSWERED})
_TRIES = 3  # for a completion, in one run
_QUESTIONS_AT_ONCE = 50_000  # that are in memory, with the tasks' texts


@dataclass(frozen=True)
class MeasuredChoices:
    """`choices` has the columns `CHOICES`, one row per answer; `rounds` how the plan went on (`active_learning`)."""

    choices: pl.DataFrame
    rounds: pl.DataFrame


def measure_choices(
    measurement: Measurement,
    configuration: ChoiceConfiguration,
    tasks: pl.DataFrame,
    asker: Asker,
    fit: Fit,
    completions: Mapping[str, str] | None = None,
    held_out: pl.DataFrame | None = None,
) -> MeasuredChoices:
    """Ask which of two tasks the model prefers, pair by pair as the measurement's plan says.

    A question without an answer says nothing to the plan, as if it were unparseable, and has no row; `asker.failures`
    says why. The plan goes the same way again if the answers are the same, so a measurement that is started again asks
    what it did not get to.

    Args:
        tasks: `task_id`, `text`; their order is what `canonical` means.
        fit: takes the choices so far and gives mu, in the order of `tasks` or by task.
        completions: what the model made of each task; wanted where the configuration asks after the tasks.
        held_out: pairs (`task_a`, `task_b`) that are never asked.

    Raises:
        ValueError: the measurement asks for no choices, or a task has no completion.
    """
    if measurement.revealed is None:
        raise ValueError(f"{measurement.name} asks for no choices: it has no revealed=Revealed(...)")
    texts = dict(tasks.select("task_id", "text").iter_rows())
    _want_completions(configuration, texts, completions)
    place = {task: number for number, task in enumerate(texts)}
    order = configuration.template.task_order
    answered: list[pl.DataFrame] = []

    def ask(questions: pl.DataFrame) -> pl.DataFrame:
        return pl.concat(ask_some(some) for some in questions.iter_slices(_QUESTIONS_AT_ONCE))

    def ask_some(questions: pl.DataFrame) -> pl.DataFrame:
        asked: list[tuple[Request, dict[str, object]]] = []
        for row in questions.iter_rows(named=True):
            shown = row["task_a"], row["task_b"]
            if order != "random":
                shown = tuple(sorted(shown, key=place.__getitem__, reverse=order == "reversed"))
            done = None if configuration.asked == "before" else [(completions or {})[task] for task in shown]
            question = choice_question(configuration, texts[shown[0]], texts[shown[1]], done)
            request = _request(measurement, asker, question, configuration.template.seed, row["sample"])
            asked.append((request, {**row, "task_a": shown[0], "task_b": shown[1]}))
        answers = asker.ask(request for request, _ in asked)
        rows: list[dict[str, object]] = []
        choices: list[str] = []
        for request, row in asked:
            answer = answers.get(request.digest)
            parsed = Parsed("unparseable", "") if answer is None else _parsed(answer, configuration)
            choices.append(parsed.choice)
            if answer is not None:
                probability = answer.probabilities and answer.probabilities[0]
                said = {"choice": parsed.choice, "rule": parsed.rule, "probability_a": probability}
                rows.append({**_names(measurement, configuration.name), **row, **said, **_columns(answer, request)})
        answered.append(pl.DataFrame(rows, schema=CHOICES))
        return questions.with_columns(choice=pl.Series(choices, dtype=pl.String))

    def fit_as_shown(_: pl.DataFrame) -> NDArray[np.float64] | Mapping[str, float]:
        return fit(pl.concat(answered))  # the plan's own may have the tasks in the other slots, and what failed

    plan = measurement.revealed.plan
    done = measure_pairs(ask, fit_as_shown, list(texts), plan, measurement.seed, held_out)
    return MeasuredChoices(pl.concat(answered), done.rounds)


def measure_ratings(
    measurement: Measurement,
    configuration: RatingConfiguration,
    tasks: pl.DataFrame,
    asker: Asker,
    completions: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """Ask how the model rates each task, as often as the measurement says.

    Returns:
        `RATINGS`, one row per answer; a question without one has none, and `asker.failures` says why. `value` is 1 for
        the most positive of the options, -1 for the most negative, 0 between, empty for no rating. `probabilities` are
        those of the options in their order, where the answer was drawn among them.

    Raises:
        ValueError: the measurement asks for no ratings, or a task has no completion.
    """
    if measurement.stated is None:
        raise ValueError(f"{measurement.name} asks for no ratings: it has no stated=Stated(...)")
    texts = dict(tasks.select("task_id", "text").iter_rows())
    _want_completions(configuration, texts, completions)
    options = OPTIONS[configuration.options]
    asked = []
    for task, text in texts.items():
        done = None if configuration.asked == "before" else (completions or {})[task]
        question = rating_question_of(configuration, text, done)
        for sample in range(measurement.stated.samples):
            request = _request(measurement, asker, question, 0, sample)
            asked.append((request, {"task_id": task, "sample": sample}))
    answers = asker.ask(request for request, _ in asked)
    rows = []
    for request, row in asked:
        if (answer := answers.get(request.digest)) is not None:
            rating = UNPARSEABLE if answer.malformed else parse_rating(answer.text, options)
            said = {"rating": rating, "value": options.value(rating), "probabilities": answer.probabilities}
            how = {name: getattr(configuration, name) for name in ("framing", "options", "asked")}
            names = _names(measurement, configuration.name)
            rows.append({**names, **how, **row, **said, **_columns(answer, request)})
    return pl.DataFrame(rows, schema=RATINGS)


def complete_tasks(measurement: Measurement, tasks: pl.DataFrame, asker: Asker) -> pl.DataFrame:
    """Let the model do each task once, freely. All configurations that ask after the tasks build on these.

    Returns:
        `COMPLETIONS`, one row per answer. What is no answer of a model is asked for again, as the next `sample`, until
        three new ones are none: then this does not go on, but the next run does. So a task may have several rows, of
        which the last is not malformed, or has no completion yet.
    """
    free = replace(measurement, answering="free", most_answer_tokens=measurement.most_completion_tokens)
    wanted = dict(tasks.select("task_id", "text").iter_rows())
    rows = []
    tries = dict.fromkeys(wanted, 0)  # of this run; what is kept is none
    for sample in count():
        asked = {task: _request(free, asker, task_alone(text), 0, sample) for task, text in wanted.items()}
        asked = {task: request for task, request in asked.items() if asker.knows(request) or tries[task] < _TRIES}
        if not asked:
            break
        for task, request in asked.items():
            tries[task] += not asker.knows(request)
        answers = asker.ask(asked.values())
        found = {task: answers[request.digest] for task, request in asked.items() if request.digest in answers}
        names = {"measurement": measurement.name, "sample": sample}
        rows += [{**names, "task_id": task, **_columns(answer, asked[task])} for task, answer in found.items()]
        wanted = {task: wanted[task] for task, answer in found.items() if answer.malformed}
    return pl.DataFrame(rows, schema=COMPLETIONS)


def completion_texts(completions: pl.DataFrame) -> dict[str, str]:
    """What the model made of each task, by task; what is no answer of a model is left out."""
    return dict(completions.filter(~pl.col("malformed")).select("task_id", "answer").iter_rows())


def answers_in(rows: pl.DataFrame) -> Iterator[Answer]:
    """The answers that rows of choices, ratings or completions were made of, to be used again."""
    for row in rows.iter_rows(named=True):
        probabilities = row.get("probabilities")
        if (of_a := row.get("probability_a")) is not None:
            probabilities = (of_a, 1 - of_a)
        yield Answer(
            digest=row["digest"],
            text=row["answer"],
            probabilities=None if probabilities is None else tuple(probabilities),
            tokens=row["tokens"],
            finished=row["finished"],
            malformed=row["malformed"],
        )


def _request(measurement: Measurement, asker: Asker, question: Question, seed: int, sample: int) -> Request:
    return Request(
        model=asker.backend.model,
        revision=asker.backend.revision,
        messages=question.messages,
        tool=question.tool,
        permitted=question.permitted if measurement.answering == "constrained" else (),
        temperature=measurement.temperature,
        most_tokens=measurement.most_answer_tokens,
        seed=measurement.seed * 1_000_003 + seed,
        sample=sample,
    )


def _parsed(answer: Answer, configuration: ChoiceConfiguration) -> Parsed:
    if answer.malformed:
        return Parsed("unparseable", MALFORMED)
    return parse_choice(answer.text, configuration.template, answer.finished)


def _names(measurement: Measurement, configuration: str) -> dict[str, object]:
    return {"measurement": measurement.name, "configuration": configuration}


def _columns(answer: Answer, request: Request) -> dict[str, object]:
    return {
        "answer": answer.text,
        "tokens": answer.tokens,
        "finished": answer.finished,
        "malformed": answer.malformed,
        "digest": answer.digest,
        "model": request.model,
        "revision": request.revision,
    }


def _want_completions(
    configuration: ChoiceConfiguration | RatingConfiguration,
    texts: Mapping[str, str],
    completions: Mapping[str, str] | None,
) -> None:
    if configuration.asked == "after" and (lacking := texts.keys() - (completions or {}).keys()):
        raise ValueError(
            f"{configuration.key} asks after the tasks were done, but {len(lacking)} of {len(texts)} tasks have no "
            f"completion, e.g. {min(lacking)}; make the completions of {configuration.measurement} again"
        )
