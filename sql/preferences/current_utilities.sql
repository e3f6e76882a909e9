-- One row per (configuration, task): the utilities of preferences.current_fit.
from preferences.utilities
semi join preferences.current_fit using (measurement, configuration)
order by measurement, configuration, place
