-- One row per (study, split) with held-out results: what the study's estimates are made of.
-- digest  digest of the plan (splits, roles, tolerance) and of every adapter, its users, pairs and correct pairs in all
--         splits of the study, because spread and adjustment are the study's; where the study repeats another with one
--         thing changed, also of that one's adapters of the same splits; an estimate made of another digest is outdated
with per_adapter as (
    select
        study, split, seed, recipe, fold, fingerprint, adapter, user_group,
        count(*) as users, sum(pairs) as pairs, sum(correct) as correct
    from verdicts.scored_users
    group by all
),

in_words as (
    select
        study, split, adapter, seed, fold, user_group,
        concat_ws(' ', split, seed, fingerprint, adapter, user_group, users, pairs, correct) as words
    from per_adapter
),

scored as (
    select study, string_agg(words, ',' order by split, seed, fold, adapter, user_group) as adapters
    from in_words
    group by all
),

scored_before as (
    select
        asked.study,
        concat_ws(' ', 'change of', variant_of, string_agg(words, ',' order by in_words.split, seed, fold, adapter, user_group))
            as adapters_before
    from studies.study
    join studies.split as asked using (study)
    join in_words on in_words.study = variant_of and in_words.split = asked.split and adapter = user_group
    group by asked.study, variant_of
),

planned as (
    select study, string_agg(concat_ws(' ', split, role, null_tolerance_pp), ',' order by split) as splits
    from studies.split
    group by all
)

select distinct study, split, md5(concat_ws('; ', splits, adapters, adapters_before)) as digest
from per_adapter
join scored using (study)
join planned using (study)
left join scored_before using (study)
order by all
