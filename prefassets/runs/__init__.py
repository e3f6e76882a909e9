"""Where the runs of a home go: this machine (`here`) or a Dagster elsewhere (`elsewhere`), and what they share."""
