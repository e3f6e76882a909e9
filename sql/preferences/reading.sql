-- One row per configuration of choices: whether its utilities say anything that position or coins would not, in one
-- sentence, by intervals alone. Utilities that predict no better than naming one slot are no preferences.
--
-- first_slot_lower, first_slot_upper  95 % interval of first_slot over pairs
-- one_slot_accuracy  share of choices that naming the favoured slot each time gets right, 0-1
-- coins_rate   the share of triads that would cycle by coins, given which triads have no tied pair
-- state        PREFERENCES: unseen choices are predicted better than by position, and circles are rarer than coins', or no
--              triad was measured; CIRCLES: they are, but circles are not shown to be rarer; POSITION: they are not
--              shown to be, and one slot is favoured; COINS: they are not shown to be, and no slot is; CANNOT TELL:
--              nothing was held out
-- sentence     the same, with the numbers that decided
-- cautions     what limits it, apart by `; `
with per_pair as (
    select
        measurement,
        configuration,
        count(*) as answers,
        count(*) filter (where choice = 'a') as first
    from preferences.choices
    where choice in ('a', 'b')
    group by measurement, configuration, least(task_a, task_b), greatest(task_a, task_b)
),

shares as (
    select measurement, configuration, sum(first) / sum(answers) as share from per_pair group by all
),

-- Answers to one pair go together, so pairs are what the interval is over; Wilson's, whose design effect is measured.
spread as (
    select
        measurement,
        configuration,
        any_value(share) as share,
        sum(answers) as answers,
        greatest(
            1,
            sum((first - share * answers) ^ 2) / nullif(any_value(share) * (1 - any_value(share)) * sum(answers), 0)
        ) as design_effect
    from per_pair
    join shares using (measurement, configuration)
    group by all
),

position as (
    select
        measurement,
        configuration,
        (share + z2 / (2 * n) - half) / (1 + z2 / n) as first_slot_lower,
        (share + z2 / (2 * n) + half) / (1 + z2 / n) as first_slot_upper
    from (
        select *, sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n ^ 2))) as half
        from (select *, 1.959964 ^ 2 as z2, answers / coalesce(design_effect, 1) as n from spread)
    )
),

judged as (
    select
        *,
        greatest(first_slot, 1 - first_slot) as one_slot_accuracy,
        decided_triads / nullif(triads, 0) / 4 as coins_rate,
        case
            when gain_lower is null then 'CANNOT TELL'
            when gain_lower <= 0 then if(0.5 between first_slot_lower and first_slot_upper, 'COINS', 'POSITION')
            when cycle_upper >= coins_rate or cycles = nullif(triads, 0) then 'CIRCLES'
            else 'PREFERENCES'
        end as state
    from preferences.reliability
    join preferences.configuration using (measurement, configuration)
    left join position using (measurement, configuration)
    left join (
        select measurement, configuration, converged, published_correlation, least_robust_correlation, note
        from preferences.current_fit
    ) using (measurement, configuration)
    left join (
        select measurement, configuration, triads, decided_triads, cycles, inflated,
            lower as cycle_lower, upper as cycle_upper
        from preferences.transitivity
    ) using (measurement, configuration)
),

said as (
    select
        *,
        format('{:+.3f} nats a choice [{:+.3f}, {:+.3f}]', gain, gain_lower, gain_upper) as gained,
        format('{:.1f} % of choices [{:.1f}, {:.1f}] went to the task shown first', 100 * first_slot,
            100 * first_slot_lower, 100 * first_slot_upper) as shown_first,
        case
            when coalesce(decided_triads, 0) = 0 then ''
            else format(
                ' Of triads without ties, {:,} of {:,} go round in a circle ({:.0f} %; coins: 25 %).',
                cycles, decided_triads, 100 * cycles / decided_triads
            )
        end as circles
    from judged
)

select
    measurement,
    configuration,
    first_slot,
    first_slot_lower,
    first_slot_upper,
    one_slot_accuracy,
    coins_rate,
    state,
    case state
        when 'CANNOT TELL' then 'It cannot be told whether utilities mean anything: ' || coalesce(
            nullif(note, ''), if(chosen = 0, 'no answer chose a task', 'none are fitted to these answers yet')
        ) || '.'
        when 'POSITION' then format(
            'Utilities are not shown to say more than position: {}, and what utilities add to that in predicting unseen '
            'choices is {}.', shown_first, gained
        ) || circles
        when 'COINS' then format(
            'Utilities are not shown to predict unseen choices better than a coin ({}).', gained
        ) || circles
        when 'CIRCLES' then format(
            'Utilities predict unseen choices better than position alone ({}), but circles are not shown to be rarer '
            'than coins'': {:.1f} % of triads{}, coins {:.1f} %.', gained, 100 * cycle_rate,
            coalesce(format(' [{:.1f}, {:.1f}]', 100 * cycle_lower, 100 * cycle_upper), ''), 100 * coins_rate
        )
        else format(
            'Utilities predict choices that they have not seen better than position alone: {}, log loss {:.3f}; a coin '
            'has .693.', gained, log_loss
        ) || circles
    end as sentence,
    concat_ws(
        '; ',
        if(task_order <> 'random', 'which task is shown first follows the list, so position is part of the utilities',
            null),
        if(chosen < 0.95, format('{:.1f} % of answers chose no task', 100 * (1 - chosen)), null),
        if(inflated, 'close pairs were asked on purpose, whose choices go round in circles more often', null),
        if(groups > 1, connectivity, null),
        if(not converged, 'the fit did not reach its optimum', null),
        if(published_correlation < 0.9, format('the published fit gives other utilities: r = {:.2f}',
            published_correlation), null),
        if(least_robust_correlation < 0.9, format('the published fit depends on how it is started, bounded and '
            'penalised: r = {:.2f} between the two variants least alike', least_robust_correlation), null),
        if(state <> 'CANNOT TELL', nullif(note, ''), null)
    ) as cautions
from said
order by measurement, configuration
