-- One row per (study, split, seed, readout): what a report of this seed alone would print, as that of 2026-02-23 did.
-- readout        held_out or tail, as in verdicts.contrast
-- pref_acc_a, pref_acc_b  share of pairs with margin > 0, each group's adapter on its own pairs
-- difference_pp  pref_acc_a - pref_acc_b, points
-- size_note      LARGE above 10 points, notable above 5, mild from 3, else empty; `null control FAILED` where a null
--                control or a placebo is beyond its tolerance
-- seed_label     the reported rule for one seed: MATCH, or WEAK under 2 points, on the expected side, else MISMATCH; OK
--                or UNEXPECTED for a null control or a placebo; exploratory
with seeds as (
    select
        study, split, seed, readout, role, expected_sign, null_tolerance_pp,
        value_a as pref_acc_a,
        value_b as pref_acc_b,
        round(difference_pp, 9) as difference_pp  -- .55 - .50 is 5 points, not 5.000000000000004
    from verdicts.contrast
    join studies.split using (study, split)
    where metric = 'pref_acc'
)

select
    study, split, seed, readout, pref_acc_a, pref_acc_b, difference_pp,
    case
        when role in ('null control', 'placebo') and abs(difference_pp) > null_tolerance_pp then 'null control FAILED'
        when abs(difference_pp) > 10 then 'LARGE'
        when abs(difference_pp) > 5 then 'notable'
        when abs(difference_pp) >= 3 then 'mild'
    end as size_note,
    case
        when role = 'exploratory' then 'exploratory'
        when role in ('null control', 'placebo') then if(abs(difference_pp) <= null_tolerance_pp, 'OK', 'UNEXPECTED')
        when sign(difference_pp) <> expected_sign then 'MISMATCH'
        when abs(difference_pp) < 2 then 'WEAK'
        else 'MATCH'
    end as seed_label
from seeds
order by study, split, seed, readout
