-- One row per (measurement, pair of tasks): how often either was chosen, whichever was shown first, over all
-- configurations. Refusals and unparseable answers are wins for neither.
--
-- item_a, item_b  the two tasks, in the order of their names
-- wins_a, wins_b  how often it was chosen
with chosen as (
    select
        measurement,
        least(task_a, task_b) as item_a,
        greatest(task_a, task_b) as item_b,
        if(choice = 'a', task_a, task_b) as winner
    from preferences.choices
    semi join preferences.configuration using (measurement, configuration)
    where choice in ('a', 'b')
)

select
    measurement,
    item_a,
    item_b,
    count(*) filter (where winner = item_a) as wins_a,
    count(*) filter (where winner = item_b) as wins_b
from chosen
group by measurement, item_a, item_b
order by measurement, item_a, item_b
