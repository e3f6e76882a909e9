"""What a study found, and what it could find."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import polars as pl

from prefassets.cli.arguments import StudyName, format_option
from prefassets.cli.group import cli
from prefassets.cli.home import home_in_use
from prefassets.cli.printing import say_of_each, say_wrapped, show, with_interval
from prefassets.studies.study import Study

if TYPE_CHECKING:
    from prefassets.resources.store import Store

VERDICTS = """
    select
        verdict.split, verdict.expected, seeds_run, seeds_planned, state, finding, sentence, verdict.cautions,
        estimate_pp, verdict.lower_pp, verdict.upper_pp, verdict.p, verdict.p_adjusted, verdict.adjustment,
        verdict.p_equivalence, verdict.minimum_detectable_pp,
        interaction_pp, interaction_lower_pp, interaction_upper_pp, interaction_p, exposure_ratio,
        gate_warnings, reported_rule, reported_rule_tail,
        variant_of, change, change_pp, change.lower_pp as change_lower_pp, change.upper_pp as change_upper_pp,
        change.p_adjusted as change_p_adjusted, reading, change.cautions as change_cautions
    from verdicts.verdict
    left join verdicts.method_change as change
        on change.study = verdict.study and change.split = verdict.split and readout = 'held_out'
    where verdict.study = $study
    order by list_position($splits, verdict.split)
"""
GATES = "select gate, state, withholds, explanation from verdicts.gate where study = $study order by gate"
CHANGES = """
    select
        split, expected, before_label, after_label, change, common_seeds, before_common_pp, after_common_pp,
        change_pp, lower_pp, upper_pp, p_adjusted,
        heterogeneity_a, heterogeneity_a_lower, heterogeneity_a_upper,
        heterogeneity_b, heterogeneity_b_lower, heterogeneity_b_upper, reading, cautions
    from verdicts.method_change
    where study = $study and readout = 'held_out'
    order by list_position($splits, split)
"""
CHANGE_COUNT = "select readout, sentence from verdicts.method_change_count where study = $study order by readout"


@cli.command()
@click.argument("study", type=StudyName(), required=False)
@click.option(
    "--contrasts", type=click.Path(dir_okay=False, path_type=Path), help="A CSV file of contrasts measured anywhere."
)
@format_option
def verdicts(study: Study | None, contrasts: Path | None, form: str) -> None:
    """Print the verdict table of STUDY, or of the contrasts in a CSV file.

    The file has the columns study, split, seed, difference_pp (points, A - B) and expected (`A > B`, `A < B`, `A = B`
    or `exploratory`); it needs no home.
    """
    if (study is None) == (contrasts is None):
        raise click.UsageError("give a STUDY or --contrasts FILE.csv, one of them")
    if contrasts is not None:
        from prefassets.resources.contrasts import judge_contrasts

        show(judge_contrasts(contrasts), form)
    elif study is not None:
        print_verdicts(home_in_use(), study, form)


@cli.command()
@click.argument("study", type=StudyName())
@click.option(
    "--effect", type=click.FloatRange(0.1, 50), default=5.0, show_default=True, help="Difference to be found, points."
)
@click.option(
    "--repetitions", type=click.IntRange(10), default=50, show_default=True, help="Simulated studies per design."
)
@click.option(
    "--design-effect",
    type=click.FloatRange(1, 20),
    default=None,
    help="Variance of a group's mean over that of independent pairs [default: as the study's own users are alike]",
)
@format_option
def power(study: Study, effect: float, repetitions: int, design_effect: float | None, form: str) -> None:
    """Print what STUDY can find as planned, and what more seeds or folds would, by simulation.

    Users' pairs are those of this home; how users, seeds and training samples spread is taken from the study's own
    scored cells, or where it has none yet from those of the study in this home that has most.

    \b
    minimum detectable  the true difference that four of five such studies find, whatever their other splits do
    found               share of simulated splits found with the right sign (Holm), and its 95 % interval
    found alone         the same at the level of Holm's first step, so whatever the other splits do
    covered             share of 95 % intervals that hold the true difference
    times the users     how many times the held-out users would find it in four of five; empty if no number would
    """
    from prefassets.resources.power import power_table

    assumed, rows = power_table(home_in_use(), study, effect, repetitions, design_effect)
    for line in assumed:
        click.echo(line, err=True)
    show(rows, form, f"{study.name}: finding {effect:g} points at 5 % over its directional splits (Holm)")


def print_verdicts(store: "Store", study: Study, form: str) -> None:
    """Print the verdicts of a study, as its cells stand now."""
    from prefassets.resources.cells import UNFINISHED, cell_states
    from prefassets.resources.estimates import connect_current

    tables = ["verdicts.verdict", "verdicts.gate", "verdicts.method_change", "verdicts.method_change_count"]
    with connect_current(store, tables) as connection:
        splits = {"study": study.name, "splits": list(study.expected)}
        rows = connection.sql(VERDICTS, params=splits).pl()
        changes = connection.sql(CHANGES, params=splits).pl()
        gates = connection.sql(GATES, params={"study": study.name}).pl()
        counts = connection.sql(CHANGE_COUNT, params={"study": study.name}).pl()
    if form == "table":
        _show_verdicts(rows, f"{study.name}: A - B on unseen users' pairs, percentage points; {store.pinned()}")
        if study.variant_of is not None:
            _show_changes(changes, counts, study)
        for gate, state, withholds, explanation in gates.iter_rows():
            kind = "withheld by gate" if withholds else "gate"
            click.echo(f"{kind} {gate}: {state}; {explanation}", err=True)
    else:
        show(rows, form)
    states = [state.state for state in cell_states(store, study)]
    if lacking := sum(map(states.count, UNFINISHED)):
        click.echo(f"{lacking} of {len(states)} cells are not finished: prefassets missing {study.name}", err=True)
    if stale := states.count("stale"):
        click.echo(f"{stale} of {len(states)} cells are stale: prefassets missing {study.name} --stale", err=True)


def _show_verdicts(rows: pl.DataFrame, title: str) -> None:
    """The verdicts as a table for people, then each in a sentence."""
    show(
        rows.select(
            "split",
            "expected",
            pl.format("{} of {}", "seeds_run", "seeds_planned").alias("seeds"),
            with_interval(rows, "A - B [95 %]", "estimate_pp", "lower_pp", "upper_pp"),
            pl.col("p_adjusted").alias("adjusted p"),
            with_interval(rows, "interaction [95 %]", "interaction_pp", "interaction_lower_pp", "interaction_upper_pp"),
            "state",
            "finding",
            "reported_rule",
            pl.col("reported_rule_tail").alias("on the tail"),
        ),
        "table",
        title,
    )
    say_of_each(rows, "split", "sentence", "all splits")


def _show_changes(changes: pl.DataFrame, counts: pl.DataFrame, study: Study) -> None:
    """What the one thing that a study changes did, as a table, then each split's change in a sentence."""
    if changes.is_empty():
        say_wrapped(
            f"Nothing to compare with yet: no split is judged in both {study.name} and {study.variant_of}. "
            f"`prefassets missing` with the name of either says what is not trained yet."
        )
        return
    show(
        changes.select(
            "split",
            "expected",
            pl.format("{} -> {}", "before_label", "after_label").alias("reported rule"),
            "change",
            pl.col("common_seeds").alias("seeds"),
            with_interval(changes, "A - B before", "before_common_pp"),
            with_interval(changes, "after", "after_common_pp"),
            with_interval(changes, "change [95 %]", "change_pp", "lower_pp", "upper_pp"),
            pl.col("p_adjusted").alias("adjusted p"),
            *(
                with_interval(
                    changes,
                    f"H of {group.upper()} [95 %]",
                    f"heterogeneity_{group}",
                    f"heterogeneity_{group}_lower",
                    f"heterogeneity_{group}_upper",
                    form=".2f",
                )
                for group in "ab"
            ),
        ),
        "table",
        f"What changed against {study.variant_of}: labels by each study's own seeds, A - B at the seeds of both, "
        "the change on the users of both too",
    )
    say_of_each(changes, "split", "reading", "all changes")
    for readout, sentence in counts.iter_rows():
        say_wrapped(f"labels on the {readout.replace('_', '-')} readout: {sentence}")
