"""What is asked of anyone's files, without a home."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from prefassets.cli.arguments import format_option
from prefassets.cli.group import cli
from prefassets.cli.printing import show

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
