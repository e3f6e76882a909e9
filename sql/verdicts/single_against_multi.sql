-- One row per (study, split, readout): the study's first planned seed, as if it were all there is, against all seeds.
-- readout     held_out or tail, as in verdicts.contrast
-- first_seed  the first seed that the study plans
-- single_difference_pp, single_label  its A - B in points and its label by the reported rule; empty if it is missing
-- seeds_run   seeds with both groups finished
-- mean_difference_pp, label  mean A - B over those seeds, points, and the label by the reported rule
-- change      `direction reversed` if first seed and mean have opposite signs; else `stronger` or `weaker` if the mean
--             is larger or smaller in size by at least 2 points (the reported rule's band for WEAK), `stable` if by
--             less; `first seed missing`; `no other seed`
select
    study, split, readout, first_seed,
    single.difference_pp as single_difference_pp,
    single.seed_label as single_label,
    rule.seeds_run, rule.mean_difference_pp,
    rule.reported_rule as label,
    case
        when single.difference_pp is null then 'first seed missing'
        when seeds_run = 1 then 'no other seed'
        when sign(single.difference_pp) * sign(mean_difference_pp) = -1 then 'direction reversed'
        when abs(mean_difference_pp) - abs(single.difference_pp) >= 2 then 'stronger'
        when abs(mean_difference_pp) - abs(single.difference_pp) <= -2 then 'weaker'
        else 'stable'
    end as change
from verdicts.reported_rule as rule
join (select study, seeds[1] as first_seed from studies.study) using (study)
left join (select * exclude (seed), seed as first_seed from verdicts.group_comparison) as single
    using (study, split, readout, first_seed)
order by study, split, readout
