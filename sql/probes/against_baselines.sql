-- One row per (experiment, target, probe, layer, position): how well a probe predicts what was held out by unit, beside
-- the best of the baselines, which cannot know. By the metric of its kind: ridge R^2, logistic AUC, Bradley-Terry the
-- share of choices that it gets right.
--
-- chance       what that metric has where nothing is known: 0 of R^2, .5 of the others
-- tried        (layer, position) of this target and kind of probe that have an estimate
-- widened_lower, widened_upper  95 % interval that holds for the best of all that were tried (Bonferroni): for one
--              looked at after the others
-- baseline     features of the baseline with the highest estimate here: shuffled labels, random activations, topic,
--              length or text; what does not depend on the activations is the same everywhere
-- baseline_estimate, baseline_lower, baseline_upper  what it has
-- beyond       estimate - baseline_estimate
-- beyond_lower, beyond_upper  its 95 % interval, widened likewise: over the same draws of units for both, where the
--              difference was measured; else from the two intervals (Zou and Donner's MOVER), which is too wide rather
--              than too narrow, as both are over the same units
-- above_chance  whether widened_lower is above chance
-- beyond_baselines  whether it is, and beyond_lower is above 0
with judged_by (probe, metric, chance) as (
    values ('ridge', 'r_squared', 0::double), ('logistic', 'auc', 0.5), ('bradley_terry', 'pairwise_accuracy', 0.5)
),

by_unit as (
    select score.*, chance
    from probes.score as score
    join judged_by using (probe, metric)
    where split = 'unit'
),

-- The quantile of the normal distribution by Abramowitz and Stegun 26.2.23, off by at most .00045.
found as (
    select
        *,
        sqrt(-2 * ln(0.025 / greatest(tried, 1))) as t,
        if(
            tried <= 1,
            1,
            (
                t - (2.515517 + 0.802853 * t + 0.010328 * t ^ 2)
                / (1 + 1.432788 * t + 0.189269 * t ^ 2 + 0.001308 * t ^ 3)
            ) / 1.959964
        ) as wider
    from (
        select *, count(estimate) over (partition by experiment, target, probe) as tried
        from by_unit
        where features = 'activations'
    )
),

baselines as (
    select
        found.experiment,
        found.target,
        found.probe,
        found.layer,
        found.position,
        known.features,
        arg_max(
            struct_pack(estimate := known.estimate, lower := known.lower, upper := known.upper),
            (known.layer = found.layer and known.position = found.position, known.estimate)
        ) as known
    from found
    join by_unit as known using (experiment, target, probe)
    where not starts_with(known.features, 'activations') and known.estimate is not null
    group by all
),

highest as (
    select
        experiment,
        target,
        probe,
        layer,
        position,
        arg_max(features, known.estimate) as baseline,
        arg_max(known, known.estimate) as known
    from baselines
    group by all
),

compared as (
    select
        found.*,
        baseline,
        known.estimate as baseline_estimate,
        known.lower as baseline_lower,
        known.upper as baseline_upper,
        found.estimate - known.estimate as beyond,
        coalesce(
            apart.estimate - apart.lower,
            sqrt((found.estimate - found.lower) ^ 2 + coalesce(known.upper - known.estimate, 0) ^ 2)
        ) as less,
        coalesce(
            apart.upper - apart.estimate,
            sqrt((found.upper - found.estimate) ^ 2 + coalesce(known.estimate - known.lower, 0) ^ 2)
        ) as more
    from found
    left join highest using (experiment, target, probe, layer, position)
    left join by_unit as apart
        on
            apart.experiment = found.experiment
            and apart.target = found.target
            and apart.probe = found.probe
            and apart.layer = found.layer
            and apart.position = found.position
            and apart.features = 'activations minus ' || baseline
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
    lower,
    upper,
    estimate - wider * (estimate - lower) as widened_lower,
    estimate + wider * (upper - estimate) as widened_upper,
    baseline,
    baseline_estimate,
    baseline_lower,
    baseline_upper,
    beyond,
    beyond - wider * less as beyond_lower,
    beyond + wider * more as beyond_upper,
    widened_lower > chance as above_chance,
    above_chance and beyond_lower > 0 as beyond_baselines,
    note
from compared
order by experiment, target, probe, layer, position
