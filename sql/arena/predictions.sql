-- One row per (predictor, held-out battle): how likely each winner is, by baselines, base models and recipes alike.
--
-- kind  baseline, base model, or recipe
select 'baseline' as kind, * from arena.baseline_eval
union all by name
select 'base model' as kind, * from arena.base_eval
union all by name
select 'recipe' as kind, * from arena.finetuned_eval
