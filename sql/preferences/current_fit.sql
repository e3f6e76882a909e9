-- One row per configuration whose fit is of the choices that stand: preferences.fit without fits of earlier choices.
select fit.*
from preferences.fit
join preferences.answered using (measurement, configuration, run_id)
semi join preferences.configuration using (measurement, configuration)
order by measurement, configuration
