-- One row per (study, split): what the study expects, and what the evidence on score gaps says of it, before training.
-- w2_predicts, ol_predicts  direction that the binary and the ordered logit predict, `A > B` or `A < B`; empty where
--                the split has no evidence
-- w2_selected_naive, ol_selected_naive  whether the covariate behind the split passes the test with naive errors
-- w2_selected_clustered, ol_selected_clustered  the same with user-clustered errors
-- w2_direction_p, ol_direction_p  user-clustered p of the predicted direction
-- naive_evidence  what both tests together say if pairs were independent: supported (a test sees the expected
--                direction, p below its threshold), contradicted (a test sees the opposite), mixed (one each), not
--                supported (none sees a difference), not tested (no number). A null control is contradicted if a test
--                sees a difference, else not contradicted, which is no proof of equality. Empty where the study is
--                exploratory
-- clustered_evidence  the same with user-clustered errors, which is what counts
with per_test as (
    select
        study, split.split, role, expected, test, predicted, selected_naive, selected_clustered, direction_clustered_p,
        direction_naive_p < threshold as seen_naive,
        direction_clustered_p < threshold as seen_clustered,
        predicted = expected as as_expected
    from studies.split
    left join evidence.selection using (split)
),

per_split as (
    select
        study, split, role, expected,
        any_value(predicted) filter (where test = 'W2') as w2_predicts,
        any_value(predicted) filter (where test = 'OL') as ol_predicts,
        any_value(selected_naive) filter (where test = 'W2') as w2_selected_naive,
        any_value(selected_clustered) filter (where test = 'W2') as w2_selected_clustered,
        any_value(selected_naive) filter (where test = 'OL') as ol_selected_naive,
        any_value(selected_clustered) filter (where test = 'OL') as ol_selected_clustered,
        any_value(direction_clustered_p) filter (where test = 'W2') as w2_direction_p,
        any_value(direction_clustered_p) filter (where test = 'OL') as ol_direction_p,
        count(seen_clustered) > 0 as tested,
        coalesce(bool_or(seen_naive and as_expected), false) as for_naive,
        coalesce(bool_or(seen_naive and not as_expected), false) as against_naive,
        coalesce(bool_or(seen_clustered and as_expected), false) as for_clustered,
        coalesce(bool_or(seen_clustered and not as_expected), false) as against_clustered
    from per_test
    group by study, split, role, expected
)

select
    study, split, role, expected, w2_predicts, ol_predicts,
    w2_selected_naive, w2_selected_clustered, ol_selected_naive, ol_selected_clustered, w2_direction_p, ol_direction_p,
    case
        when role = 'exploratory' then null
        when not tested then 'not tested'
        when role = 'null control' then if(against_naive, 'contradicted', 'not contradicted')
        when for_naive and against_naive then 'mixed'
        when for_naive then 'supported'
        when against_naive then 'contradicted'
        else 'not supported'
    end as naive_evidence,
    case
        when role = 'exploratory' then null
        when not tested then 'not tested'
        when role = 'null control' then if(against_clustered, 'contradicted', 'not contradicted')
        when for_clustered and against_clustered then 'mixed'
        when for_clustered then 'supported'
        when against_clustered then 'contradicted'
        else 'not supported'
    end as clustered_evidence
from per_split
order by study, split
