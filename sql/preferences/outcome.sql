-- One row per (configuration, outcome): how often it came. Neither refusals nor unparseable answers are wins.
--
-- kind         choice or rating
-- outcome      of choices: a, b, refusal or unparseable; of ratings: the word, refusal or unparseable
-- answers      answers with this outcome
-- share        of all answers of the configuration, 0-1
with outcomes as (
    select measurement, configuration, 'choice' as kind, choice as outcome from preferences.choices
    union all
    select measurement, configuration, 'rating', rating from preferences.ratings
)

select
    measurement,
    configuration,
    kind,
    outcome,
    count(*) as answers,
    answers / sum(answers) over (partition by measurement, configuration) as share
from outcomes
semi join preferences.configuration using (measurement, configuration)
group by measurement, configuration, kind, outcome
order by measurement, configuration, kind, outcome
