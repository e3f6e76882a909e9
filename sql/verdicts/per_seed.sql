-- One row per (study, split, readout) with at least one seed: the reports' per-seed table. A missing seed keeps its
-- place: the 2026-02-24 report printed three of five seeds without saying which.
-- readout         held_out or tail, as in verdicts.contrast
-- differences_pp  per planned seed, in the study's order: the seed, and A - B in points, empty if the seed is missing
-- seeds_missing   planned seeds without both groups
with planned as (
    select study, split, readout, unnest(seeds) as seed, generate_subscripts(seeds, 1) as place
    from (select distinct study, split, readout from verdicts.contrast where metric = 'pref_acc')
    join studies.study using (study)
),

found as (
    from verdicts.contrast where metric = 'pref_acc'
)

select
    study, split, readout,
    list({'seed': seed, 'difference_pp': difference_pp} order by place) as differences_pp,
    coalesce(list(seed order by place) filter (where difference_pp is null), []) as seeds_missing
from planned
left join found using (study, split, readout, seed)
group by all
order by study, split, readout
