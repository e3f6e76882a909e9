-- One row per (study, split, seed, adapter, user): how one adapter did on one unseen user's pairs. What contrasts,
-- transfer and their intervals are made of; users are the unit that is resampled.
-- recipe      digest of what the adapter was trained by; A and B are only compared under one
-- adapter     who the adapter learned from: A or B of the split, or everyone
-- user_group  the user's group of the split, A or B
-- fold        the fold in which the user was held out
-- fingerprint  of the adapter
-- pairs       the user's held-out pairs; where A and B are matched by source model, those of them that both are judged on
-- correct     those with margin > 0: the adapter prefers what the user preferred
-- margin      sum of their reward margins, nats x beta
with matched as (
    select distinct study, split, seed, pair_id
    from training.margins
    semi join (
        from studies.study where matching = 'equally many pairs of each source model'
    ) as by_source using (study)
    where split is not null
)

select
    margins.study, groups.split, margins.seed, counted.recipe,
    coalesce(margins.user_group, 'everyone') as adapter,
    user_id, groups.user_group, margins.fold, margins.fingerprint,
    count(*) as pairs,
    count(*) filter (where margin > 0) as correct,
    sum(margin) as margin
from training.margins
join studies.study using (study)
join verdicts.counted using (study, cohort, seed, fold, fingerprint)
join prism.pairs using (pair_id)
join splits.assignments as groups using (user_id)
semi join studies.split as asked on asked.study = margins.study and asked.split = groups.split
left join matched
    on matched.study = margins.study and matched.split = groups.split
    and matched.seed = margins.seed and matched.pair_id = margins.pair_id
where groups.user_group is not null
  and (
    margins.split = groups.split
    -- The baseline is scored on every pair; beside groups that are matched by source model, only theirs count.
    or margins.split is null
    and (matching is distinct from 'equally many pairs of each source model' or matched.pair_id is not null)
  )
group by all
order by all
