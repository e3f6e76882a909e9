-- One row per finished cell that may be judged: its study plans it, and its seed has every planned fold by one recipe.
-- A cell of a seed that the study no longer plans, or of a half-finished cross-fit, is finished but not counted.
select cells.study, cells.cohort, cells.seed, cells.fold, cells.fingerprint, cells.recipe, cells.steps
from training.cells
join studies.study using (study)
semi join studies.cell using (study, cohort, seed, fold)
qualify count(*) over (partition by cells.study, cohort, seed, recipe) = len(study.folds)
order by all
