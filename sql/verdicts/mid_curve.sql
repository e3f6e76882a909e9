-- One row per (study, split, stretch, window): A - B in the pref_acc of training batches in the middle of training (10
-- to 40 % of the steps, the reports' 200 to 800 of 2,000) and after it; a row without a window is the whole stretch.
-- These are training pairs, seen more often by the smaller group: a learning curve, not a verdict.
-- stretch        `middle` or `after`
-- step_window    3 to 8 in the middle, 9 to 20 after, as in verdicts.learning_curve; empty for the whole stretch
-- first_step, last_step  of the window or stretch
-- seeds_run      seeds with both groups finished
-- difference_pp  mean over seeds of A - B, points
-- lower_pp, upper_pp  95 % t interval of that mean over seeds, points; empty with one seed
-- why_empty      why there is no interval; empty where there is one
with per_seed as (
    select
        study, split, seed, step_window,
        if(step_window <= 8, 'middle', 'after') as stretch,
        min(a.first_step) as first_step,
        max(a.last_step) as last_step,
        100 * (sum(a.pref_acc * a.batches) / sum(a.batches) - sum(b.pref_acc * b.batches) / sum(b.batches))
            as difference_pp
    from verdicts.learning_curve as a
    join verdicts.learning_curve as b using (study, split, seed, recipe, step_window)
    where a.user_group = 'A' and b.user_group = 'B' and step_window >= 3
    group by grouping sets ((study, split, seed, stretch, step_window), (study, split, seed, stretch))
),

over_seeds as (
    select
        study, split, stretch, step_window,
        min(first_step) as first_step,
        max(last_step) as last_step,
        count(*) as seeds_run,
        avg(difference_pp) as mean_pp,
        stddev_samp(difference_pp) / sqrt(count(*)) as standard_error
    from per_seed
    group by all
),

-- The 97.5 % quantile of Student's t: tabled up to 10 degrees of freedom, beyond by its expansion in their inverse
-- (Abramowitz and Stegun 26.7.5), which is off by less than 1e-5 there.
with_quantile as (
    select
        *,
        if(
            seeds_run <= 11,
            [12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139]
                [seeds_run - 1],
            1.959964 + 2.372271 / (seeds_run - 1) + 2.822502 / (seeds_run - 1) ^ 2 + 2.555853 / (seeds_run - 1) ^ 3
                + 1.589534 / (seeds_run - 1) ^ 4
        ) as quantile
    from over_seeds
)

select
    study, split, stretch, step_window, first_step, last_step, seeds_run,
    mean_pp as difference_pp,
    mean_pp - quantile * standard_error as lower_pp,
    mean_pp + quantile * standard_error as upper_pp,
    if(seeds_run = 1, 'one seed: its spread over seeds is unknown', null) as why_empty
from with_quantile
order by study, split, first_step, step_window nulls first
