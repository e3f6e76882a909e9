-- One row per (trained recipe, adapter): how its training went. One batch says little: a loss or accuracy of a single
-- step is that of `batch_size` battles. The report's numbers are of single steps; means over twentieths stand beside
-- them.
--
-- steps        optimiser steps taken
-- first_loss, last_loss  mean loss of the first and of the last 5 % of steps, nats
-- loss_reduction_percent  by how much the second is lower, percent of the first
-- logged_first_loss, logged_last_loss  of the first and of the last step alone, as the report has them
-- logged_reduction_percent  by how much the second is lower, percent of the first
-- lowest_loss, lowest_loss_step  lowest loss of a single step, and which one
-- first_accuracy, last_accuracy  mean token accuracy of the first and of the last 5 % of steps, 0-1
-- logged_first_accuracy, logged_last_accuracy  of the first and of the last step alone
-- highest_accuracy, highest_accuracy_step  highest token accuracy of a single step, and which one
-- end_slope    by how much the loss rises over the last quarter of steps, nats per 100 steps; below 0 it falls. Least
--              squares; empty of fewer than 20 steps
-- end_slope_lower, end_slope_upper  its 95 % interval (Student's t), batches being independent
-- still_falling  whether that interval is below 0: training on may lower the loss of what is trained on
-- evaluations  how often validation was looked at
-- best_validation_log_loss, best_validation_step  lowest log loss of validation, and the step after which it was seen
-- last_validation_log_loss, last_validation_step  log loss of validation when it was last looked at, and after which
--              step
-- overfitting  last_validation_log_loss - best_validation_log_loss, nats: what training on cost
-- validation_still_falling  whether the last time was the best; empty where it was looked at less than twice
-- kept_step    the step whose weights the adapter has
with placed as (
    select *, max(step) over (partition by recipe, adapter) as steps
    from arena.curve
),

over_steps as (
    select
        recipe,
        adapter,
        any_value(steps) as steps,
        avg(loss) filter (where step <= ceil(steps / 20)) as first_loss,
        avg(loss) filter (where step > steps - ceil(steps / 20)) as last_loss,
        arg_min(loss, step) as logged_first_loss,
        arg_max(loss, step) as logged_last_loss,
        min(loss) as lowest_loss,
        arg_min(step, (loss, step)) as lowest_loss_step,
        avg(accuracy) filter (where step <= ceil(steps / 20)) as first_accuracy,
        avg(accuracy) filter (where step > steps - ceil(steps / 20)) as last_accuracy,
        arg_min(accuracy, step) as logged_first_accuracy,
        arg_max(accuracy, step) as logged_last_accuracy,
        max(accuracy) as highest_accuracy,
        arg_min(step, (-accuracy, step)) as highest_accuracy_step,
        count(*) filter (where 4 * step > 3 * steps) as end_steps,
        regr_slope(loss, step) filter (where 4 * step > 3 * steps) as slope,
        regr_sxx(loss, step) filter (where 4 * step > 3 * steps) as step_spread,
        regr_syy(loss, step) filter (where 4 * step > 3 * steps) as loss_spread,
        count(validation_log_loss) as evaluations,
        min(validation_log_loss) as best_validation_log_loss,
        arg_min(step, (validation_log_loss, step)) filter (where validation_log_loss is not null)
            as best_validation_step,
        arg_max(validation_log_loss, step) as last_validation_log_loss,
        max(step) filter (where validation_log_loss is not null) as last_validation_step
    from placed
    group by recipe, adapter
),

-- The 97.5 % quantile of Student's t by its expansion in the inverse of its degrees of freedom (Abramowitz and Stegun
-- 26.7.5), which is off by less than 1e-5 from 10 of them on.
with_error as (
    select
        *,
        end_steps - 2 as freedom,
        sqrt(greatest(loss_spread - slope ^ 2 * step_spread, 0) / (freedom * step_spread)) as standard_error,
        1.959964 + 2.372271 / freedom + 2.822502 / freedom ^ 2 + 2.555853 / freedom ^ 3 + 1.589534 / freedom ^ 4
            as quantile
    from over_steps
)

select
    recipe,
    adapter,
    steps,
    first_loss,
    last_loss,
    100 * (first_loss - last_loss) / nullif(first_loss, 0) as loss_reduction_percent,
    logged_first_loss,
    logged_last_loss,
    100 * (logged_first_loss - logged_last_loss) / nullif(logged_first_loss, 0) as logged_reduction_percent,
    lowest_loss,
    lowest_loss_step,
    first_accuracy,
    last_accuracy,
    logged_first_accuracy,
    logged_last_accuracy,
    highest_accuracy,
    highest_accuracy_step,
    if(end_steps >= 20, 100 * slope, null) as end_slope,
    if(end_steps >= 20, 100 * (slope - quantile * standard_error), null) as end_slope_lower,
    if(end_steps >= 20, 100 * (slope + quantile * standard_error), null) as end_slope_upper,
    end_slope_upper < 0 as still_falling,
    evaluations,
    best_validation_log_loss,
    best_validation_step,
    last_validation_log_loss,
    last_validation_step,
    last_validation_log_loss - best_validation_log_loss as overfitting,
    if(evaluations >= 2, best_validation_step = last_validation_step, null) as validation_still_falling,
    best_steps[adapter + 1] as kept_step
from with_error
left join (select recipe, best_steps from arena.adapter) using (recipe)
order by recipe, adapter
