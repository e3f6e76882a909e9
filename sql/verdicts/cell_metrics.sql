-- One row per (study, cohort, seed, metric) that counts: what the reports print about the training of one adapter.
-- Folds of one seed are averaged. A group's held-out pairs are its own, the baseline's are everyone's.
-- metric  train_pairs (distinct pairs learned from); final_loss, final_margin, final_pref_acc (last logged batch);
--         mean_loss_tail, mean_margin_tail, mean_pref_acc_tail (last 20 % of the logged batches); steps_to_60pct (first
--         logged step whose own batch has pref_acc >= .60); held_out_margin, held_out_pref_acc (unseen users)
-- value   losses in nats, margins in nats x beta, pref_acc as a share; empty for steps_to_60pct if a fold never got
--         there, and for held-out metrics if no held-out pair of the cohort is scored
with logged as (
    select
        log.study, log.cohort, log.split, log.user_group, log.seed, log.fold, counted.recipe,
        train_pairs, log.step, log.step > 0.8 * counted.steps as in_tail, loss, margin, log.pref_acc
    from training.log
    join verdicts.counted using (study, cohort, seed, fold, fingerprint)
    join training.cells using (study, cohort, seed, fold)
    join studies.study using (study)
    where step % log_every = 0
),

per_fold as (
    select
        study, cohort, split, user_group, seed, fold, recipe, train_pairs,
        arg_max(loss, step) as final_loss,
        arg_max(margin, step) as final_margin,
        arg_max(pref_acc, step) as final_pref_acc,
        avg(loss) filter (where in_tail) as mean_loss_tail,
        avg(margin) filter (where in_tail) as mean_margin_tail,
        avg(pref_acc) filter (where in_tail) as mean_pref_acc_tail,
        min(step) filter (where pref_acc >= 0.6) as steps_to_60pct
    from logged
    group by all
),

trained as (
    select
        study, cohort, split, user_group, seed, recipe,
        avg(train_pairs) as train_pairs,
        avg(final_loss) as final_loss,
        avg(final_margin) as final_margin,
        avg(final_pref_acc) as final_pref_acc,
        avg(mean_loss_tail) as mean_loss_tail,
        avg(mean_margin_tail) as mean_margin_tail,
        avg(mean_pref_acc_tail) as mean_pref_acc_tail,
        if(count(steps_to_60pct) = count(*), avg(steps_to_60pct), null) as steps_to_60pct
    from per_fold
    group by all
),

held_out as (
    select
        margins.study, margins.cohort, margins.seed, counted.recipe,
        avg(margin) as held_out_margin,
        avg((margin > 0)::double) as held_out_pref_acc
    from training.margins
    join verdicts.counted using (study, cohort, seed, fold, fingerprint)
    join prism.pairs using (pair_id)
    left join splits.assignments as groups on groups.split = margins.split and groups.user_id = pairs.user_id
    where margins.split is null or groups.user_group = margins.user_group
    group by all
)

from (from trained left join held_out using (study, cohort, seed, recipe))
unpivot include nulls (
    value for metric in (
        train_pairs, final_loss, final_margin, final_pref_acc, mean_loss_tail, mean_margin_tail, mean_pref_acc_tail,
        steps_to_60pct, held_out_margin, held_out_pref_acc
    )
)
order by study, cohort, seed, metric
