-- One row per (reference pass, text, bin): how WPO weights are distributed, beside those of pairs that the base model wrote.
-- text           `pairs of PRISM`, or `two sampled at T = 1`: two answers of the base model to one prompt
-- bin            1 to 50
-- lower, upper   ends of the bin, which are .02 apart; a weight on the border is in the upper bin, 1 in the last
-- number         pairs in the bin; bins without any are there, too
-- share          share of the text's pairs, 0-1
with pair as (
    select reference, base_model, revision, 'pairs of PRISM' as text, weight from model.wpo_weights
    union all
    select reference, base_model, revision, 'two sampled at T = 1', least(1, exp(sum(alignment_sum / greatest(tokens, 1))))
    from model.on_policy
    where sampling = 'T = 1'
    group by reference, base_model, revision, pair_id
),

counted as (
    select reference, base_model, revision, text, least(floor(50 * weight)::bigint + 1, 50) as bin, count(*) as number
    from pair
    group by all
),

every_bin as (
    select *
    from (select distinct reference, base_model, revision, text from pair)
    cross join (select unnest(range(1, 51)) as bin)
)

select
    reference, base_model, revision, text, bin,
    (bin - 1) / 50 as lower,
    bin / 50 as upper,
    coalesce(number, 0) as number,
    coalesce(number, 0) / sum(number) over (partition by reference, base_model, revision, text) as share
from every_bin
left join counted using (reference, base_model, revision, text, bin)
order by reference, base_model, revision, text, bin
