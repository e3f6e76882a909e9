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
with by_source as (
    from studies.study where matching = 'equally many pairs of each source model'
),

-- The baseline is scored on every held-out pair; beside groups that are matched by source model, only theirs count.
judged as (
    select *, split as beside
    from training.margins
    where split is not null or study not in (select study from by_source)
    union all
    select everyone.*, own.split as beside
    from training.margins as everyone
    join (
        select distinct study, split, seed, pair_id
        from training.margins
        semi join by_source using (study)
        where split is not null
    ) as own using (study, seed, pair_id)
    where everyone.split is null
)

select
    judged.study, groups.split, judged.seed, counted.recipe,
    coalesce(judged.user_group, 'everyone') as adapter,
    user_id, groups.user_group, judged.fold, judged.fingerprint,
    count(*) as pairs,
    count(*) filter (where margin > 0) as correct,
    sum(margin) as margin
from judged
join verdicts.counted using (study, cohort, seed, fold, fingerprint)
join prism.pairs using (pair_id)
join splits.assignments as groups using (user_id)
semi join studies.split as asked on asked.study = judged.study and asked.split = groups.split
where groups.user_group is not null
  and (beside = groups.split or beside is null)
group by all
order by all
