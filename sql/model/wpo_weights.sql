-- One row per (reference pass, pair): what WPO weighs the pair with where training starts, under the base model itself.
-- w = min(1, exp(a(chosen) + a(rejected))), a(y) = mean over the tokens of y of log pi(y_t) - log sum_v pi(v)^2 (Zhou et al.
-- 2024, https://arxiv.org/abs/2406.11827). How small a weight is says nothing beside that of text that the base model
-- wrote itself: weights.yardstick.
-- chosen_weight, rejected_weight  exp(a) of the answer, not clamped: above 1 where its tokens are likelier than typical
-- weight         the pair's, 0-1: their product, at most 1
-- log_weight     log of the product of the two before it is clamped, nats
-- chosen_tokens, rejected_tokens  tokens of the answer, its end token included
with response as (
    select
        reference, base_model, revision, pair_id, response, tokens,
        alignment_sum / greatest(tokens, 1) as alignment  -- an empty answer has weight 1, as in training
    from model.reference
)

select
    reference, base_model, revision, pair_id,
    exp(chosen.alignment) as chosen_weight,
    exp(rejected.alignment) as rejected_weight,
    least(1, exp(chosen.alignment + rejected.alignment)) as weight,
    chosen.alignment + rejected.alignment as log_weight,
    chosen.tokens as chosen_tokens,
    rejected.tokens as rejected_tokens
from response as chosen
join response as rejected using (reference, base_model, revision, pair_id)
where chosen.response = 'chosen' and rejected.response = 'rejected'
order by reference, base_model, revision, pair_id
