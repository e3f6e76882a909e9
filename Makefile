# Every target makes .venv and installs into it on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install demo demo-arena ui test test-demo test-k8s calibration bench-train check format clean

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(STAMP) ## .venv with pinned versions

# torch first, by itself: otherwise another package's range could pull a build with several GB of CUDA libraries.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(STAMP) ## raw data to a verdict table, in minutes
	$(BIN)/prefassets demo

demo-arena: $(STAMP) ## which of two answers wins: a tiny model finetuned, beside baselines
	$(BIN)/prefassets arena demo

ui: $(STAMP) ## Dagster's web server and daemon on this home
	$(BIN)/prefassets ui

test: $(STAMP) ## the whole test suite, on two cores
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-demo: $(STAMP) ## the whole demo, that it finds what was planted, and what else takes minutes
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile

test-k8s: $(STAMP) ## studies on a Kubernetes cluster of loopback, with what goes wrong in clusters
	$(BIN)/python -m pytest prefassets_tests/loopback -m k8s -n 4 --dist loadfile

calibration: $(STAMP) ## how often verdicts are wrong, and how often they find what is there
	$(BIN)/python -m benchmarks.calibration

bench-train: $(STAMP) ## our training against TRL's, on a GPU if there is one
	$(BIN)/python -m benchmarks.training

check: $(STAMP) ## lint, format, types, definitions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/dagster definitions validate -m prefassets.definitions

format: $(STAMP) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove .venv and caches; the home stays
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache
