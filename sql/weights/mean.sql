-- One row per (reference pass, dimension, level): the WPO weights of the level's pairs under the base model.
-- dimension      all pairs; score gap (in tens of points); source model; or split
-- level          `all pairs`; `1-9`, `10-19`, ... `90-99`; the model that wrote both answers; `age.A`, `age.B`, ...
-- level_order    1, 2, ... in the order of the score gap, else of the name
-- pairs, users   pairs of the level, and the users whose prompts they answer
-- mean_weight    mean over pairs, 0-1
-- standard_error  of that mean, clustered by user: sqrt(G / (G - 1) * sum over users of (sum of w - mean)^2) / pairs, G
--                users; empty for one user, of whom no spread is known
-- lower, upper   95 % interval: mean -+ 1.96 standard errors
-- min_weight, p05, p25, median, p75, p95  the smallest weight and quantiles over pairs
-- mean_tokens    mean length of an answer, tokens
with pair as (
    select
        reference, base_model, revision, user_id, weight, model_name, score_gap,
        (chosen_tokens + rejected_tokens) / 2 as tokens
    from model.wpo_weights
    join prism.pairs using (pair_id)
),

levelled as (
    select * exclude (model_name, score_gap), 'all pairs' as dimension, 'all pairs' as level, 0 as place from pair
    union all by name
    select
        * exclude (model_name, score_gap), 'score gap' as dimension, score_gap // 10 as place,
        greatest(10 * place, 1) || '-' || (10 * place + 9) as level
    from pair
    union all by name
    select * exclude (model_name, score_gap), 'source model' as dimension, model_name as level, 0 as place from pair
    union all by name
    select pair.* exclude (model_name, score_gap), 'split' as dimension, split || '.' || user_group as level, 0 as place
    from pair
    join splits.assignments using (user_id)
    where user_group is not null
),

per_level as (
    select
        reference, base_model, revision, dimension, place, level,
        count(*) as pairs,
        count(distinct user_id) as users,
        avg(weight) as mean_weight,
        min(weight) as min_weight,
        quantile_cont(weight, [0.05, 0.25, 0.5, 0.75, 0.95]) as quantiles,
        avg(tokens) as mean_tokens
    from levelled
    group by all
),

per_user as (
    select reference, base_model, revision, dimension, level, user_id, sum(weight) as weight, count(*) as of_user
    from levelled
    group by all
),

error as (
    select
        reference, base_model, revision, dimension, level,
        sqrt(sum((weight - of_user * mean_weight) ^ 2) * any_value(users / nullif(users - 1, 0))) / any_value(pairs)
            as standard_error
    from per_user
    join per_level using (reference, base_model, revision, dimension, level)
    group by all
)

select
    reference, base_model, revision, dimension, level,
    row_number() over (partition by reference, base_model, revision, dimension order by place, level) as level_order,
    pairs, users, mean_weight, standard_error,
    mean_weight - 1.959964 * standard_error as lower,
    mean_weight + 1.959964 * standard_error as upper,
    min_weight,
    quantiles[1] as p05, quantiles[2] as p25, quantiles[3] as median, quantiles[4] as p75, quantiles[5] as p95,
    mean_tokens
from per_level
join error using (reference, base_model, revision, dimension, level)
order by reference, base_model, revision, dimension, level_order
