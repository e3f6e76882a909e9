-- One row per (study, split, seed, metric): the A, B and everyone adapters on the held-out pairs of A and of B, as far as
-- they are finished and were trained by one recipe.
-- metric         pref_acc (share of pairs with margin > 0) or margin (mean reward margin, nats x beta)
-- a_on_a, a_on_b, b_on_a, b_on_b  adapter of the first group on the held-out pairs of the second
-- everyone_on_a, everyone_on_b    the baseline on each group: their difference is the groups' difficulty
-- interaction    (a_on_a - a_on_b) - (b_on_a - b_on_b), in the metric's own unit: group difficulty cancels. Near zero, the
--                adapters are interchangeable (at most a strength difference); large, A and B want different things
-- interaction_pp  the same in percentage points; empty for margin
with scored as (
    select
        study, split, seed, recipe, adapter,
        user_group as pairs_of,
        sum(correct) / sum(pairs) as pref_acc,
        sum(margin) / sum(pairs) as margin
    from verdicts.scored_users
    group by all
),

per_metric as (
    from scored unpivot (value for metric in (pref_acc, margin))
),

wide as (
    select
        study, split, seed, recipe, metric,
        any_value(value) filter (where adapter = 'A' and pairs_of = 'A') as a_on_a,
        any_value(value) filter (where adapter = 'A' and pairs_of = 'B') as a_on_b,
        any_value(value) filter (where adapter = 'B' and pairs_of = 'A') as b_on_a,
        any_value(value) filter (where adapter = 'B' and pairs_of = 'B') as b_on_b,
        any_value(value) filter (where adapter = 'everyone' and pairs_of = 'A') as everyone_on_a,
        any_value(value) filter (where adapter = 'everyone' and pairs_of = 'B') as everyone_on_b
    from per_metric
    group by all
)

select
    * exclude (recipe),
    (a_on_a - a_on_b) - (b_on_a - b_on_b) as interaction,
    if(metric = 'pref_acc', 100 * ((a_on_a - a_on_b) - (b_on_a - b_on_b)), null) as interaction_pp
from wide
order by study, split, seed, metric
