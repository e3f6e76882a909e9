-- One row per (split, group, extreme): the group's pair with the largest score gap, the clearest signal to learn from,
-- and that with the smallest, the most ambiguous. Of equal gaps, the first pair_id.
-- user_group  `A` or `B`
-- extreme     `largest gap` or `smallest gap`
-- equal_gaps  how many pairs of the group have this gap, this pair among them
-- question    the user's last message before the two answers
with ranked as (
    select
        split, user_group, pair_id,
        row_number() over (partition by split, user_group order by score_gap desc, pair_id) as from_largest,
        row_number() over (partition by split, user_group order by score_gap, pair_id) as from_smallest,
        count(*) over (partition by split, user_group, score_gap) as equal_gaps
    from prism.pairs
    join splits.assignments using (user_id)
    where user_group is not null
)

select
    split, user_group, extreme, pair_id, user_id, model_name, score_gap, equal_gaps, chosen_score, rejected_score,
    prompt[-1].content as question,
    chosen, rejected
from ranked
join (values ('largest gap'), ('smallest gap')) as extremes (extreme)
    on if(extreme = 'largest gap', from_largest, from_smallest) = 1
join prism.pairs using (pair_id)
order by split, user_group, extreme
