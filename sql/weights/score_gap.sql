-- One row per (reference pass, kind of correlation): does a pair's WPO weight go with how far apart the user scored its
-- answers?
-- kind           `pearson`; or `spearman`, the same of ranks, equal values sharing their mean rank
-- pairs, users   pairs, and their users
-- correlation    between weight and score gap over pairs, -1 to 1; empty if either is always the same
-- standard_error  clustered by user, through the influence function z_w z_g - r / 2 (z_w^2 + z_g^2) of a pair, z its
--                values in standard deviations (Devlin, Gnanadesikan and Kettenring 1975, Biometrika 62): sqrt(G / (G - 1)
--                * sum over G users of their sums squared) / pairs. Ranks are taken as given, as if not estimated from
--                the same pairs. Empty for one user
-- lower, upper   95 % interval: correlation -+ 1.96 standard errors
with pair as (
    select reference, base_model, revision, user_id, weight, score_gap::double as score_gap
    from model.wpo_weights
    join prism.pairs using (pair_id)
),

valued as (
    select *, 'pearson' as kind from pair
    union all
    select
        reference, base_model, revision, user_id,
        rank() over (partition by reference, base_model, revision order by weight)
            + (count(*) over (partition by reference, base_model, revision, weight) - 1) / 2,
        rank() over (partition by reference, base_model, revision order by score_gap)
            + (count(*) over (partition by reference, base_model, revision, score_gap) - 1) / 2,
        'spearman'
    from pair
),

over_pairs as (
    select
        reference, base_model, revision, kind,
        count(*) as pairs,
        count(distinct user_id) as users,
        avg(weight) as mean_weight, nullif(stddev_pop(weight), 0) as sd_weight,
        avg(score_gap) as mean_gap, nullif(stddev_pop(score_gap), 0) as sd_gap,
        covar_pop(weight, score_gap) / (sd_weight * sd_gap) as correlation
    from valued
    group by all
),

standardised as (
    select
        reference, base_model, revision, kind, user_id, correlation,
        (weight - mean_weight) / sd_weight as z_weight,
        (score_gap - mean_gap) / sd_gap as z_gap
    from valued
    join over_pairs using (reference, base_model, revision, kind)
),

influence as (
    select
        reference, base_model, revision, kind, user_id,
        sum(z_weight * z_gap - correlation / 2 * (z_weight ^ 2 + z_gap ^ 2)) as of_user
    from standardised
    group by all
),

error as (
    select
        reference, base_model, revision, kind,
        sqrt(sum(of_user ^ 2) * any_value(users / nullif(users - 1, 0))) / any_value(pairs) as standard_error
    from influence
    join over_pairs using (reference, base_model, revision, kind)
    group by all
)

select
    reference, base_model, revision, kind, pairs, users, correlation, standard_error,
    correlation - 1.959964 * standard_error as lower,
    correlation + 1.959964 * standard_error as upper
from over_pairs
join error using (reference, base_model, revision, kind)
order by reference, base_model, revision, kind
