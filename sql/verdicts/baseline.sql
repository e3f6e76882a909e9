-- One row per (study, metric): the baseline, the adapter of everyone, over its seeds.
-- metric       as in verdicts.cell_metrics
-- per_seed     per planned seed, in the study's order: the seed and its value, empty if the seed is missing
-- seeds_run    seeds with a value
-- seeds_planned  seeds the study plans
-- mean_value   mean over seeds, in the metric's own unit (pref_acc as a share)
-- sd_value     standard deviation over seeds, population form as in the reports; empty with fewer than two
-- as_reported  mean and sd as the reports print them, pref_acc in percent; empty if no seed has a value
with planned as (
    select study, metric, unnest(seeds) as seed, generate_subscripts(seeds, 1) as place
    from (select distinct study, metric from verdicts.cell_metrics where cohort = 'everyone')
    join studies.study using (study)
),

found as (
    from verdicts.cell_metrics where cohort = 'everyone'
),

per_metric as (
    select
        study, metric,
        list({'seed': seed, 'value': value} order by place) as per_seed,
        count(value) as seeds_run,
        count(*) as seeds_planned,
        avg(value) as mean_value,
        if(count(value) > 1, stddev_pop(value), null) as sd_value
    from planned
    left join found using (study, metric, seed)
    group by all
)

select
    *,
    if(
        metric like '%pref_acc%',
        printf('%.2f %%', 100 * mean_value) || coalesce(printf(' ± %.2f %%', 100 * sd_value), ''),
        printf('%.4f', mean_value) || coalesce(printf(' ± %.4f', sd_value), '')
    ) as as_reported
from per_metric
order by study, metric
