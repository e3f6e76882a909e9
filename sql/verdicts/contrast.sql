-- One row per (study, split, seed, readout, metric) whose A and B cells both count: group A minus group B.
-- A and B are only compared if they were trained by one recipe.
-- readout        held_out: the adapter on the unseen users of its own group, all folds of the seed pooled.
--                tail: the reports' readout, the last 20 % of the logged training batches (128 pairs at 2,000 x 8)
-- metric         pref_acc (share of pairs with margin > 0) or margin (mean reward margin, nats x beta)
-- pairs_a, pairs_b  pairs behind the value of each group
-- value_a, value_b  the metric of A's adapter on A's pairs, and of B's adapter on B's pairs
-- difference     value_a - value_b, in the metric's own unit
-- difference_pp  the same in percentage points; empty for margin
with pairs_of as materialized (  -- else DuckDB may join each margin to every user of its group before it looks at pairs
    select split, user_group, pair_id
    from prism.pairs
    join splits.assignments using (user_id)
),

held_out as (
    select
        margins.study, margins.split, margins.user_group, margins.seed, counted.recipe, 'held_out' as readout,
        count(*) as pairs,
        avg((margin > 0)::double) as pref_acc,
        avg(margin) as margin
    from training.margins
    join verdicts.counted using (study, cohort, seed, fold, fingerprint)
    join pairs_of using (split, user_group, pair_id)
    group by all
),

tail as (
    select
        log.study, log.split, log.user_group, log.seed, counted.recipe, 'tail' as readout,
        count(*) * any_value(batch_size) as pairs,
        avg(pref_acc) as pref_acc,
        avg(margin) as margin
    from training.log
    join verdicts.counted using (study, cohort, seed, fold, fingerprint)
    join studies.study using (study)
    where log.split is not null
      and step % log_every = 0
      and step > 0.8 * counted.steps
    group by all
),

per_group as (
    select study, split, user_group, seed, recipe, readout, metric, pairs, value
    from (from held_out union all by name from tail)
    unpivot (value for metric in (pref_acc, margin))
)

select
    study, split, seed, readout, metric,
    a.pairs as pairs_a,
    b.pairs as pairs_b,
    a.value as value_a,
    b.value as value_b,
    a.value - b.value as difference,
    if(metric = 'pref_acc', 100 * (a.value - b.value), null) as difference_pp
from per_group as a
join per_group as b using (study, split, seed, recipe, readout, metric)
where a.user_group = 'A' and b.user_group = 'B'
order by study, split, seed, readout, metric
