-- One row per (reference pass, split): are A's pairs weighted otherwise than B's? Placebo splits show what random halves of
-- the users give.
-- split          the split, a rule that puts users in group A, B or neither
-- users_a, users_b  users with pairs
-- pairs_a, pairs_b  their pairs
-- mean_a, mean_b  mean WPO weight of the pairs, 0-1
-- min_a, min_b   the smallest weight
-- difference     mean_a - mean_b
-- standard_error  of the difference, clustered by user; no user is in both groups, so the groups' variances add up
-- lower, upper   95 % interval of the difference, not adjusted for the number of splits; empty if a group has one user
-- differs        whether the interval excludes 0
with grouped as (
    select *, split_part(level, '.', 1) as split, split_part(level, '.', 2) as user_group
    from weights.mean
    where dimension = 'split'
),

compared as (
    select
        reference, base_model, revision, split,
        a.users as users_a, b.users as users_b, a.pairs as pairs_a, b.pairs as pairs_b,
        a.mean_weight as mean_a, b.mean_weight as mean_b, a.min_weight as min_a, b.min_weight as min_b,
        a.mean_weight - b.mean_weight as difference,
        sqrt(a.standard_error ^ 2 + b.standard_error ^ 2) as standard_error
    from grouped as a
    join grouped as b using (reference, base_model, revision, split)
    where a.user_group = 'A' and b.user_group = 'B'
)

select
    *,
    difference - 1.959964 * standard_error as lower,
    difference + 1.959964 * standard_error as upper,
    abs(difference) > 1.959964 * standard_error as differs
from compared
order by reference, base_model, revision, split
