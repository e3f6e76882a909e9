-- One row per (study, split, seed, adapter, user): how one adapter did on one unseen user's pairs. What contrasts,
-- transfer and their intervals are made of; users are the unit that is resampled.
-- recipe      digest of what the adapter was trained by; A and B are only compared under one
-- adapter     who the adapter learned from: A or B of the split, or everyone
-- user_group  the user's group of the split, A or B
-- fold        the fold in which the user was held out
-- fingerprint  of the adapter
-- pairs       the user's held-out pairs
-- correct     those with margin > 0: the adapter prefers what the user preferred
-- margin      sum of their reward margins, nats x beta
select
    margins.study, groups.split, margins.seed, counted.recipe,
    coalesce(margins.user_group, 'everyone') as adapter,
    user_id, groups.user_group, margins.fold, margins.fingerprint,
    count(*) as pairs,
    count(*) filter (where margin > 0) as correct,
    sum(margin) as margin
from training.margins
join verdicts.counted using (study, cohort, seed, fold, fingerprint)
join prism.pairs using (pair_id)
join splits.assignments as groups using (user_id)
semi join studies.split as asked on asked.study = margins.study and asked.split = groups.split
where groups.user_group is not null
  and (margins.split = groups.split or margins.split is null)
group by all
order by all
