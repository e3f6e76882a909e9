-- One row per (study, split) that is planned: what the study may conclude, and why. Held-out pref_acc; the reports' rule
-- stands beside it.
-- seeds_run        seeds of which both groups' adapters count
-- estimate_pp, lower_pp, upper_pp  A - B on held-out pairs, points, with its 95 % interval over users and seeds
-- p, p_adjusted    two-sided p of no difference, alone and adjusted over the splits of the same role (adjustment)
-- p_equivalence    p of the two one-sided tests that the difference lies within the study's tolerance
-- minimum_detectable_pp  true difference that 80 % of repetitions would find at the adjusted level
-- interaction_pp, interaction_lower_pp, interaction_upper_pp, interaction_p  (A on A - A on B) - (B on A - B on B), points: how
--                  far A's and B's adapters are from interchangeable; its p adjusted like the contrast's
-- exposure_ratio   times that one group's adapter sees each of its pairs over the other's; 1 is equal
-- finding          what kind of difference shows. strength: the contrast differs, one group is more consistent or easier to
--                  learn. direction: A's adapter is better than B's on A's pairs and worse on B's, they want different
--                  things (advantage_on_a and advantage_on_b of verdicts.estimate). both, or none shown
-- state            CONFIRMED: differs as expected. CONTRADICTED: differs the other way, or a null control differs.
--                  EQUIVALENT: within the tolerance. INCONCLUSIVE: neither could be told, or it may not be told
-- sentence         the state in words
-- cautions         what a reader should know besides
-- gate_warnings    gates of the study that are not passed but only warn
-- reported_rule, reported_rule_tail  the reports' rule on the held-out readout and on their own
with contrast as (
    from verdicts.estimate where quantity = 'contrast' and metric = 'pref_acc'
),

interaction as (
    from verdicts.estimate where quantity = 'interaction' and metric = 'pref_acc'
),

at_home as (
    select study, split, count(*) filter (where estimate > 0 and p_adjusted < 0.05) = 2 as better_at_home
    from verdicts.estimate
    where quantity in ('advantage_on_a', 'advantage_on_b') and metric = 'pref_acc'
    group by all
),

seeds as (
    select study, split, count(*) as seeds_run
    from verdicts.contrast
    where readout = 'held_out' and metric = 'pref_acc'
    group by all
),

recipes as (
    select study, split, count(distinct recipe) as recipes
    from verdicts.scored_users
    where adapter in ('A', 'B')
    group by all
),

adapters as (
    select study, split, count(*) as adapters, count(*) filter (where state = 'stale') as stale_adapters
    from training.states
    where split is not null
    group by all
),

exposure as (
    select study, split, max(exposure_ratio) as exposure_ratio
    from splits.exposure
    group by all
),

gates as (
    select
        study,
        string_agg(explanation, '; ' order by gate) filter (where withholds) as withheld,
        -- What the gate reads must not be hidden by it: a control that differs says so itself.
        string_agg(explanation, '; ' order by gate) filter (where withholds and gate <> 'null_controls_hold')
            as controls_withheld,
        string_agg(explanation, '; ' order by gate) filter (where state <> 'passed' and not withholds) as warned
    from verdicts.gate
    group by all
),

rules as (
    select
        study, split,
        any_value(reported_rule) filter (where readout = 'held_out') as reported_rule,
        any_value(reported_rule) filter (where readout = 'tail') as reported_rule_tail
    from verdicts.reported_rule
    group by all
),

gathered as (
    select
        split.study, split.split, split.role, split.expected, split.expected_sign, split.null_tolerance_pp,
        split.role in ('null control', 'placebo') as is_control,
        coalesce(seeds_run, 0) as seeds_run, split.seeds_planned,
        contrast.estimate as estimate_pp, contrast.lower as lower_pp, contrast.upper as upper_pp,
        contrast.p, contrast.p_adjusted, contrast.adjustment, contrast.p_equivalence,
        contrast.minimum_detectable as minimum_detectable_pp, contrast.note, contrast.training_sd,
        interaction.estimate as interaction_pp, interaction.lower as interaction_lower_pp,
        interaction.upper as interaction_upper_pp, interaction.p_adjusted as interaction_p,
        recipes, adapters, stale_adapters, exposure_ratio, if(is_control, controls_withheld, withheld) as withheld, warned, reported_rule, reported_rule_tail,
        contrast.digest is distinct from basis.digest as outdated,
        coalesce(contrast.p_adjusted < 0.05, false) as differs,
        coalesce(contrast.p_equivalence < 0.05, false) as equivalent,
        coalesce(interaction.p_adjusted < 0.05, false) as interacts,
        coalesce(better_at_home, false) as directional
    from studies.split as split
    left join contrast using (study, split)
    left join interaction using (study, split)
    left join at_home using (study, split)
    left join seeds using (study, split)
    left join verdicts.basis as basis using (study, split)
    left join recipes using (study, split)
    left join adapters using (study, split)
    left join exposure using (study, split)
    left join gates using (study)
    left join rules using (study, split)
),

obstacles as (
    select
        *,
        case
            when seeds_run = 0 then 'no seed has both groups finished'
            when outdated then 'the estimate is not of the cells and the plan that now count; materialise verdicts/estimate'
            when seeds_run = 1 then 'only one seed: no other shows whether it repeats'
            when p is null then coalesce(nullif(note, ''), 'no interval could be made')
            when withheld is not null then 'withheld: ' || withheld
        end as obstacle
    from gathered
),

judged as (
    select
        *,
        case
            when obstacle is not null then 'INCONCLUSIVE'
            when is_control then
                case when equivalent then 'EQUIVALENT' when differs then 'CONTRADICTED' else 'INCONCLUSIVE' end
            when role = 'directional' and differs then
                if(sign(estimate_pp) = expected_sign, 'CONFIRMED', 'CONTRADICTED')
            when equivalent and not differs then 'EQUIVALENT'
            else 'INCONCLUSIVE'
        end as state,
        case
            when obstacle is not null then null
            when differs and directional then 'both'
            when differs then 'strength'
            when directional then 'direction'
            else 'none shown'
        end as finding,
        format('A - B = {:+.1f} points [{:+.1f}, {:+.1f}]', estimate_pp, lower_pp, upper_pp) as measured,
        format('{} p = {:.2g}', regexp_extract(adjustment, '^\S+'), p_adjusted) as tested
    from obstacles
)

select
    study, split, role, expected, seeds_run, seeds_planned,
    estimate_pp, lower_pp, upper_pp, p, p_adjusted, adjustment, p_equivalence, minimum_detectable_pp,
    interaction_pp, interaction_lower_pp, interaction_upper_pp, interaction_p,
    exposure_ratio, finding, state,
    case
        when obstacle is not null then upper(obstacle[1]) || obstacle[2:] || '.'
        else trim(concat(
            case
                when role = 'directional' and differs then format(
                    '{}: {}, {}; {} was expected. ', if(state = 'CONFIRMED', 'As expected', 'The other way'),
                    measured, tested, expected)
                when role = 'exploratory' and differs then format(
                    'Found, not foreseen: {}, {}; to confirm it, fix the direction and use fresh seeds and folds. ',
                    measured, tested)
                when equivalent then format(
                    'Any difference is below {:.1f} points: {}, equivalence p = {:.2g}. ', null_tolerance_pp, measured, p_equivalence)
                when differs then format('A control differs, where nothing should: {}, {}. ', measured, tested)
                else format(
                    'Cannot tell which group is higher: {}, {}; {:.1f} points would be found in 80 % of repetitions. ',
                    measured, tested, minimum_detectable_pp)
            end,
            case
                when interaction_p is null then ''
                when directional then format(
                    'Direction: A and B want different things, each adapter is better at home (interaction {:+.1f} points [{:+.1f}, {:+.1f}]).',
                    interaction_pp, interaction_lower_pp, interaction_upper_pp)
                else format(
                    '{} (interaction {:+.1f} points [{:+.1f}, {:+.1f}]).',
                    case
                        when differs and is_control and equivalent then 'There is one, though, within the tolerance'
                        when differs and is_control then
                            'Groups that were taken to be alike are not, or the interval leaves out a source of spread'
                        when differs and interacts then
                            'Strength: one group is more consistent or easier to learn; the adapters are not '
                            || 'interchangeable, but not each is shown to be better at home'
                        when differs then
                            'Strength: one group is more consistent or easier to learn; the adapters are interchangeable '
                            || 'as far as can be told'
                        when interacts then
                            'The adapters are not interchangeable, but not each is shown to be better at home'
                        else 'No difference in what they want shows either'
                    end,
                    interaction_pp, interaction_lower_pp, interaction_upper_pp)
            end))
    end as sentence,
    concat_ws('; ',
        if(seeds_run < seeds_planned, format('{} of {} planned seeds', seeds_run, seeds_planned), null),
        if(stale_adapters > 0, format('{} of {} adapters are stale', stale_adapters, adapters), null),
        if(recipes > 1, format('its adapters were trained by {} recipes', recipes), null),
        if(exposure_ratio > 1.1, format('one group sees its pairs {:.1f} times as often', exposure_ratio), null),
        if(p is not null and training_sd is null, 'no placebo splits: spread over training users is not in the interval', null),
        if(obstacle is null and not is_control and differs and equivalent,
            format('the difference is shown to be below {:.1f} points, which the study counts as none', null_tolerance_pp), null),
        nullif(note, '')) as cautions,
    warned as gate_warnings,
    reported_rule, reported_rule_tail
from judged
order by study, split
