-- One row per (study, split, readout) of a study that repeats another with one thing changed: what the change did, by
-- labels as the reports say it, and by A - B at the seeds and on the users that both studies have.
-- readout      held_out or tail, as in verdicts.contrast; only held_out has an interval
-- common_seeds  seeds that both have
-- before_common_pp, after_common_pp  mean A - B of each over the common seeds, points; empty if there are none
-- mean_change_pp  mean over the common seeds of this study's A - B minus that of `variant_of`, points; empty if none
-- sd_change_pp  its standard deviation over the common seeds, population form, points; empty with fewer than two
-- change_pp, lower_pp, upper_pp  the same change on the users whom both studies scored, points, with its 95 % interval
--              over users and seeds, paired in both
-- p, p_adjusted  two-sided p of no change, alone and adjusted over the splits of the same role (adjustment)
-- p_equivalence  p of the two one-sided tests that the change lies within the study's tolerance
-- minimum_detectable_pp  true change that 80 % of repetitions would find at the adjusted level
-- heterogeneity_a, heterogeneity_b, heterogeneity_difference  H of each group's users under the study's base model, 0 (all
--              prefer along one direction) to 1 (each along their own), and H of A minus H of B
-- heterogeneity_a_lower, heterogeneity_b_lower, heterogeneity_difference_lower  lower end of its 95 % interval over users
-- heterogeneity_a_upper, heterogeneity_b_upper, heterogeneity_difference_upper  upper end of it
-- reading      held_out only: in words, what the paired change and the groups' heterogeneity say, or what keeps them
--              from saying it
-- cautions     held_out only: what a reader should know besides
with matched as (
    select
        after.study, split, readout,
        count(*) as common_seeds,
        avg(before.difference_pp) as before_common_pp,
        avg(after.difference_pp) as after_common_pp,
        avg(after.difference_pp - before.difference_pp) as mean_change_pp,
        if(count(*) > 1, stddev_pop(after.difference_pp - before.difference_pp), null) as sd_change_pp
    from verdicts.contrast as after
    join studies.study as variant on variant.study = after.study
    join verdicts.contrast as before using (split, seed, readout, metric)
    where before.study = variant_of and metric = 'pref_acc'
    group by all
),

changed as (
    select
        after.study, after.weighted and not before.weighted as corrects_support,
        if(
            after.method <> before.method,
            upper(after.method) || ' instead of ' || upper(before.method),
            after.study || ' instead of ' || before.study
        ) as what
    from studies.study as after
    join studies.study as before on before.study = after.variant_of
),

paired as (
    select * exclude (role), 'held_out' as readout from verdicts.estimate where quantity = 'change' and metric = 'pref_acc'
),

made as (
    select study, any_value(digest) as digest from verdicts.estimate group by all
),

current as (
    select study, any_value(digest) as digest from verdicts.basis group by all
),

per_group as (
    select study, found.split, found.user_group, heterogeneity, lower, upper, found.state
    from studies.study
    join verdicts.heterogeneity as found using (reference, base_model)
    semi join model.base as base on base.base_model = found.base_model and base.revision = found.revision
),

heterogeneity as (
    select
        study, split,
        any_value(heterogeneity) filter (where user_group = 'A') as heterogeneity_a,
        any_value(lower) filter (where user_group = 'A') as heterogeneity_a_lower,
        any_value(upper) filter (where user_group = 'A') as heterogeneity_a_upper,
        any_value(heterogeneity) filter (where user_group = 'B') as heterogeneity_b,
        any_value(lower) filter (where user_group = 'B') as heterogeneity_b_lower,
        any_value(upper) filter (where user_group = 'B') as heterogeneity_b_upper,
        any_value(heterogeneity) filter (where user_group = 'A - B') as heterogeneity_difference,
        any_value(lower) filter (where user_group = 'A - B') as heterogeneity_difference_lower,
        any_value(upper) filter (where user_group = 'A - B') as heterogeneity_difference_upper,
        any_value(state) filter (where user_group = 'A - B') as heterogeneity_state
    from per_group
    group by all
),

adapters_before as (
    select study, split, count(*) as adapters, count(*) filter (where state = 'stale') as stale_adapters
    from training.states
    where split is not null
    group by all
),

gathered as (
    select
        label.*, adapters, stale_adapters, corrects_support, what, null_tolerance_pp, expected_sign,
        label.role in ('null control', 'placebo') as is_control,
        coalesce(common_seeds, 0) as common_seeds,
        before_common_pp, after_common_pp, mean_change_pp, sd_change_pp,
        paired.estimate as change_pp, paired.lower as lower_pp, paired.upper as upper_pp,
        paired.p, paired.p_adjusted, paired.adjustment, paired.p_equivalence,
        paired.minimum_detectable as minimum_detectable_pp, paired.note, paired.seeds as paired_seeds, paired.training_sd,
        coalesce(paired.p_adjusted < 0.05, false) as differs,
        coalesce(paired.p_equivalence < 0.05, false) as equivalent,
        made.digest is distinct from current.digest as outdated,
        noise_better, noise_worse,
        heterogeneity.* exclude (study, split)
    from verdicts.label_change as label
    left join changed on changed.study = label.study
    left join studies.split as asked on asked.study = label.study and asked.split = label.split
    left join matched on matched.study = label.study and matched.split = label.split and matched.readout = label.readout
    left join adapters_before on adapters_before.study = label.variant_of and adapters_before.split = label.split
    left join paired on paired.study = label.study and paired.split = label.split and paired.readout = label.readout
    left join made on made.study = label.study
    left join current on current.study = label.study
    left join verdicts.change_noise as noise
        on noise.study = label.study and noise.split = label.split and noise.readout = label.readout
        and noise.before_label = label.before_label
    left join heterogeneity on heterogeneity.study = label.study and heterogeneity.split = label.split
),

obstacles as (
    select
        *,
        case
            when common_seeds = 0 then 'no seed has both groups finished in both studies, so nothing is paired'
            when outdated then 'the estimate is not of the cells and the plan that now count; materialise verdicts/estimate'
            when change_pp is null then 'no user was scored by both studies at a common seed, so nothing is paired'
            when paired_seeds = 1 then 'only one common seed: no other shows whether the change repeats'
            when p is null then coalesce(nullif(note, ''), 'no interval could be made')
        end as obstacle,
        format('{:+.1f} points [{:+.1f}, {:+.1f}], {} p = {:.2g}',
            change_pp, lower_pp, upper_pp, regexp_extract(adjustment, '^\S+'), p_adjusted) as measured
    from gathered
),

told as (
    select
        *,
        case
            when obstacle is not null then upper(obstacle[1]) || obstacle[2:] || '.'
            when is_control and differs and equivalent then format(
                'A control moved, though by less than the {:.1f} points that count as none: {}.', null_tolerance_pp, measured)
            when is_control and differs then format(
                'A control moved, where nothing should: {}. {} does something to groups that {}, so a change of this size in '
                || 'another split need not be of that split.',
                measured, what, if(role = 'placebo', 'differ by chance alone', 'were taken to be alike'))
            when differs and equivalent then format(
                '{} changes A - B, but by less than the {:.1f} points that count as none: {}.',
                what, null_tolerance_pp, measured)
            when differs and role = 'directional' then format(
                '{} moves A - B {} what was expected: {}.',
                what, if(sign(change_pp) = expected_sign, 'towards', 'away from'), measured)
            when differs then format(
                'Found, not foreseen: {} moves A - B by {}; to confirm it, fix the direction and use fresh seeds and folds.',
                what, measured)
            when equivalent then format(
                '{} changes A - B by less than {:.1f} points: {}, equivalence p = {:.2g}.',
                what, null_tolerance_pp, measured, p_equivalence)
            else format(
                'Cannot tell what {} does to A - B: {}; {:.1f} points would be found in 80 % of repetitions.',
                what, measured, minimum_detectable_pp)
        end as on_change,
        case
            when obstacle is not null or not corrects_support or is_control then null
            when equivalent then 'As far as weights correct it, support mismatch explains no more than that.'
            when differs and role = 'directional' and sign(change_pp) = expected_sign then
                'As it would if support mismatch had hidden part of the difference.'
            when differs and role = 'directional' then
                'As far as weights correct it, support mismatch did not hide the difference.'
        end as on_support,
        case
            when heterogeneity_state is null then null
            when heterogeneity_difference is null then format('The groups'' heterogeneity cannot be compared ({}).', heterogeneity_state)
            else format(
                '{} (H of A - H of B = {:+.2f} [{:+.2f}, {:+.2f}]).',
                case
                    when heterogeneity_difference_lower > 0 then 'Users of A agree less with each other than those of B'
                    when heterogeneity_difference_upper < 0 then 'Users of B agree less with each other than those of A'
                    else 'Neither group is shown to agree less within itself'
                end,
                heterogeneity_difference, heterogeneity_difference_lower, heterogeneity_difference_upper)
        end as on_heterogeneity
    from obstacles
)

select
    study, variant_of, split, readout, role, expected,
    before_pp, before_seeds, before_label, after_pp, after_seeds, after_label, change, noise_better, noise_worse,
    common_seeds, before_common_pp, after_common_pp, mean_change_pp, sd_change_pp,
    change_pp, lower_pp, upper_pp, p, p_adjusted, adjustment, p_equivalence, minimum_detectable_pp,
    heterogeneity_a, heterogeneity_a_lower, heterogeneity_a_upper,
    heterogeneity_b, heterogeneity_b_lower, heterogeneity_b_upper,
    heterogeneity_difference, heterogeneity_difference_lower, heterogeneity_difference_upper,
    if(readout = 'held_out', concat_ws(' ', on_change, on_support, on_heterogeneity), null) as reading,
    if(
        readout = 'held_out',
        concat_ws('; ',
            if(stale_adapters > 0, format('{} of {} adapters of {} are stale', stale_adapters, adapters, variant_of), null),
            if(p is not null and training_sd is null, 'no placebo splits: spread over training users is not in the interval', null),
            nullif(note, '')),
        null) as cautions
from told
order by study, split, readout
