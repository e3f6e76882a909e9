-- One row per study of a weighted method and split: the reports' table of weights, over the cells that count.
-- method          the loss
-- seeds_a, seeds_b  seeds behind the numbers of each group
-- w_mean_a, w_mean_b  mean weight over steps, folds and seeds, 0-1
-- w_min_a, w_min_b  smallest weight of any pair in any step, over folds and seeds
-- clamped_a, clamped_b  share of pairs whose weight is 1, over steps, folds and seeds
-- moved_a, moved_b  mean weight in the last tenth of the steps less that in the first, over folds and seeds
select
    study, method, split,
    count(distinct seed) filter (where user_group = 'A') as seeds_a,
    count(distinct seed) filter (where user_group = 'B') as seeds_b,
    avg(weight_mean) filter (where user_group = 'A') as w_mean_a,
    avg(weight_mean) filter (where user_group = 'B') as w_mean_b,
    min(weight_min) filter (where user_group = 'A') as w_min_a,
    min(weight_min) filter (where user_group = 'B') as w_min_b,
    avg(weight_clamped) filter (where user_group = 'A') as clamped_a,
    avg(weight_clamped) filter (where user_group = 'B') as clamped_b,
    avg(weight_moved) filter (where user_group = 'A') as moved_a,
    avg(weight_moved) filter (where user_group = 'B') as moved_b
from weights.in_training
semi join verdicts.counted using (study, cohort, seed, fold)
where split is not null
group by all
order by study, split
