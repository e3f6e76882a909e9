"""The report's sensitivity question, asked so that it can be answered: 48 configurations, no field another's alias.

Of the report's 48, 12 columns of the regression had rank 8, and the task list decided who came first. Here eight fields
of two values are a fraction of all their combinations, 16 templates in which each pair of fields is balanced
(generators ABC, BCD, ACD, ABD), with three seeds each, and a coin decides who comes first. Each pair is asked once: for
as many questions, more pairs say more than more answers (`benchmarks.selection`).
"""

from itertools import product

from prefassets.domain.preferences.active_learning import Plan
from prefassets.domain.preferences.measurement import Measurement, Revealed
from prefassets.domain.preferences.template import Template


def _templates() -> tuple[Template, ...]:
    found = []
    for a, b, c, d in product((0, 1), repeat=4):
        punctuation, labels, tags, context = a ^ b ^ c, b ^ c ^ d, a ^ c ^ d, a ^ b ^ d
        found += [
            Template(
                instruction_position=("before", "after")[a],
                response_format=("regex", "tool_use")[b],
                phrasing=(1, 2)[c],
                typos=bool(d),
                punctuation=("standard", "minimal")[punctuation],
                task_label_names=("letter", "number")[labels],
                instruction_xml_tags=bool(tags),
                situating_context=("none", "experiment")[context],
                seed=seed,
            )
            for seed in (0, 1, 2)
        ]
    return tuple(found)


MEASUREMENT = Measurement(
    name="llama_templates",
    question="Which parts of the way of asking do Llama-3.1-8B's preferences between tasks depend on?",
    model="meta-llama/Llama-3.1-8B-Instruct",
    backend="endpoint",
    revealed=Revealed(templates=_templates(), plan=Plan(samples=1, most_comparisons=42_000)),
    tasks=500,
    origins=("MATH", "ALPACA", "WILDCHAT"),
)
