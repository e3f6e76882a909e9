-- One row per (study, gate): does what must hold before the study's verdicts are read hold?
-- measured_pp  baseline_trained: the baseline's mean pref_acc over its seeds at the tail of training, percent.
--              null_controls_hold: the largest difference that a null control or placebo shows, points
-- state        passed, failed (null_controls_hold: one differs and is not shown to lie within the tolerance), undecided (the
--              controls' intervals are too wide to tell) or not measured
-- withholds    whether verdicts are withheld because of it: it was declared to, and failed or was not measured
-- explanation  the state in words
with trained as (
    select study, 100 * mean_value as pref_acc_pp, seeds_run
    from verdicts.baseline
    where metric = 'mean_pref_acc_tail' and seeds_run > 0
),

controls as (
    select
        split.study,
        count(*) as planned,
        count(p) as tested,
        count(*) filter (where p_adjusted < 0.05 and p_equivalence >= 0.05) as differing,
        string_agg(split.split, ', ' order by split.split) filter (where p_adjusted < 0.05 and p_equivalence >= 0.05)
            as differing_names,
        count(*) filter (where p_equivalence < 0.05) as equivalent,
        max(abs(estimate)) as largest_pp,
        arg_max(estimate.split, abs(estimate)) as largest_in
    from studies.split
    left join verdicts.estimate
        on estimate.study = split.study and estimate.split = split.split
        and quantity = 'contrast' and metric = 'pref_acc'
    where split.role in ('null control', 'placebo')
    group by all
),

measured as (
    select
        gate.*,
        if(gate = 'baseline_trained', pref_acc_pp, largest_pp) as measured_pp,
        case
            when gate = 'baseline_trained' then
                case when pref_acc_pp is null then 'not measured' when pref_acc_pp >= wanted_pp then 'passed' else 'failed' end
            when coalesce(tested, 0) = 0 then 'not measured'
            when differing > 0 then 'failed'
            when equivalent = planned then 'passed'
            else 'undecided'
        end as state,
        seeds_run, planned, tested, differing, differing_names, equivalent, largest_in
    from studies.gate
    left join trained using (study)
    left join controls using (study)
)

select
    study, gate, on_failure, wanted_pp, measured_pp, state,
    on_failure = 'withhold' and state in ('failed', 'not measured') as withholds,
    case
        when gate = 'baseline_trained' and state = 'not measured' then 'no baseline adapter is finished'
        when gate = 'baseline_trained' then format(
            'the baseline prefers the chosen answer in {:.1f} % of its last training pairs ({} {}); {:.0f} % was wanted',
            measured_pp, seeds_run, if(seeds_run = 1, 'seed', 'seeds'), wanted_pp)
        when planned is null then 'the study plans no null control or placebo'
        when state = 'not measured' then 'no null control or placebo has an interval yet'
        else format(
            '{} of {} null controls and placebos shown to differ by less than {:.1f} points, {} to differ{}{}; '
            || 'largest difference {:.1f} points ({})',
            equivalent, planned, wanted_pp, differing, coalesce(' (' || differing_names || ')', ''),
            if(tested < planned, format(', {} without an interval yet', planned - tested), ''), measured_pp, largest_in)
    end as explanation
from measured
order by study, gate
