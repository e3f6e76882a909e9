-- One row per (study, split, readout) of a study that repeats another with one thing changed: what the change did to
-- the reported label and, as the two labels may stand on different seeds, to A - B at the seeds that both studies have.
-- variant_of   the study that this one repeats with one thing changed
-- readout      held_out or tail, as in verdicts.contrast
-- before_pp, after_pp  mean A - B over the study's own seeds, points: of `variant_of`, of this study
-- before_seeds, after_seeds  how many seeds that is
-- before_label, after_label  its label by the reported rule
-- change       FIXED from MISMATCH to MATCH; IMPROVED from MISMATCH to LEAN or WEAK, or from those to MATCH; WORSE for
--              any step the other way; STABLE for MATCH that stays; UNCHANGED for any other label that stays, LEAN and
--              WEAK being one; `no direction expected` for null controls, placebos and exploratory splits
-- common_seeds  seeds that both have
-- before_common_pp, after_common_pp  mean A - B of each over the common seeds, points; empty if there are none
-- mean_change_pp  mean over the common seeds of this study's A - B minus that of `variant_of`, points; empty if none
-- sd_change_pp  its standard deviation over the common seeds, population form, points; empty with fewer than two
with matched as (
    select
        after.study, variant_of, split, readout,
        count(*) as common_seeds,
        avg(before.difference_pp) as before_common_pp,
        avg(after.difference_pp) as after_common_pp,
        avg(after.difference_pp - before.difference_pp) as mean_change_pp,
        if(count(*) > 1, stddev_pop(after.difference_pp - before.difference_pp), null) as sd_change_pp
    from verdicts.contrast as after
    join studies.study as variant on variant.study = after.study
    join verdicts.contrast as before using (split, seed, readout, metric)
    where before.study = variant_of and metric = 'pref_acc'
    group by all
),

-- The reports have four of these nine; the others follow from the order MISMATCH, then LEAN and WEAK (the expected
-- side, but not firmly), then MATCH. The label may stay while the difference moves: see mean_change_pp.
--
--   before          after MATCH   after LEAN or WEAK   after MISMATCH
--   MATCH           STABLE        WORSE                WORSE
--   LEAN or WEAK    IMPROVED      UNCHANGED            WORSE
--   MISMATCH        FIXED         IMPROVED             UNCHANGED
ranked as (
    select
        study, split, readout, seeds_run, mean_difference_pp, reported_rule,
        case when reported_rule = 'MISMATCH' then 0 when reported_rule in ('LEAN', 'WEAK') then 1
            when reported_rule = 'MATCH' then 2 end as firmness
    from verdicts.reported_rule
)

select
    after.study, variant.variant_of, after.split, after.readout,
    before.mean_difference_pp as before_pp,
    before.seeds_run as before_seeds,
    before.reported_rule as before_label,
    after.mean_difference_pp as after_pp,
    after.seeds_run as after_seeds,
    after.reported_rule as after_label,
    case
        when before.firmness is null or after.firmness is null then 'no direction expected'
        when after.firmness < before.firmness then 'WORSE'
        when after.firmness = before.firmness then if(after.firmness = 2, 'STABLE', 'UNCHANGED')
        when before.firmness = 0 and after.firmness = 2 then 'FIXED'
        else 'IMPROVED'
    end as change,
    coalesce(common_seeds, 0) as common_seeds,
    before_common_pp, after_common_pp, mean_change_pp, sd_change_pp
from ranked as after
join studies.study as variant on variant.study = after.study
join ranked as before
    on before.study = variant.variant_of and before.split = after.split and before.readout = after.readout
left join matched on matched.study = after.study and matched.split = after.split and matched.readout = after.readout
order by after.study, after.split, after.readout
