-- One row per (study, split) with held-out results: what its estimates are made of.
-- digest  digest of every adapter's users, pairs and correct pairs; an estimate made of another digest is outdated
with per_adapter as (
    select study, split, seed, recipe, adapter, user_group, count(*) as users, sum(pairs) as pairs, sum(correct) as correct
    from verdicts.scored_users
    group by all
)

select
    study, split,
    md5(string_agg(concat_ws(' ', seed, recipe, adapter, user_group, users, pairs, correct), ','
        order by seed, recipe, adapter, user_group)) as digest
from per_adapter
group by all
order by all
