-- One row per configuration of choices: what was answered, how far its utilities predict, and whether choices go round
-- in circles. Read it before any utility.
--
-- answers              answered questions
-- chosen               share of answers that chose a task, 0-1
-- first_slot           share of those that chose the task shown first; .5 without position bias
-- agreement            share of pairs asked more than once whose answers all named one task
with answers as (
    select
        measurement,
        configuration,
        count(*) as answers,
        avg((choice in ('a', 'b'))::int) as chosen,
        avg((choice = 'a')::int) filter (where choice in ('a', 'b')) as first_slot
    from preferences.choices
    group by all
),

pairs as (
    select
        measurement,
        configuration,
        count(distinct if(choice = 'a', task_a, task_b)) = 1 as agree
    from preferences.choices
    where choice in ('a', 'b')
    group by measurement, configuration, least(task_a, task_b), greatest(task_a, task_b)
    having count(*) > 1
),

agreement as (
    select measurement, configuration, avg(agree::int) as agreement from pairs group by all
)

select
    measurement,
    configuration,
    answers,
    chosen,
    first_slot,
    agreement,
    slot_bias,
    slot_bias_se,
    accuracy,
    accuracy_lower,
    accuracy_upper,
    log_loss,
    gain,
    gain_lower,
    gain_upper,
    cycle_rate,
    null_rate,
    expected_rate,
    groups,
    connectivity
from answers
semi join preferences.configuration using (measurement, configuration)
left join agreement using (measurement, configuration)
left join preferences.current_fit using (measurement, configuration)
left join preferences.transitivity using (measurement, configuration)
order by measurement, configuration
