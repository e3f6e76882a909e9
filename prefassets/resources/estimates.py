"""`verdicts.estimate` of a study from what its SQL tables say, and connections on which nothing is out of date."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict

import duckdb
import polars as pl

from prefassets.resources import change_noise
from prefassets.resources.arena import JUDGED, ArenaData, judged_tables, outdated
from prefassets.resources.cells import states_of_all
from prefassets.resources.progress import progress_bar
from prefassets.resources.sql_tables import all_tables, with_dependencies
from prefassets.resources.store import Store
from prefassets.resources.tables import TABLES
from prefassets.studies import all_studies
from prefassets.studies.study import Study

TABLE, STATES, SCORED = "verdicts.estimate", "training.states", "verdicts.scored_users"
RECIPES = "arena.states"
READS = (SCORED, "verdicts.basis")

# A seed counts once both of its groups' adapters do; another recipe's baseline beside them does not.
_SCORED = """
    from verdicts.scored_users
    semi join (
        select study, split, seed, recipe from verdicts.scored_users
        where study = $study and adapter in ('A', 'B')
        group by all having count(distinct adapter) = 2
    ) as paired using (study, split, seed, recipe)
"""
# What `change` compares them with: each group's own adapters in the study that this one repeats.
_BEFORE = "where adapter = user_group"


def estimate_study(connection: duckdb.DuckDBPyConnection, study: Study) -> pl.DataFrame:
    """The rows of `verdicts.estimate` of one study; none while no seed of any split has both groups."""
    from prefassets.domain.inference.study import SplitResult, study_estimates
    from prefassets.domain.inference.two_way import measure

    scored = connection.sql(_SCORED, params={"study": study.name}).pl()
    if study.variant_of is not None:
        before = connection.sql(_SCORED + _BEFORE, params={"study": study.variant_of}).pl()
        scored = scored.vstack(before.with_columns(adapter=pl.col("adapter") + " before"))
    by_split = {str(split): rows for (split,), rows in scored.partition_by("split", as_dict=True).items()}
    results = []
    with progress_bar(f"estimates of {study.name}", len(study.expected)) as show:
        for done, split in enumerate(study.expected, start=1):
            measured = measure(by_split[split]) if split in by_split else []
            results.append(SplitResult(split, study.role(split), measured))
            show(done)
    digests = dict(
        connection.execute("select split, digest from verdicts.basis where study = ?", [study.name]).fetchall()
    )
    rows = [
        {"study": study.name, **asdict(found), "digest": digests[found.split]}
        for found in study_estimates(results, study.null_tolerance_pp)
    ]
    return pl.DataFrame(rows, schema=TABLES[TABLE].schema)


@contextmanager
def connect_current(store: Store, tables: Collection[str] | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """`store.connect(tables, current=True)` on which what Python makes of cells is of the cells that count now.

    `training.states` and `arena.states` are made anew; so is what is judged of Arena if other predictions stand, and
    `verdicts.estimate` and `verdicts.change_noise` of studies whose cells, or those of the study that they repeat,
    changed since they were materialised. All in memory, nothing is written.
    """
    read = with_dependencies(all_tables() if tables is None else tables)
    given = {}
    if STATES in read:
        given[STATES] = states_of_all(store, all_studies().values())
    if RECIPES in read:
        given[RECIPES] = ArenaData(store).state_rows()
    if read & set(JUDGED) and outdated(data := ArenaData(store)):
        given |= judged_tables(data)
    if TABLE in read:
        with store.connect([TABLE, *READS], current=True) as connection:
            given[TABLE] = _current_estimates(connection)
            given[SCORED] = connection.sql(f"from {SCORED}").pl()  # of all that is made here, what takes longest
    if change_noise.TABLE in read:
        given[change_noise.TABLE] = _current_change_noise(store, given)
    with store.connect(tables, current=True, given=given) as connection:
        yield connection


def _current_estimates(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    outdated = {
        study
        for (study,) in connection.execute(
            f"select study from (select distinct study, digest from verdicts.basis) as basis"
            f" full join (select distinct study, digest from {TABLE}) as made using (study)"
            f" where basis.digest is distinct from made.digest"
        ).fetchall()
    }
    kept = connection.sql(f"from {TABLE}").pl().filter(~pl.col("study").is_in(list(outdated)))
    fresh = [estimate_study(connection, all_studies()[study]) for study in sorted(outdated) if study in all_studies()]
    return pl.concat([kept, *fresh])


def _current_change_noise(store: Store, given: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    made = store.read(change_noise.TABLE)
    current = [TABLES[change_noise.TABLE].empty()]
    with store.connect(change_noise.READS, current=True, given=given) as connection:
        for study in all_studies().values():
            repeated = change_noise.read_repeated(connection, study)
            kept = made.filter(study=study.name, digest=repeated.digest)
            current.append(kept if len(kept) else change_noise.change_noise(repeated))
    return pl.concat(current)
