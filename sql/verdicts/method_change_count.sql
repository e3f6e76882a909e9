-- One row per (study, readout) of a study that repeats another with one thing changed: how many labels became better,
-- and how many would have if no split truly differed under either.
-- readout      held_out or tail, as in verdicts.contrast
-- splits       splits of which both studies expect the same direction and have a label
-- not_match_before  how many of them were not MATCH before: those that could become better
-- fixed, improved, stable, unchanged, worse  how many of them changed so, as in verdicts.method_change
-- better       fixed + improved: what the 2026-02-27 report counts
-- better_by_noise, worse_by_noise  how many noise alone would make better, worse: the sum of the splits' probabilities;
--              empty if one is not known
-- p_as_many_better  probability that noise alone makes at least `better` of them better, splits being taken for independent
--              of each other (Poisson-binomial); empty if a probability is not known
-- sentence     the count in words
with directed as (
    from verdicts.method_change where change <> 'no direction expected'
),

counted as (
    select
        study, variant_of, readout,
        count(*) as splits,
        count(*) filter (where before_label <> 'MATCH') as not_match_before,
        count(*) filter (where change = 'FIXED') as fixed,
        count(*) filter (where change = 'IMPROVED') as improved,
        count(*) filter (where change = 'STABLE') as stable,
        count(*) filter (where change = 'UNCHANGED') as unchanged,
        count(*) filter (where change = 'WORSE') as worse,
        count(*) filter (where change in ('FIXED', 'IMPROVED')) as better,
        if(count(noise_better) = count(*), sum(noise_better), null) as better_by_noise,
        if(count(noise_worse) = count(*), sum(noise_worse), null) as worse_by_noise,
        -- Entry k is the probability that k - 1 splits become better: one split after the other is folded in.
        if(
            count(noise_better) = count(*),
            list_reduce(
                list([1 - noise_better, noise_better]),
                lambda sofar, split: list_transform(
                    range(len(sofar) + 1),
                    lambda k: coalesce(sofar[k + 1], 0) * split[1] + coalesce(sofar[k], 0) * split[2]
                ),
                [1.0::double]
            ),
            null
        ) as probability_of_number
    from directed
    group by all
),

told as (
    select
        * exclude (probability_of_number),
        list_sum(probability_of_number[better + 1:]) as at_least,
        if(at_least > 1, 1, at_least) as p_as_many_better  -- what floating point leaves above
    from counted
)

select
    * exclude (at_least),
    case
        when not_match_before = 0 then format('{} of {} labels were MATCH before, so none could become better.', splits, splits)
        else concat(
            format('{} of {} {} not MATCH before became better (FIXED or IMPROVED); ',
                better, not_match_before, if(not_match_before = 1, 'label that was', 'labels that were')),
            case
                when better_by_noise is null then 'what noise alone would give is not known.'
                when better = 0 then format('noise alone would make {:.1f} of them better.', better_by_noise)
                else format('noise alone would make {:.1f} of them better, and at least {} in {:.0f} % of repetitions.',
                    better_by_noise, better, 100 * p_as_many_better)
            end)
    end as sentence
from told
order by study, readout
