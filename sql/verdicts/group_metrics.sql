-- One row per (study, split, seed, metric) whose A and B cells both count: the reports' "detailed per-split results".
-- metric         as in verdicts.cell_metrics
-- value_a, value_b  the metric of each group's adapter
-- difference     value_a - value_b, in the metric's own unit
-- difference_pp  the same in percentage points; empty unless the metric is a pref_acc
-- why_empty      why there is no difference; empty where there is one
select
    study, split, seed, metric,
    a.value as value_a,
    b.value as value_b,
    a.value - b.value as difference,
    if(metric like '%pref_acc%', 100 * (a.value - b.value), null) as difference_pp,
    case
        when a.value is not null and b.value is not null then null
        when metric = 'steps_to_60pct' then
            if(a.value is null, if(b.value is null, 'A and B', 'A'), 'B') || ' never reached 60 % in a logged batch'
        else if(a.value is null, if(b.value is null, 'A and B', 'A'), 'B') || ' has no scored held-out pair'
    end as why_empty
from verdicts.cell_metrics as a
join verdicts.cell_metrics as b using (study, split, seed, recipe, metric)
where a.user_group = 'A' and b.user_group = 'B'
order by study, split, seed, metric
