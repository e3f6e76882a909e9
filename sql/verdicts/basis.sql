-- One row per (study, split) with held-out results: what the study's estimates are made of.
-- digest  digest of the plan (splits, roles, tolerance) and of every adapter, its users, pairs and correct pairs in all
--         splits of the study, because spread and adjustment are the study's; an estimate made of another digest is outdated
with per_adapter as (
    select
        study, split, seed, recipe, fold, fingerprint, adapter, user_group,
        count(*) as users, sum(pairs) as pairs, sum(correct) as correct
    from verdicts.scored_users
    group by all
),

scored as (
    select
        study,
        string_agg(concat_ws(' ', split, seed, fingerprint, adapter, user_group, users, pairs, correct), ','
            order by split, seed, fold, adapter, user_group) as adapters
    from per_adapter
    group by all
),

planned as (
    select study, string_agg(concat_ws(' ', split, role, null_tolerance_pp), ',' order by split) as splits
    from studies.split
    group by all
)

select distinct study, split, md5(concat_ws('; ', splits, adapters)) as digest
from per_adapter
join scored using (study)
join planned using (study)
order by all
