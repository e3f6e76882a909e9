-- One row per base model and recipe that is scored: whether it predicts whom people prefer, in one sentence, by
-- intervals alone. It is said of log loss on held-out battles, which neither training nor early stopping has looked at,
-- and of both orders of answers where there are both, as the winner does not depend on who is shown first.
--
-- predictor    the recipe's name, or the base model as `model@max_tokens:precision:prompt`
-- orders       both if the answers were also shown exchanged: probabilities are then means over both orders; else given
-- log_loss     its mean log loss, nats
-- log_loss_lower, log_loss_upper  95 % interval, prompts drawn again
-- accuracy     share of battles whose winner it predicts
-- accuracy_lower, accuracy_upper  95 % interval
-- prior_log_loss, prior_accuracy  what the class prior has: the shares of winners in training, said of every battle
-- than_prior   log_loss minus the class prior's; below 0 is better
-- than_prior_lower, than_prior_upper  its 95 % interval, widened for all recipes and base models (Bonferroni)
-- words_log_loss  log loss of length_and_words
-- than_words   log_loss minus that
-- than_words_lower, than_words_upper  its 95 % interval, widened likewise
-- state        SIGNAL: log loss is shown to be below the class prior's and below that of length_and_words; BASELINE:
--              below the prior's, but not shown to be below that of length_and_words; NOT SHOWN: not shown to be below
--              the prior's; WORSE: shown to be above the prior's; CANNOT TELL: too few prompts, or not compared
-- sentence     the same, with the numbers that decided
-- cautions     what limits it, apart by `; `
with scores as (
    select
        predictor,
        orders,
        any_value(battles) as battles,
        any_value(prompts) as prompts,
        any_value(comparison) filter (where metric = 'log_loss') as of_log_loss,
        any_value(comparison) filter (where metric = 'accuracy') as of_accuracy,
        any_value(comparison) filter (where metric = 'swap_consistency') as of_swaps,
        any_value(comparison) filter (where metric = 'first_shown') as of_first
    from arena.comparison as comparison
    group by predictor, orders
    qualify orders = 'both' or not bool_or(orders = 'both') over (partition by predictor)
),

differences as (
    select
        predictor,
        orders,
        any_value(apart) filter (where than = 'prior') as prior,
        any_value(apart) filter (where than = 'length_and_words') as words,
        any_value(apart) filter (where than = 'longer') as longer
    from arena.difference as apart
    where metric = 'log_loss'
    group by all
),

cut as (
    select
        predictor,
        orders,
        sum(battles) filter (where value = 'cut') / sum(battles) as share
    from arena.breakdown
    where dimension = 'fits'
    group by all
),

-- Less than the least probability that the log loss is taken of, that of sklearn.
impossible as (
    select predictor, count(*) as battles
    from arena.predictions as predictions
    join arena.battles as battles using (battle)
    where 2.220446049250313e-16 > case winner
        when 'A' then coalesce((a + a_swapped) / 2, a)
        when 'B' then coalesce((b + b_swapped) / 2, b)
        else coalesce((tie + tie_swapped) / 2, tie)
    end
    group by predictor
),

judged as (
    select
        scores.predictor,
        scores.orders,
        scores.battles,
        scores.prompts,
        of_log_loss.estimate as log_loss,
        of_log_loss.lower as log_loss_lower,
        of_log_loss.upper as log_loss_upper,
        of_accuracy.estimate as accuracy,
        of_accuracy.lower as accuracy_lower,
        of_accuracy.upper as accuracy_upper,
        prior_log_loss,
        prior_accuracy,
        prior.difference as than_prior,
        prior.widened_lower as than_prior_lower,
        prior.widened_upper as than_prior_upper,
        words_log_loss,
        words.difference as than_words,
        words.widened_lower as than_words_lower,
        words.widened_upper as than_words_upper,
        longer.difference as than_longer,
        longer.widened_lower as than_longer_lower,
        longer.widened_upper as than_longer_upper,
        of_swaps,
        of_first,
        cut.share as cut,
        impossible.battles as impossible,
        recipe is not null as trained,
        case
            when scores.prompts < 30 then format('{} prompts are too few, at least 30 are wanted', scores.prompts)
            when than_prior is null then 'it was not compared with the class prior'
            when than_prior_lower is null then 'its difference to the class prior has no interval'
            when than_prior_upper < 0 and than_words is null then 'it was not compared with length and words'
            when than_prior_upper < 0 and than_words_lower is null
                then 'its difference to length and words has no interval'
        end as untold,
        case
            when untold is not null then 'CANNOT TELL'
            when than_prior_lower > 0 then 'WORSE'
            when than_prior_upper >= 0 then 'NOT SHOWN'
            when than_words_upper >= 0 then 'BASELINE'
            else 'SIGNAL'
        end as state
    from scores
    left join differences using (predictor, orders)
    left join cut using (predictor, orders)
    left join impossible using (predictor)
    left join (select recipe from arena.recipe) on recipe = scores.predictor
    cross join (
        select
            any_value(of_log_loss.estimate) filter (where predictor = 'prior') as prior_log_loss,
            any_value(of_accuracy.estimate) filter (where predictor = 'prior') as prior_accuracy,
            any_value(of_log_loss.estimate) filter (where predictor = 'length_and_words') as words_log_loss
        from scores
    )
    where scores.predictor not in ('prior', 'longer', 'length_and_words')
),

said as (
    select
        *,
        format('{:.3f}', log_loss)
            || coalesce(format(' [{:.3f}, {:.3f}]', log_loss_lower, log_loss_upper), '') as lost,
        format('{:+.3f} [{:+.3f}, {:+.3f}]', round(than_prior, 3) + 0, round(than_prior_lower, 3) + 0,
            round(than_prior_upper, 3) + 0) as from_prior,
        format('{:+.3f} [{:+.3f}, {:+.3f}]', round(than_words, 3) + 0, round(than_words_lower, 3) + 0,
            round(than_words_upper, 3) + 0) as from_words,
        format('{:+.3f} [{:+.3f}, {:+.3f}]', round(than_longer, 3) + 0, round(than_longer_lower, 3) + 0,
            round(than_longer_upper, 3) + 0) as from_longer
    from judged
)

select
    predictor,
    orders,
    battles,
    prompts,
    log_loss,
    log_loss_lower,
    log_loss_upper,
    accuracy,
    accuracy_lower,
    accuracy_upper,
    prior_log_loss,
    prior_accuracy,
    than_prior,
    than_prior_lower,
    than_prior_upper,
    words_log_loss,
    than_words,
    than_words_lower,
    than_words_upper,
    state,
    case state
        when 'CANNOT TELL' then format(
            'It cannot be told whether {} predicts whom people prefer: {}.', predictor, untold
        )
        else case state
            when 'WORSE' then format(
                '{} predicts held-out battles worse than the class prior does: its log loss is {}, the prior''s {:.3f} '
                '(difference {})', predictor, lost, prior_log_loss, from_prior
            )
            when 'NOT SHOWN' then format(
                '{} is not shown to predict held-out battles better than the class prior: its log loss is {}, the '
                'prior''s {:.3f} (difference {})', predictor, lost, prior_log_loss, from_prior
            )
            when 'BASELINE' then format(
                '{} predicts held-out battles better than the class prior, log loss {} against {:.3f} (difference {}), '
                'but is not shown to know more than lengths and words, {:.3f} (difference {})', predictor, lost,
                prior_log_loss, from_prior, words_log_loss, from_words
            )
            else format(
                '{} predicts held-out battles better than the class prior, log loss {} against {:.3f} (difference {}), '
                'and better than lengths and words, {:.3f} (difference {})', predictor, lost, prior_log_loss,
                from_prior, words_log_loss, from_words
            )
        end || coalesce(
            format(
                '; it names the winner of {:.1f} %{}, the class prior of {:.1f} %.', 100 * accuracy,
                coalesce(format(' [{:.1f}, {:.1f}]', 100 * accuracy_lower, 100 * accuracy_upper), ''),
                100 * prior_accuracy
            ),
            '.'
        )
    end as sentence,
    concat_ws(
        '; ',
        if(prompts between 30 and 99, format('of {} prompts only, and intervals of so few are too narrow', prompts),
            null),
        if(orders = 'given', 'answers were shown in one order only, so what position does is not known', null),
        if(of_swaps.estimate < 0.8, format('exchanging the answers changes the predicted winner in {:.0f} % of battles',
            100 * (1 - of_swaps.estimate)), null),
        if(
            abs(of_first.estimate) > 0.05 and of_first.lower * of_first.upper > 0,
            format('the answer shown {} is given {:.0f} points more [{:.0f}, {:.0f}] than the other',
                if(of_first.estimate > 0, 'first', 'second'), 100 * abs(of_first.estimate),
                100 * least(abs(of_first.lower), abs(of_first.upper)),
                100 * greatest(abs(of_first.lower), abs(of_first.upper))),
            null
        ),
        if(
            state = 'SIGNAL' and than_longer_upper >= 0,
            format('not shown to be better than knowing which answer is longer (difference {})', from_longer),
            null
        ),
        if(cut > 0.05, format('of {:.0f} % of battles not all was read', 100 * cut), null),
        if(
            impossible > 0,
            format('the winner was held to be impossible in {:,} battles, which costs 36 nats each time', impossible),
            null
        ),
        if(trained, 'trained once: what another training seed would give is in no interval', null)
    ) as cautions
from said
order by log_loss, predictor
