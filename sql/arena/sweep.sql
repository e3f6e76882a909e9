-- One row per recipe: what it changes, and what that did to the log loss of held-out battles; best first. A recipe
-- without results is here too, last, with what it lacks.
--
-- changes      in which settings it differs from the recipe that it is a variant of; empty text if of none
-- orders       both if the answers were also shown exchanged, and probabilities are means over both orders; else given
-- log_loss     mean log loss, nats
-- log_loss_lower, log_loss_upper  95 % interval, prompts drawn again
-- accuracy     share of battles whose winner it predicts
-- accuracy_lower, accuracy_upper  95 % interval
-- than_variant  log_loss minus that of the recipe that it is a variant of, on the same battles; below 0 is better
-- than_variant_lower, than_variant_upper  its 95 % interval
-- than_variant_widened_lower, than_variant_widened_upper  its 95 % interval, widened for all recipes and base models
-- against_variant  better or worse, if the widened interval is below or above 0; else not shown to differ; empty
--              without both results
-- than_base    log_loss minus that of its base model without an adapter, which is never in 4 bits
-- than_base_lower, than_base_upper  its 95 % interval
-- than_base_widened_lower, than_base_widened_upper  its 95 % interval, widened likewise
-- steps_taken  optimiser steps taken, of all its adapters
with scores as (
    select
        predictor as recipe,
        orders,
        any_value(battles) as battles,
        any_value(prompts) as prompts,
        any_value(comparison) filter (where metric = 'log_loss') as of_log_loss,
        any_value(comparison) filter (where metric = 'accuracy') as of_accuracy
    from arena.comparison as comparison
    group by predictor, orders
    qualify orders = 'both' or not bool_or(orders = 'both') over (partition by predictor)
),

differences as (
    select * from arena.difference where metric = 'log_loss'
)

select
    recipe,
    recipes.question,
    recipes.variant_of,
    recipes.changes,
    recipes.base,
    coalesce(states.state, 'missing') as state,
    coalesce(states.reason, 'nothing is known of it yet') as reason,
    scores.orders,
    scores.battles,
    scores.prompts,
    of_log_loss.estimate as log_loss,
    of_log_loss.lower as log_loss_lower,
    of_log_loss.upper as log_loss_upper,
    of_accuracy.estimate as accuracy,
    of_accuracy.lower as accuracy_lower,
    of_accuracy.upper as accuracy_upper,
    from_variant.difference as than_variant,
    from_variant.lower as than_variant_lower,
    from_variant.upper as than_variant_upper,
    from_variant.widened_lower as than_variant_widened_lower,
    from_variant.widened_upper as than_variant_widened_upper,
    case
        when from_variant.widened_upper < 0 then 'better'
        when from_variant.widened_lower > 0 then 'worse'
        when from_variant.widened_lower is not null then 'not shown to differ'
    end as against_variant,
    from_base.difference as than_base,
    from_base.lower as than_base_lower,
    from_base.upper as than_base_upper,
    from_base.widened_lower as than_base_widened_lower,
    from_base.widened_upper as than_base_widened_upper,
    adapter.steps as steps_taken,
    adapter.seconds,
    adapter.tokens,
    adapter.device
from arena.recipe as recipes
left join arena.states as states using (recipe)
left join scores using (recipe)
left join differences as from_variant
    on
        from_variant.predictor = recipe
        and from_variant.orders = scores.orders
        and from_variant.than = recipes.variant_of
left join differences as from_base
    on from_base.predictor = recipe and from_base.orders = scores.orders and from_base.than = recipes.base
left join arena.adapter as adapter using (recipe)
order by log_loss nulls last, recipe
