-- One row per (configuration, group of tasks): the mean utility of the tasks of an origin, or of a topic within it.
--
-- grouped_by   origin or topic
-- tasks        tasks of the group that have a utility
-- mean_mu      mean of mu over them
-- lower, upper  95 % t interval of that mean over tasks; empty with one task
with grouped as (
    select
        measurement, configuration, origin, topic,
        if(grouping(topic) = 1, 'origin', 'topic') as grouped_by,
        count(*) as tasks,
        avg(mu) as mean_mu,
        stddev_samp(mu) / sqrt(count(*)) as standard_error
    from preferences.current_utilities
    join tasks.tasks using (task_id)
    group by grouping sets (
        (measurement, configuration, origin),
        (measurement, configuration, origin, topic)
    )
),

-- The 97.5 % quantile of Student's t: tabled up to 10 degrees of freedom, beyond by its expansion in their inverse
-- (Abramowitz and Stegun 26.7.5), which is off by less than 1e-5 there.
with_quantile as (
    select
        *,
        if(
            tasks <= 11,
            [12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139]
                [tasks - 1],
            1.959964 + 2.372271 / (tasks - 1) + 2.822502 / (tasks - 1) ^ 2 + 2.555853 / (tasks - 1) ^ 3
                + 1.589534 / (tasks - 1) ^ 4
        ) as quantile
    from grouped
)

select
    measurement, configuration, grouped_by, origin, topic, tasks, mean_mu,
    mean_mu - quantile * standard_error as lower,
    mean_mu + quantile * standard_error as upper
from with_quantile
order by measurement, configuration, grouped_by, origin, topic
