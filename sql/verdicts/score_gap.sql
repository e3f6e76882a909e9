-- One row per (study, cohort, outcome): how the adapter does on held-out pairs of its own group by the size of the
-- score gap, the outcome of the ordered logit (cuts at 6, 14 and 29 points). The baseline's pairs are everyone's.
-- outcome        1 to 4, the ordered logit's category
-- score_gap      its score gaps, points: `1-6`, `7-14`, `15-29`, `30+`
-- seeds_run      seeds behind the numbers
-- held_out_pairs  distinct pairs; each is scored once per seed
-- pref_acc       share with margin > 0, over pairs and seeds
-- mean_margin    mean reward margin over pairs and seeds, nats x beta
with scored as (
    select
        margins.study, margins.cohort, margins.split, margins.user_group, margins.seed, margins.pair_id, margins.margin,
        case when score_gap <= 6 then 1 when score_gap <= 14 then 2 when score_gap <= 29 then 3 else 4 end as outcome
    from training.margins
    join verdicts.counted using (study, cohort, seed, fold, fingerprint)
    join prism.pairs using (pair_id)
    left join splits.assignments as groups on groups.split = margins.split and groups.user_id = pairs.user_id
    where margins.split is null or groups.user_group = margins.user_group
)

select
    study, cohort, split, user_group, outcome,
    ['1-6', '7-14', '15-29', '30+'][outcome] as score_gap,
    count(distinct seed) as seeds_run,
    count(distinct pair_id) as held_out_pairs,
    avg((margin > 0)::double) as pref_acc,
    avg(margin) as mean_margin
from scored
group by all
order by study, cohort, outcome
