-- One row per (study, split, readout): the verdict by the reports' own rule (2026-02-24), completed where it was silent.
-- readout             held_out or tail, as in verdicts.contrast
-- seeds_run           seeds with both groups finished
-- mean_difference_pp, sd_difference_pp   group A minus group B in points; population form over seeds, as reported
-- direction           the observed direction, `A > B`, `A < B` or `A = B`
-- seeds_in_direction  seeds on the side of the mean, the reports' x of x/N; a difference of 0.00 is on neither
-- seeds_as_expected   seeds strictly on the expected side; empty where no side is expected
-- reported_rule       MATCH, LEAN, WEAK, MISMATCH; OK or UNEXPECTED for a null control or a placebo; exploratory
with per_split as (
    select
        study, split, readout, role, expected, expected_sign, null_tolerance_pp, seeds_planned,
        count(*) as seeds_run,
        round(avg(difference_pp), 9) as mean_difference_pp,  -- a mean of exactly -5 is not -5.000000000000001
        stddev_pop(difference_pp) as sd_difference_pp,
        sign(round(avg(difference_pp), 9)) as observed_sign,
        count(*) filter (where difference_pp > 0) as seeds_above,
        count(*) filter (where difference_pp < 0) as seeds_below,
        count(*) filter (where sign(difference_pp) = expected_sign) as seeds_agreeing
    from verdicts.contrast
    join studies.split using (study, split)
    where metric = 'pref_acc'
    group by all
)

select
    study, split, readout, role, expected, null_tolerance_pp, seeds_run, seeds_planned,
    mean_difference_pp, sd_difference_pp,
    case observed_sign when 1 then 'A > B' when -1 then 'A < B' else 'A = B' end as direction,
    case observed_sign when 1 then seeds_above when -1 then seeds_below else seeds_run - seeds_above - seeds_below end
        as seeds_in_direction,
    if(role = 'directional', seeds_agreeing, null) as seeds_as_expected,
    case
        when role = 'exploratory' then 'exploratory'
        when role in ('null control', 'placebo') then if(abs(mean_difference_pp) <= null_tolerance_pp, 'OK', 'UNEXPECTED')
        when observed_sign <> expected_sign then 'MISMATCH'  -- the wrong way, or exactly nothing
        when seeds_run = 1 then if(abs(mean_difference_pp) < 2, 'WEAK', 'MATCH')
        when seeds_agreeing >= 0.8 * seeds_run then 'MATCH'
        when seeds_agreeing > 0.5 * seeds_run then 'LEAN'
        else 'MISMATCH'
    end as reported_rule
from per_split
order by study, split, readout
