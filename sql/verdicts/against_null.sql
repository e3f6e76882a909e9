-- One row per (study, split, readout) of a split that may differ: how large its mean difference is beside those of the
-- splits where nothing should differ, the null control and the placebos. A comparison of sizes; no test.
-- readout          held_out or tail, as in verdicts.contrast
-- mean_difference_pp  mean A - B over seeds, points
-- null_control_pp  size of the null control's mean difference, the largest if there are several; empty if none is in
-- ratio            size of the split's mean difference / null_control_pp; empty if that is missing or exactly 0
-- exceeds_null_control  whether the split's is the larger; empty if there is no null control
-- nulls            null controls and placebos that are in
-- nulls_rms_pp     root mean square of their mean differences: their spread around 0, points; empty if none is in
-- nulls_as_large   how many of them differ by at least as much as the split
-- why_empty        why ratio is empty; empty where it is not
with size as (
    select study, split, readout, role, mean_difference_pp, abs(mean_difference_pp) as points
    from verdicts.reported_rule
),

compared as (
    select
        this.study, this.split, this.readout, this.mean_difference_pp, this.points,
        max(other.points) filter (where other.role = 'null control') as null_control_pp,
        count(other.points) as nulls,
        sqrt(avg(other.points ^ 2)) as nulls_rms_pp,
        count(*) filter (where other.points >= this.points) as nulls_as_large
    from size as this
    left join size as other
        on other.study = this.study and other.readout = this.readout and other.role in ('null control', 'placebo')
    where this.role not in ('null control', 'placebo')
    group by all
)

select
    study, split, readout, mean_difference_pp, null_control_pp,
    if(null_control_pp > 0, points / null_control_pp, null) as ratio,
    points > null_control_pp as exceeds_null_control,
    nulls, nulls_rms_pp, nulls_as_large,
    case
        when null_control_pp is null then 'no null control is in'
        when null_control_pp = 0 then 'the null control differs by exactly 0'
    end as why_empty
from compared
order by study, readout, points desc, split
