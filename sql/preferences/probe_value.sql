-- One row per (measurement, target, task): what a probe is to predict of a task, a number.
--
-- target   valence: how the model rates the task, -1 to 1; utility: its Thurstonian utility
-- value    mean over the valid ratings of all configurations, or mean of mu over all configurations of choices
-- answers  ratings, or configurations, that it is the mean of
select measurement, 'valence' as target, task_id, avg(value) as value, count(*) as answers
from preferences.ratings
semi join preferences.configuration using (measurement, configuration)
where value is not null
group by measurement, task_id

union all

select measurement, 'utility', task_id, avg(mu), count(*)
from preferences.current_utilities
group by measurement, task_id

order by measurement, target, task_id
