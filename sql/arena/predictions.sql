-- One row per (predictor, held-out battle): how likely each winner is, by baselines, base models and recipes alike, as
-- far as they are judged in `arena.comparison`: of today's adapters and battles.
--
-- kind  baseline, base model, or recipe
from (
    select 'baseline' as kind, * from arena.baseline_eval
    union all by name
    select 'base model' as kind, * from arena.base_eval
    union all by name
    select 'recipe' as kind, * from arena.finetuned_eval
)
semi join arena.comparison using (predictor, fingerprint)
