-- Temporary.
-- weight_mean, weight_min, weight_clamped, first_tenth, last_tenth  temporary
select study, cohort, split, user_group, seed, fold, 1.0::double as weight_mean, 1.0::double as weight_min, 1.0::double as weight_clamped, 1.0::double as first_tenth, 1.0::double as last_tenth from training.log where false
