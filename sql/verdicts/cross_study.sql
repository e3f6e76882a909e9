-- One row per (study, other study, split, readout) that both judge: whether they agree, and what that is worth.
-- Each pair of studies stands once, the alphabetically first as `study`.
-- other_study  the study it is compared with
-- readout      held_out or tail, as in verdicts.contrast
-- mean_difference_pp, other_mean_difference_pp  mean A - B of each over its own seeds, points
-- direction, other_direction  of that mean: `A > B`, `A < B` or `A = B`
-- directions_agree  the same direction (the 2026-02-24 report's "Agree?")
-- label, other_label  by the reported rule
-- labels_agree  the same label (the 2026-02-27 report's "Agree?")
-- common_seeds  seeds that both have
-- correlation   of A - B over the common seeds; empty if fewer than three, or if one study does not vary over them
-- cells, other_cells  the split's counted cells of each study
-- shared_cells  cells that are one and the same adapter in both: same cohort, seed, fold and fingerprint
-- evidence      in words, what agreement between the two is worth
with difference as (
    from verdicts.contrast where metric = 'pref_acc'
),

over_seeds as (
    select
        this.study, other.study as other_study, split, readout,
        count(*) as common_seeds,
        corr(this.difference_pp, other.difference_pp) as correlation
    from difference as this
    join difference as other using (split, readout, seed)
    where this.study < other.study
    group by this.study, other.study, split, readout
),

cell as (
    select counted.study, cohort, split, seed, fold, fingerprint
    from verdicts.counted
    join studies.cell using (study, cohort, seed, fold)
    where split is not null
),

cells_of as (
    select study, split, count(*) as cells from cell group by all
),

shared as (
    select this.study, other.study as other_study, split, count(*) as shared_cells
    from cell as this
    join cell as other using (cohort, split, seed, fold, fingerprint)
    where this.study < other.study
    group by this.study, other.study, split
),

compared as (
    select
        this.study, other.study as other_study, split, readout,
        this.mean_difference_pp,
        other.mean_difference_pp as other_mean_difference_pp,
        this.direction,
        other.direction as other_direction,
        this.direction = other.direction as directions_agree,
        this.reported_rule as label,
        other.reported_rule as other_label,
        this.reported_rule = other.reported_rule as labels_agree
    from verdicts.reported_rule as this
    join verdicts.reported_rule as other using (split, readout)
    where this.study < other.study
)

select
    compared.*,
    coalesce(common_seeds, 0) as common_seeds,
    if(common_seeds >= 3 and isfinite(correlation), correlation, null) as correlation,
    coalesce(mine.cells, 0) as cells,
    coalesce(theirs.cells, 0) as other_cells,
    coalesce(shared_cells, 0) as shared_cells,
    case
        when coalesce(shared_cells, 0) = 0 then
            'no shared cells: each study trained its own adapters; they still stand on the same users'
        when shared_cells >= least(mine.cells, theirs.cells) then
            'a re-run: the same adapters in both studies, so agreement is not evidence'
        else format('partly a re-run: {} cells are the same adapters; only the rest can be evidence', shared_cells)
    end as evidence
from compared
left join over_seeds using (study, other_study, split, readout)
left join shared using (study, other_study, split)
left join cells_of as mine on mine.study = compared.study and mine.split = compared.split
left join cells_of as theirs on theirs.study = other_study and theirs.split = compared.split
order by compared.study, other_study, compared.split, readout
