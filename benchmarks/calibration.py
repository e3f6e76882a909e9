"""How often does a verdict call a true null an effect, and how often does it find what is there? For two rules.

First whole runs: synthetic PRISMs, a tiny model pre-trained on each, real adapters, real verdicts (`demo_placebos`).
Then many simulated studies at PRISM's full size, with the noise model fitted to those adapters and the design effect of
the released data's order (2 and 3): the reports' design and rule beside ours. Both rules are the SQL that judges
studies, `verdicts.reported_rule` and `verdicts.verdict`.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import click
import numpy as np
import polars as pl
from statsmodels.stats.proportion import proportion_confint

from prefassets.domain.inference.noise import NoiseModel
from prefassets.domain.inference.power import StudyDesign, detectable, simulated_study
from prefassets.domain.inference.study import study_estimates
from prefassets.domain.prism.pairs import within_model_pairs
from prefassets.domain.prism.splits import assign
from prefassets.domain.prism.synthetic import synthetic_prism
from prefassets.domain.prism.users import user_covariates
from prefassets.resources.estimates import connect_current
from prefassets.resources.power import noise_of
from prefassets.resources.sql_tables import run_sql
from prefassets.resources.store import Store
from prefassets.studies import all_studies

STUDY = "demo_placebos"
TAIL_PAIRS = 128  # of the reports' readout, 16 logged batches of 8
DIRECTIONAL = ("age", "education", "personalisation", "safety", "factuality", "helpfulness", "diversity")
TOLERANCE_PP = 5.0
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Design:
    """A way to run a study: seeds, folds held out in turn, placebo splits beside the seven directional ones."""

    name: str
    seeds: int
    folds: int
    placebos: int


DESIGNS = (
    Design("5 seeds, 1 fold", 5, 1, 0),
    Design("3 seeds, 5 folds", 3, 5, 0),
    Design("3 seeds, 5 folds, 8 placebos", 3, 5, 8),
)
MORE_DESIGNS = (
    Design("10 seeds, 1 fold", 10, 1, 0),
    Design("5 seeds, 5 folds", 5, 5, 0),
    Design("5 seeds, 5 folds, 8 placebos", 5, 5, 8),
)
EFFECTS = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
SIZES = {"design effect 2": 2.0, "design effect 3": 3.0}  # of a group's mean; PRISM's score gaps have about 3
OURS = ("CONFIRMED", "CONTRADICTED", "EQUIVALENT", "INCONCLUSIVE")


# ---- whole runs


def whole_run(home: Path, seed: int, scale: float) -> Store:
    """Train and judge `demo_placebos` on a synthetic PRISM of its own."""
    environment = {
        **os.environ,
        "PREFASSETS_HOME": str(home),
        "PREFASSETS_SEED": str(seed),
        "PREFASSETS_SCALE": str(scale),
    }
    command = [sys.executable, "-m", "prefassets.cli", "missing", STUDY, "--launch"]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return Store(home=str(home))


def judged_run(store: Store) -> pl.DataFrame:
    """One row per split: the verdict, and what the reports' rule would say had A > B been expected of the nulls."""
    with connect_current(store, ["verdicts.verdict", "verdicts.contrast", "studies.split"]) as current:
        of_study = {"params": {"study": STUDY}}
        verdicts = current.sql("from verdicts.verdict where study = $study", **of_study).pl()
        contrasts = current.sql("from verdicts.contrast where study = $study and metric = 'pref_acc'", **of_study).pl()
        asked = current.sql("from studies.split where study = $study", **of_study).pl()
    null = pl.col("role").is_in(["null control", "placebo"])
    hopeful = asked.with_columns(
        role=pl.lit("directional"),
        expected=pl.when(null).then(pl.lit("A > B")).otherwise("expected"),
        expected_sign=pl.when(null).then(1).otherwise("expected_sign"),
    )
    rule = run_sql("verdicts.reported_rule", {"verdicts.contrast": contrasts, "studies.split": hopeful})
    wide = rule.pivot("readout", index="split", values="reported_rule").rename(
        {"held_out": "rule", "tail": "rule_tail"}
    )
    return verdicts.drop("reported_rule", "reported_rule_tail").join(wide, on="split", how="left")


def show_whole_runs(runs: list[pl.DataFrame]) -> None:
    every = pl.concat(runs)
    null, planted = (every.filter(pl.col("role") != "directional"), every.filter(pl.col("role") == "directional"))
    called = pl.col("state").is_in(["CONFIRMED", "CONTRADICTED"])
    alone = (pl.col("lower_pp") > 0) | (pl.col("upper_pp") < 0)
    print(f"whole runs: {len(runs)} synthetic PRISMs, {len(null)} null and {len(planted)} planted splits")
    for label, rows, condition in (
        ("null, reported rule on the tail says MATCH", null, pl.col("rule_tail") == "MATCH"),
        ("null, reported rule held out says MATCH", null, pl.col("rule") == "MATCH"),
        ("null, ours says CONFIRMED or CONTRADICTED", null, called),
        ("null, ours: the 95 % interval leaves 0 out", null, alone),
        ("null or strength planted, ours finds a direction", every, pl.col("finding").is_in(["direction", "both"])),
        ("planted, reported rule on the tail says MATCH", planted, pl.col("rule_tail") == "MATCH"),
        ("planted, ours says CONFIRMED", planted, pl.col("state") == "CONFIRMED"),
        ("planted, ours says CONTRADICTED", planted, pl.col("state") == "CONTRADICTED"),
    ):
        print(f"  {label}: {share(rows.filter(condition).height, rows.height)}")


# ---- simulated studies


def full_size_groups() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pairs of each user of A and of B of the directional splits, of synthetic PRISM at its full size."""
    made = synthetic_prism(seed=0, scale=1.0)
    pairs = within_model_pairs(made.utterances).pairs
    groups = assign(user_covariates(made.survey, made.utterances, pairs)).join(
        pairs.group_by("user_id").len("pairs"), on="user_id"
    )

    def of(split: str, group: str) -> np.ndarray:
        rows = groups.filter(pl.col("split") == split, pl.col("user_group") == group).sort("user_id")
        return rows["pairs"].cast(pl.Int64).to_numpy()

    return {split: (of(split, "A"), of(split, "B")) for split in DIRECTIONAL}


def tail_contrasts(model: NoiseModel, seeds: int, effect_pp: float, generator: np.random.Generator) -> np.ndarray:
    """The reports' readout of one split: per seed, A - B in the last training pairs, points."""
    accuracy = model.accuracy + np.array([1, -1]) * effect_pp / 200
    accuracy = accuracy + generator.normal(
        0, model.training_pp / 100, 2
    )  # whom a group learns from is no seed's choice
    shifted = accuracy + generator.normal(0, model.seed_pp / 100, (seeds, 2))
    share_right = generator.binomial(TAIL_PAIRS, shifted.clip(0, 1)) / TAIL_PAIRS
    return 100 * (share_right[:, 0] - share_right[:, 1])


def judged_studies(
    model: NoiseModel, design: Design, groups: dict, effect_pp: float, studies: int, seed: int
) -> pl.DataFrame:
    """Simulate studies that expect A > B everywhere, where A truly is `effect_pp` above B; one row per directional
    split, judged by both rules."""
    generator = np.random.default_rng(seed)
    shape = StudyDesign(directional=groups, seeds=design.seeds, folds=design.folds, placebos=design.placebos)
    estimates, contrasts, asked = [], [], []
    for number in range(studies):
        results = simulated_study(model, shape, effect_pp, generator)
        name = f"{number:05}"
        for result in results:
            directional = result.role == "directional"
            expected = ("A > B", 1) if directional else ("A = B", 0)
            asked.append((name, result.split, result.role, *expected, TOLERANCE_PP, design.seeds))
            held_out = result.measured[0].by_seed_S
            tail = tail_contrasts(model, design.seeds, effect_pp if directional else 0.0, generator)
            for readout, by_seed in (("held_out", held_out), ("tail", tail)):
                contrasts += [(name, result.split, s, readout, "pref_acc", p) for s, p in enumerate(by_seed.tolist())]
        estimates += [{"study": name, "digest": "", **asdict(e)} for e in study_estimates(results, TOLERANCE_PP)]
    split = pl.DataFrame(
        asked,
        ["study", "split", "role", "expected", "expected_sign", "null_tolerance_pp", "seeds_planned"],
        orient="row",
    )
    judged = run_sql(
        "verdicts.verdict",
        {
            "studies.split": split,
            "verdicts.estimate": pl.DataFrame(estimates, infer_schema_length=None),
            "verdicts.basis": split.select("study", "split", pl.lit("").alias("digest")),
            "verdicts.contrast": pl.DataFrame(
                contrasts, ["study", "split", "seed", "readout", "metric", "difference_pp"], orient="row"
            ),
        },
    )
    return judged.filter(pl.col("role") == "directional")


def share(count: int, of: int) -> str:
    lower, upper = proportion_confint(count, of, method="wilson")
    return f"{100 * count / of:5.1f} % [{100 * lower:.1f}, {100 * upper:.1f}] of {of}"


def _one_row(arguments: tuple) -> dict:
    label, model, design, groups, effect_pp, studies, seed = arguments
    judged = judged_studies(model, design, groups, effect_pp, studies, seed)
    covered = judged.filter((pl.col("lower_pp") <= effect_pp) & (effect_pp <= pl.col("upper_pp"))).height
    counts = {state: judged.filter(pl.col("state") == state).height for state in OURS}
    return {
        "noise": label,
        "design": design.name,
        "effect_pp": effect_pp,
        "splits": judged.height,
        "match_tail": judged.filter(pl.col("reported_rule_tail") == "MATCH").height,
        "match_held_out": judged.filter(pl.col("reported_rule") == "MATCH").height,
        **counts,
        "covered": covered,
    }


def _one_power(arguments: tuple) -> dict:
    label, model, design, groups, effect_pp, studies, seed = arguments
    shape = StudyDesign(directional=groups, seeds=design.seeds, folds=design.folds, placebos=design.placebos)
    found = detectable(model, shape, effect_pp, studies, np.random.default_rng(seed))
    return {"noise": label, "design": design.name, "placebos": design.placebos, **asdict(found)}


def jobs(
    models: dict[str, NoiseModel],
    designs: tuple[Design, ...],
    effects: tuple[float, ...],
    groups: dict,
    studies: int,
) -> Iterator[tuple]:
    seed = 0
    for label, model in models.items():
        for design in designs:
            for effect_pp in effects:
                seed += 1
                yield label, model, design, groups, effect_pp, studies, seed


@click.command()
@click.option("--runs", type=click.IntRange(1), default=2, show_default=True, help="Whole runs with real adapters.")
@click.option("--scale", default=0.4, show_default=True, help="Size of their synthetic PRISMs.")
@click.option("--studies", default=150, show_default=True, help="Simulated studies per row, of seven splits each.")
@click.option("--home", type=click.Path(path_type=Path), help="Keep the whole runs' homes here, and finish them there.")
def main(runs: int, scale: float, studies: int, home: Path | None) -> None:
    """Print the calibration table; `results/power.png` and `power.csv` are the power curves."""
    with tempfile.TemporaryDirectory() as temporary:
        stores = [whole_run((home or Path(temporary)) / f"run-{seed}", seed, scale) for seed in range(1, runs + 1)]
        show_whole_runs([judged_run(store) for store in stores])
        fitted = [noise_of(store, all_studies()[STUDY])[1] for store in stores]
    noise = NoiseModel(**{name: float(np.mean([asdict(one)[name] for one in fitted])) for name in asdict(fitted[0])})
    print(f"noise model fitted to their adapters: {json.dumps({k: round(v, 3) for k, v in asdict(noise).items()})}")

    groups = full_size_groups()
    some = np.concatenate(next(iter(groups.values())))
    models = {label: noise.with_design_effect(size, some) for label, size in SIZES.items()}
    models["design effect 2, training samples 1 point"] = replace(models["design effect 2"], training_pp=1.0)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:  # polars' threads do not survive a fork
        rows = list(pool.map(_one_row, jobs(models, DESIGNS, (0.0, 5.0), groups, studies)))
        fewer = max(10, studies // 4)
        asked = {label: model for label, model in models.items() if label in SIZES}
        curves = pl.DataFrame(list(pool.map(_one_power, jobs(asked, DESIGNS + MORE_DESIGNS, EFFECTS, groups, fewer))))
    show_power(curves, fewer)
    show_simulated(pl.DataFrame(rows))
    RESULTS.mkdir(exist_ok=True)
    curves.write_csv(RESULTS / "power.csv")
    draw_power(curves, RESULTS / "power.png")


def show_simulated(rows: pl.DataFrame) -> None:
    for noise, of_noise in rows.group_by("noise", maintain_order=True):
        print(f"simulated, {noise[0]}:")
        for row in of_noise.iter_rows(named=True):
            truth = "null" if row["effect_pp"] == 0 else f"A - B = +{row['effect_pp']:g}"
            print(f"  {row['design']}, truth: {truth}")
            for label, count in (
                ("reported rule on the tail: MATCH", row["match_tail"]),
                ("reported rule held out: MATCH", row["match_held_out"]),
                ("ours: CONFIRMED", row["CONFIRMED"]),
                ("ours: CONTRADICTED", row["CONTRADICTED"]),
                ("ours: EQUIVALENT", row["EQUIVALENT"]),
                ("95 % interval holds the truth", row["covered"]),
            ):
                print(f"    {label:34}{share(count, row['splits'])}")


def show_power(curves: pl.DataFrame, studies: int) -> None:
    """The designs at +5 points, cheapest first, and which of them is the first to find four of five."""
    print(f"power at +5 points, {studies} studies of {len(DIRECTIONAL)} splits each, cheapest design first:")
    of_five = curves.filter(pl.col("effect_pp") == 5).with_columns(adapters=pl.col("seeds") * pl.col("folds"))
    for noise, rows in of_five.sort("adapters", "placebos").group_by("noise", maintain_order=True):
        enough = rows.filter(pl.col("found") >= 0.8)
        print(f"  {noise[0]}: 80 % reached by {enough['design'][0] if len(enough) else 'none of these'}")
        for row in rows.iter_rows(named=True):
            print(
                f"    {row['design']:30}{100 * row['found']:4.0f} % [{100 * row['found_lower']:.0f}, "
                f"{100 * row['found_upper']:.0f}], minimum detectable {row['minimum_detectable_pp']:.1f} points, "
                f"{row['pairs_a']:,} and {row['pairs_b']:,} held-out pairs, enough with "
                + (
                    "no number of users"
                    if (times := row["times_the_users"]) is None
                    else f"{times:.1f} times the users"
                )
            )


def draw_power(curves: pl.DataFrame, file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    noises = curves["noise"].unique(maintain_order=True)
    figure, panels = pyplot.subplots(
        1, len(noises), figsize=(5.0 * len(noises), 4.6), sharey=True, layout="constrained"
    )
    for panel, noise in zip(panels, noises, strict=True):
        for design, line in curves.filter(pl.col("noise") == noise).group_by("design", maintain_order=True):
            panel.plot(line["effect_pp"], 100 * line["found"], marker="o", label=design[0])
            panel.fill_between(line["effect_pp"], 100 * line["found_lower"], 100 * line["found_upper"], alpha=0.15)
        panel.axhline(80, color="0.5", linewidth=1, linestyle="--")
        panel.set(title=noise, xlabel="true A - B, points", ylim=(0, 101))
    panels[0].set_ylabel("found (Holm), % of directional splits")
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=3)
    figure.savefig(file, dpi=130)


if __name__ == "__main__":
    main()
