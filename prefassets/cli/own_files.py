"""What is asked of anyone's files, without a home."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import polars as pl

from prefassets.cli.arguments import format_option
from prefassets.cli.group import cli
from prefassets.cli.printing import say_of_each, show, with_interval

if TYPE_CHECKING:
    from prefassets.domain.preferences.thurstonian import Objective


@cli.command()
@click.argument("choices", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--objective",
    type=click.Choice(["map", "published"]),
    default="map",
    show_default=True,
    help="The most probable utilities, or the reports' fit exactly.",
)
@click.option(
    "--tau",
    type=click.FloatRange(0, min_open=True),
    default=None,
    help="Prior standard deviation of mu, for map [default: 4].",
)
@click.option(
    "--lambda",
    "penalty",
    type=click.FloatRange(0),
    default=None,
    help="Penalty on the sum of (log sigma)^2 [default: 3 for map, 1 for published]; inf makes every sigma 1.",
)
@click.option("--slot-bias", is_flag=True, help="Also fit, for map, how far slot A is preferred whatever stands there.")
@click.option("--refusals", is_flag=True, help="Also fit, for map, how refusing depends on the two tasks' utility.")
@click.option(
    "--tasks",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="A file of the tasks (column task_id, or a .txt) and their order [default: those of CHOICES, sorted].",
)
@format_option
def utilities(
    choices: Path,
    objective: "Objective",
    tau: float | None,
    penalty: float | None,
    slot_bias: bool,
    refusals: bool,
    tasks: Path | None,
    form: str,
) -> None:
    """Print the utility of each task that the answers in CHOICES (.yaml, .csv, .parquet, .jsonl) speak for.

    CHOICES has task_a (shown first), task_b and choice (a, b, refusal or unparseable) in each row; a YAML file is a
    list of such, or a mapping that holds one under `comparisons`. No home is needed. On stderr: the objective's value,
    the log-likelihood, whether the comparisons tie the tasks together, and what was left out.

    \b
    mu           utility: P(i is chosen over j) = Phi((mu_i - mu_j) / sqrt(sigma_i^2 + sigma_j^2))
    sigma        how much the task's utility varies from one comparison to the next
    se           standard error of mu (map)
    comparisons  answers that chose this task or the one beside it

    In the published objective the first task has mu 0, and a refusal counts as a win for slot B.
    """
    from prefassets.domain.preferences.comparisons import count_choices
    from prefassets.domain.preferences.connectivity import connectivity
    from prefassets.domain.preferences.thurstonian import PRIOR_SD, fit_utilities, said_of
    from prefassets.resources.choice_files import read_choices, read_tasks

    if objective == "published" and (tau is not None or slot_bias or refusals):
        raise click.UsageError("--tau, --slot-bias and --refusals are for --objective map; published has none of them")
    counted = count_choices(read_choices(choices), None if tasks is None else read_tasks(tasks))
    fit = fit_utilities(
        counted,
        objective,
        prior_sd=PRIOR_SD if tau is None else tau,
        penalty=penalty,
        slot_bias=slot_bias,
        refusals=refusals,
    )
    show(fit.utilities, form, f"{choices}: {objective}")
    won = counted.regardless_of_slots(refusals_as_b=objective == "published")
    for line in (*said_of(fit, counted), connectivity(won).sentence):
        click.echo(line, err=True)


@cli.command()
@click.argument("activations", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("targets", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--target", "wanted", multiple=True, help="A column of TARGETS to predict, again for more [default: all]."
)
@click.option("--probe", "kinds", multiple=True, help="A kind of probe to fit: ridge, logistic, ... [default: all].")
@click.option("--layer", "layers", multiple=True, type=click.IntRange(0), help="A layer to read [default: all].")
@click.option("--position", "positions", multiple=True, help="A position to read [default: all].")
@click.option(
    "--slot-bias", is_flag=True, help="Of choices, also fit how far what is shown first (item_a) is preferred."
)
@click.option("--folds", type=click.IntRange(3), default=5, show_default=True, help="Parts, each held out once.")
@click.option("--seeds", type=click.IntRange(2), default=5, show_default=True, help="Draws of each baseline of noise.")
@click.option("--seed", default=0, show_default=True, help="What folds and draws depend on.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="A folder for all results, as Parquet.")
@format_option
def probe(
    activations: Path,
    targets: Path,
    wanted: tuple[str, ...],
    kinds: tuple[str, ...],
    layers: tuple[int, ...],
    positions: tuple[str, ...],
    slot_bias: bool,
    folds: int,
    seeds: int,
    seed: int,
    out: Path | None,
    form: str,
) -> None:
    """Print how well linear probes of ACTIVATIONS (.parquet, .npz) predict TARGETS (.csv, .parquet), beside baselines.

    ACTIVATIONS names its items (item, task_id or id) and has an array of numbers for each, in a column or npz array
    per layer and position, whose name says which (layer16, layer_24_response_mean; --layer where it says none). Or it
    has a row per (item, layer, position), as `preferences.activations` has: layer, position, activation.

    TARGETS has a row per item: item, task_id or id; columns of numbers, truth values or two different values, each a
    target; and, if it has them, topic, origin, text, length, and unit, which is held out as one. Or a row per choice:
    item_a and item_b (or task_a, task_b), with choice (a, b, refusal, unparseable) or wins_a and wins_b.

    No home is needed. On stderr: what was left out. For programs (csv, json), every score. --out writes score, sweep,
    direction, prediction and reading, for DuckDB: `from 'FOLDER/score.parquet'`.
    """
    from prefassets.domain.probes.suite import probe_suite
    from prefassets.resources.activation_files import read_activations
    from prefassets.resources.probe_files import matched, tables_of, write_tables
    from prefassets.resources.progress import progress_bar
    from prefassets.resources.target_files import read_targets

    known = read_targets(targets, dict.fromkeys(wanted), kinds, slot_bias)
    read = read_activations(activations, layers, positions)
    probed, left_out = matched(read, known)
    for note in (*read.notes, *known.notes, *left_out):
        click.echo(note, err=True)
    with progress_bar("probes") as told:
        found = probe_suite(probed, folds=folds, seeds=seeds, seed=seed, on_fit=told)
    tables = tables_of(found, activations.stem, probed.targets)
    if out is not None:
        write_tables(tables, out)
    if form != "table":
        show(tables["score"].drop("experiment"), form)
    else:
        readings = tables["reading"]
        for reading in readings.iter_rows(named=True):
            _show_scores(tables["score"], reading, folds)
        named = readings.with_columns(name=pl.format("{}, {}", "target", "probe"))
        say_of_each(named, "name", "sentence", "all targets")
    if out is not None:
        click.echo(f"{out}: {', '.join(f'{name}.parquet' for name in tables)}", err=True)


METRICS = {  # metric -> what its column is called
    "r_squared": "R²",
    "r_squared_within_topics": "R² within topics",
    "pearson_r": "r",
    "mse": "mean squared error",
    "auc": "AUC",
    "accuracy": "accuracy",
    "log_loss": "log loss",
    "pairwise_accuracy": "pairs right",
}
SPLITS = {"unit": "", "leave_one_topic_out": ", topic left out", "leave_one_origin_out": ", origin left out"}


def _show_scores(scores: pl.DataFrame, reading: dict[str, object], folds: int) -> None:
    """The scores of one target and kind of probe: every layer and position, then the baselines beside the best."""
    target, probe, metric = reading["target"], reading["probe"], reading["metric"]
    of_probe = scores.filter(target=target, probe=probe)
    of_activations = of_probe.filter(features="activations").sort("layer", "position", maintain_order=True)
    here = (pl.col("layer") == reading["layer"]) & (pl.col("position") == reading["position"])
    baselines = (
        of_probe.filter(pl.col("features") != "activations")
        .sort(pl.col("features").str.starts_with("activations"), ~here, maintain_order=True)
        .unique(["features", "split", "metric"], keep="first", maintain_order=True)
    )
    places = pl.format("layer {}, {}", "layer", "position")
    lines = pl.concat([of_activations.with_columns(source=places), baselines.with_columns(source="features")])
    lines = lines.with_columns(with_interval(lines, "told", "estimate", "lower", "upper", form="z.2f"))
    shown = lines.select("source").unique(maintain_order=True)
    for split, which in SPLITS.items():
        for name in sorted(METRICS, key=lambda name: name != metric):
            of_metric = lines.filter(pl.col("told") != "", split=split, metric=name)
            if not of_metric.is_empty() and (split == "unit" or name == metric):
                column = of_metric.select("source", pl.col("told").alias(f"{METRICS[name]}{which} [95 %]"))
                shown = shown.join(column, on="source", how="left", maintain_order="left")
    if shown.width == 1:  # no score at all; the sentence says why
        return
    show(
        shown.rename({"source": "predicted from"}),
        "table",
        f"{target}: {probe} probes on what each of {folds} folds held out; {reading['rows']:,} rows of "
        f"{reading['units']:,} units",
    )
