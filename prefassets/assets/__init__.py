"""Thin assets: read, call, write, describe."""

import warnings

import dagster as dg

# Backfill policies and partition mappings are marked beta; what of them is used here is pinned and tested.
warnings.simplefilter("ignore", dg.BetaWarning)
