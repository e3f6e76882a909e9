"""The page of a study: rows in, figures and one HTML file out. Knows nothing of Dagster, DuckDB or where things are."""
