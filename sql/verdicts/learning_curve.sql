-- One row per (study, cohort, seed, window): the training batches of a counted cell by twentieths of its steps. Every
-- batch is in, not only the logged ones; folds of one seed are pooled.
-- step_window  1 to 20; window w holds the steps above (w - 1)/20 and up to w/20 of all
-- first_step, last_step  of the window
-- batches      training batches in the window
-- pref_acc     mean over those batches of the share of pairs with margin > 0, before the step
-- loss         mean loss of those batches, nats
-- margin       mean reward margin of those batches, nats x beta
select
    log.study, log.cohort, log.split, log.user_group, log.seed, counted.recipe,
    ceil(20 * log.step / counted.steps)::bigint as step_window,
    min(log.step) as first_step,
    max(log.step) as last_step,
    count(*) as batches,
    avg(log.pref_acc) as pref_acc,
    avg(log.loss) as loss,
    avg(log.margin) as margin
from training.log
join verdicts.counted using (study, cohort, seed, fold, fingerprint)
group by all
order by log.study, log.cohort, log.seed, step_window
