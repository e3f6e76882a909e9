-- One row per (experiment, target, probe): what may be said of reading that target off hidden states, in one sentence,
-- by intervals alone. It is said of the layer and position with the highest score, and intervals are widened for having
-- looked at all of them. What can be read off linearly is not thereby used by the model.
--
-- within_topics  score after topic means are taken out of both what is predicted and the prediction (ridge alone)
-- within_topics_lower, within_topics_upper  its 95 % interval, widened likewise
-- other_topics  score of topics that were left out whole
-- other_topics_lower, other_topics_upper  its 95 % interval, widened likewise
-- other_origins  score of origins that were left out whole
-- other_origins_lower, other_origins_upper  its 95 % interval, widened likewise
-- state        READABLE: predicted better than by chance and by every baseline, and (ridge) within topics if there are
--              any;
--              BASELINE: better than by chance, but not shown to be more than a baseline has or than topics explain;
--              NOT SHOWN: not shown to be predicted better than by chance; CANNOT TELL: too few units, nothing to
--              predict, or no baseline
-- sentence     the same, with the numbers that decided
-- cautions     what limits it, apart by `; `
with kinds (probe, named, best_by_chance, scale, digits, one, range, all_of_it, verb, unshown) as (
    values
    (
        'ridge', 'ridge', 'its mean', 100, 0, '{:.0f} %', '[{:.0f}, {:.0f}]',
        'explains {0} of the variance of {1} {2}', 'explains', 'explains {0} {1}'
    ),
    (
        'logistic', 'logistic', 'a coin', 1, 2, '{:.2f}', '[{:.2f}, {:.2f}]',
        'predicts {1} with an AUC of {0} {2} (a coin: 0.50)', 'has', 'has an AUC of {0} {1}'
    ),
    (
        'bradley_terry', 'Bradley-Terry', 'a coin', 100, 1, '{:.1f} %', '[{:.1f}, {:.1f}]',
        'predicts {0} of {1} {2} (a coin: 50 %)', 'predicts', 'predicts {0} {1}'
    )
),

best as (
    select
        *,
        coalesce((widened_upper - estimate) / nullif(upper - estimate, 0), 1) as wider
    from probes.against_baselines
    qualify row_number() over (
        partition by experiment, target, probe order by estimate desc nulls last, layer, position
    ) = 1
),

beside as (
    select
        experiment,
        target,
        probe,
        layer,
        position,
        any_value(score) filter (where split = 'unit' and score.metric = 'r_squared_within_topics') as within,
        any_value(score) filter (where split = 'leave_one_topic_out' and score.metric = best.metric) as topics,
        any_value(score) filter (where split = 'leave_one_origin_out' and score.metric = best.metric) as origins
    from best
    join probes.score as score using (experiment, target, probe, layer, position)
    where features = 'activations'
    group by all
),

compared as (
    select
        experiment,
        target,
        probe,
        list_filter(
            ['topic', 'length', 'text', 'shuffled labels', 'random activations'],
            lambda one: not list_contains(list(distinct features) filter (where score.estimate is not null), one)
        ) as not_compared,
        string_agg(
            distinct features, ' and ' order by features
        ) filter (where features in ('shuffled labels', 'random activations') and score.lower > chance) as leaks
    from best
    join probes.score as score using (experiment, target, probe, metric)
    where split = 'unit'
        and (features not in ('shuffled labels', 'random activations')
            or (score.layer = best.layer and score.position = best.position))
    group by all
),

values_of_target as (
    select experiment, target, probe, max(share) as commonest
    from (
        select experiment, target, probe, count(*) / sum(count(*)) over (partition by experiment, target, probe) as share
        from probes.prediction
        semi join best using (experiment, target, probe, layer, position)
        where probe <> 'bradley_terry'
        group by experiment, target, probe, actual
    )
    group by all
),

penalties as (
    select
        experiment,
        target,
        probe,
        sum(chosen) filter (where alpha in (least_alpha, most_alpha)) as at_an_end,
        sum(chosen) as choices
    from (
        select
            *,
            min(alpha) over (partition by experiment, target, probe) as least_alpha,
            max(alpha) over (partition by experiment, target, probe) as most_alpha
        from probes.sweep
        semi join best using (experiment, target, probe, layer, position)
        where features = 'activations'
    )
    group by all
),

judged as (
    select
        best.*,
        kinds.* exclude (probe),
        within.estimate as within_topics,
        within.estimate - wider * (within.estimate - within.lower) as within_topics_lower,
        within.estimate + wider * (within.upper - within.estimate) as within_topics_upper,
        topics.estimate as other_topics,
        topics.estimate - wider * (topics.estimate - topics.lower) as other_topics_lower,
        topics.estimate + wider * (topics.upper - topics.estimate) as other_topics_upper,
        origins.estimate as other_origins,
        origins.estimate - wider * (origins.estimate - origins.lower) as other_origins_lower,
        origins.estimate + wider * (origins.upper - origins.estimate) as other_origins_upper,
        not_compared,
        leaks,
        commonest,
        at_an_end,
        choices,
        case kind when 'study' then 'users' when 'measurement' then 'tasks' else 'units' end as unit,
        case
            when estimate is null then coalesce(nullif(note, ''), 'no probe of it has an estimate')
            when units < 30 then format('{} {} are too few, at least 30 are wanted', units, unit)
            when lower is null then 'its score has no interval'
            when baseline is null then 'no baseline was fitted beside it'
        end as untold,
        case
            when untold is not null then 'CANNOT TELL'
            when not above_chance then 'NOT SHOWN'
            when not beyond_baselines or within_topics_lower <= 0 then 'BASELINE'
            else 'READABLE'
        end as state
    from best
    join kinds using (probe)
    left join beside using (experiment, target, probe, layer, position)
    left join compared using (experiment, target, probe)
    left join values_of_target using (experiment, target, probe)
    left join penalties using (experiment, target, probe)
    left join (select experiment, kind from probes.experiment) using (experiment)
),

said as (
    select
        *,
        format('layer {}, {}', layer, case position
            when 'prompt_last' then 'last prompt token'
            when 'prompt_mean' then 'mean of the prompt'
            when 'turn_boundary' then 'turn boundary'
            when 'response_last' then 'last response token'
            when 'response_mean' then 'mean of the response'
            else position
        end) as place,
        case
            when target = 'score_gap' then 'the score gap'
            when target = 'chosen' then 'which answer was chosen'
            when starts_with(target, 'group:') then 'the user''s group in ' || target[7:]
            else target
        end as what,
        format('On {} that it has not seen, ', if(unit = 'users', 'pairs of users', unit)) as unseen,
        format(one, round(scale * estimate, digits) + 0) as scored,
        format(range, round(scale * widened_lower, digits) + 0, round(scale * widened_upper, digits) + 0) as between_,
        format(one, round(scale * baseline_estimate, digits) + 0) as baseline_scored,
        format(one, round(scale * within_topics, digits) + 0) || ' '
            || format(range, round(scale * within_topics_lower, digits) + 0, round(scale * within_topics_upper, digits)
                + 0) as within_scored,
        format(one, round(scale * other_topics, digits) + 0) || ' '
            || format(range, round(scale * other_topics_lower, digits) + 0, round(scale * other_topics_upper, digits)
                + 0) as topics_scored,
        format(one, round(scale * other_origins, digits) + 0) || ' '
            || format(range, round(scale * other_origins_lower, digits) + 0, round(scale * other_origins_upper, digits)
                + 0) as origins_scored,
        format(range, round(scale * beyond_lower, digits) + 0, round(scale * beyond_upper, digits) + 0) as apart
    from judged
)

select
    experiment,
    target,
    probe,
    layer,
    position,
    metric,
    chance,
    tried,
    rows,
    units,
    estimate,
    widened_lower,
    widened_upper,
    baseline,
    baseline_estimate,
    beyond,
    beyond_lower,
    beyond_upper,
    within_topics,
    within_topics_lower,
    within_topics_upper,
    other_topics,
    other_topics_lower,
    other_topics_upper,
    other_origins,
    other_origins_lower,
    other_origins_upper,
    state,
    case state
        when 'CANNOT TELL' then format('It cannot be told whether {} can be read off: {}.', what, untold)
        when 'NOT SHOWN' then format(
            '{}no {} probe is shown to predict {} better than {}: {} {}.', unseen, named, what, best_by_chance,
            if(tried > 1, format('the best of {} tried, {},', tried, place), 'the one of ' || place || ','),
            format(unshown, scored, between_)
        )
        else format('{}a {} probe of {}, ', unseen, named, place) || format(all_of_it, scored, what, between_) || case
            when not beyond_baselines then format(
                ', which is not shown to be more than {}, {} (difference {} {})',
                if(baseline in ('topic', 'length', 'text'), format('{} alone {}', baseline, verb), baseline || ' give'),
                baseline_scored,
                format(one, round(scale * beyond, digits) + 0),
                apart
            )
            when baseline_estimate <= chance then format('; no baseline is better than {}', best_by_chance)
            when baseline in ('topic', 'length', 'text') then format('; {} alone {} {}', baseline, verb, baseline_scored)
            else format('; the best baseline, {}, {} {}', baseline, verb, baseline_scored)
        end || case
            when within_scored is null then ''
            when within_topics_lower > 0 then format('; within topics it explains {}', within_scored)
            else format('; within topics nothing is shown: {}', within_scored)
        end || '.' || case
            when topics_scored is null then ''
            when other_topics_lower > chance then format(
                ' It carries over to topics that it has not seen: {}.', topics_scored
            )
            else format(' It is not shown to carry over to topics that it has not seen: {}.', topics_scored)
        end || case
            when origins_scored is null then ''
            when other_origins_lower > chance then format(
                ' It carries over to origins that it has not seen: {}.', origins_scored
            )
            else format(' It is not shown to carry over to origins that it has not seen: {}.', origins_scored)
        end
    end as sentence,
    concat_ws(
        '; ',
        if(leaks is not null, format('{} are predicted too, so something of what is held out leaks', leaks), null),
        if(
            tried > 1 and state <> 'CANNOT TELL',
            format('its layer and position are the best of {} that were looked at', tried),
            null
        ),
        if(units between 30 and 99, format('of {} {} only, and intervals of so few are too narrow', units, unit), null),
        if(
            commonest >= 0.8,
            format('{:.0f} % of rows have one and the same {}', 100 * commonest, if(target = 'chosen', 'value', what)),
            null
        ),
        if(
            len(not_compared) > 0 and state <> 'CANNOT TELL',
            'not compared with ' || list_aggregate(not_compared, 'string_agg', ', '),
            null
        ),
        if(
            at_an_end > 0 and state in ('READABLE', 'BASELINE'),
            format('in {} of {} folds the penalty chosen is the first or last of those tried', at_an_end, choices),
            null
        ),
        if(state <> 'CANNOT TELL', nullif(note, ''), null)
    ) as cautions
from said
order by experiment, target, probe
