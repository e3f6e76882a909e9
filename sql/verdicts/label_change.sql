-- One row per (study, split, readout) of a study that repeats another with one thing changed: what became of the label
-- of the reported rule. The reports read a change of label as what the change of method did; verdicts.method_change
-- has what can be said instead.
-- variant_of   the study that this one repeats with one thing changed
-- readout      held_out or tail, as in verdicts.contrast
-- before_pp, after_pp  mean A - B over the study's own seeds, points: of `variant_of`, of this study
-- before_seeds, after_seeds  how many seeds that is
-- before_label, after_label  its label by the reported rule
-- change       FIXED from MISMATCH to MATCH; IMPROVED from MISMATCH to LEAN or WEAK, or from those to MATCH; WORSE for
--              any step the other way; STABLE for MATCH that stays; UNCHANGED for any other label that stays, LEAN and
--              WEAK being one; `no direction expected` unless both studies expect the same direction
with ranked as (
    select
        study, split, readout, role, expected, seeds_run, mean_difference_pp, reported_rule,
        case when reported_rule = 'MISMATCH' then 0 when reported_rule in ('LEAN', 'WEAK') then 1
            when reported_rule = 'MATCH' then 2 end as firmness
    from verdicts.reported_rule
)

-- The reports have four of these nine; the others follow from the order MISMATCH, then LEAN and WEAK (the expected
-- side, but not firmly), then MATCH.
--
--   before          after MATCH   after LEAN or WEAK   after MISMATCH
--   MATCH           STABLE        WORSE                WORSE
--   LEAN or WEAK    IMPROVED      UNCHANGED            WORSE
--   MISMATCH        FIXED         IMPROVED             UNCHANGED
select
    after.study, variant_of, after.split, after.readout, after.role, after.expected,
    before.mean_difference_pp as before_pp,
    before.seeds_run as before_seeds,
    before.reported_rule as before_label,
    after.mean_difference_pp as after_pp,
    after.seeds_run as after_seeds,
    after.reported_rule as after_label,
    case
        when before.firmness is null or after.firmness is null then 'no direction expected'
        when before.expected is distinct from after.expected then 'no direction expected'
        when after.firmness < before.firmness then 'WORSE'
        when after.firmness = before.firmness then if(after.firmness = 2, 'STABLE', 'UNCHANGED')
        when before.firmness = 0 and after.firmness = 2 then 'FIXED'
        else 'IMPROVED'
    end as change
from ranked as after
join studies.study as variant on variant.study = after.study
join ranked as before
    on before.study = variant_of and before.split = after.split and before.readout = after.readout
order by after.study, after.split, after.readout
