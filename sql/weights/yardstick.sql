-- One row per (reference pass, unit, text): WPO weights of PRISM's answers beside those of answers that the base model wrote
-- itself. On-policy text does not have weight 1: of a token sampled at T = 1, log pi(y) - log sum_v pi(v)^2 is on average the
-- Renyi-2 entropy minus the Shannon entropy, which is below 0; a greedy token's is never below 0. So a mean weight of .2
-- does not say "80 % off-policy": the mean of `sampled at T = 1` is what on-policy text gets. Answers of PRISM end with what
-- the chat template writes after the end of a turn (a line break in ChatML), answers of the base model with the end of the turn.
-- unit           `answer`: exp(a) of one answer, not clamped; `pair`: as in training, min(1, exp(a + a)) of two
-- text           chosen, rejected, sampled at T = 1, greedy; of a pair: chosen with rejected, two sampled at T = 1, greedy
--                with itself
-- number         answers, or pairs
-- users          users whose prompts they answer
-- mean_tokens    mean length of an answer, tokens
-- mean_weight    mean weight
-- standard_error  of the mean, clustered by user, as in weights.mean
-- lower, upper   95 % interval of the mean
-- min_weight, p05, p25, median, p75, p95  the smallest weight and quantiles
-- share_at_1     share with weight 1, which for answers is 1 or more (.000001 less counts: rounding)
with answer as (
    select reference, base_model, revision, pair_id, 'chosen' as text, ln(chosen_weight) as alignment, chosen_tokens as tokens
    from model.wpo_weights
    union all
    select reference, base_model, revision, pair_id, 'rejected', ln(rejected_weight), rejected_tokens
    from model.wpo_weights
    union all
    select
        reference, base_model, revision, pair_id,
        if(sampling = 'greedy', 'greedy', 'sampled at T = 1'), alignment_sum / greatest(tokens, 1), tokens
    from model.on_policy
),

weighed as (
    select * exclude (alignment), 'answer' as unit, exp(alignment) as weight from answer
    union all by name
    select
        reference, base_model, revision, pair_id, 'pair' as unit,
        case text
            when 'greedy' then 'greedy with itself'
            when 'sampled at T = 1' then 'two sampled at T = 1'
            else 'chosen with rejected'
        end as text,
        avg(tokens) as tokens,
        least(1, exp(2 * avg(alignment))) as weight
    from answer
    group by all
),

of_user as (
    select weighed.*, user_id
    from weighed
    join prism.pairs using (pair_id)
),

per_text as (
    select
        reference, base_model, revision, unit, text,
        count(*) as number,
        count(distinct user_id) as users,
        avg(tokens) as mean_tokens,
        avg(weight) as mean_weight,
        min(weight) as min_weight,
        quantile_cont(weight, [0.05, 0.25, 0.5, 0.75, 0.95]) as quantiles,
        avg((weight > 1 - 1e-6)::double) as share_at_1
    from of_user
    group by all
),

per_user as (
    select reference, base_model, revision, unit, text, user_id, sum(weight) as weight, count(*) as of_user
    from of_user
    group by all
),

error as (
    select
        reference, base_model, revision, unit, text,
        sqrt(sum((weight - of_user * mean_weight) ^ 2) * any_value(users / nullif(users - 1, 0))) / any_value(number)
            as standard_error
    from per_user
    join per_text using (reference, base_model, revision, unit, text)
    group by all
)

select
    reference, base_model, revision, unit, text, number, users, mean_tokens, mean_weight, standard_error,
    mean_weight - 1.959964 * standard_error as lower,
    mean_weight + 1.959964 * standard_error as upper,
    min_weight,
    quantiles[1] as p05, quantiles[2] as p25, quantiles[3] as median, quantiles[4] as p75, quantiles[5] as p95,
    share_at_1
from per_text
join error using (reference, base_model, revision, unit, text)
order by
    reference, base_model, revision, unit,
    list_position(
        ['chosen', 'rejected', 'sampled at T = 1', 'greedy',
         'chosen with rejected', 'two sampled at T = 1', 'greedy with itself'], text)
