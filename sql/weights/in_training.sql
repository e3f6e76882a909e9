-- One row per finished cell of a weighted method: the weights that its own policy gave to the pairs it was training on.
-- The reports' w_mean and w_min are weight_mean and weight_min; weights.by_group_in_training puts A beside B.
-- method          the loss
-- steps           training steps behind the numbers
-- weight_mean     mean weight over all steps and pairs, 0-1
-- weight_min      smallest weight of any pair in any step
-- weight_clamped  share of pairs, over all steps, whose weight is 1, to which what would be larger is cut
-- weight_mean_first  mean weight in the first tenth of the steps, one step at least
-- weight_mean_last  mean weight in the last tenth of the steps, one step at least
-- weight_moved    weight_mean_last - weight_mean_first: how far the policy's own weights move in training
select
    log.study, cells.method, log.cohort, log.split, log.user_group, log.seed, log.fold,
    count(*) as steps,
    avg(weight_mean) as weight_mean,
    min(weight_min) as weight_min,
    avg(weight_clamped) as weight_clamped,
    avg(weight_mean) filter (where log.step <= greatest(1, 0.1 * cells.steps)) as weight_mean_first,
    avg(weight_mean) filter (where log.step > least(cells.steps - 1, 0.9 * cells.steps)) as weight_mean_last,
    weight_mean_last - weight_mean_first as weight_moved
from training.log
join training.cells using (study, cohort, seed, fold, fingerprint)
where weight_mean is not null
group by all
order by log.study, log.cohort, log.seed, log.fold
