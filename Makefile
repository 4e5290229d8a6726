# Every target sets up what it needs: .venv is made and filled on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUN := runs/demo-$(shell date +%Y%m%d-%H%M%S)

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-cluster test-gpu check format docs bench bench-gpu clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[search,dev]'
	@touch $@

demo: $(STAMP) ## Search over topologies on real digits, compile the winner, check it (under 8 minutes on 2 cores)
	$(BIN)/wireloom search experiments/digits.yaml --out $(RUN)
	$(BIN)/wireloom compile $(RUN) --out $(RUN)/model

test: $(STAMP) ## Run the tests
	$(BIN)/python -m pytest -n 2 -m 'not slow and not cluster and not gpu'

test-slow: $(STAMP) ## Run the slow tests: kill and resume in real processes
	$(BIN)/python -m pytest -m slow

test-cluster: $(STAMP) ## Run the tests on real Ray clusters and servers: faults of every kind
	$(BIN)/python -m pytest -m cluster

test-gpu: $(STAMP) ## Run the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

check: $(STAMP) ## Format, lint and type-check without changing anything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP) ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP) ## Rewrite what is generated in docs/ (the table of families)
	$(BIN)/python -m graphs.table docs/families.md

bench-gpu: $(STAMP) ## Compare the GPU kernels with fp64, then time them (under 8 minutes on an H200)
	$(BIN)/python experiments/bench/mix_gpu.py

bench: $(STAMP) ## Print the driver's share of a search's wall time
	$(BIN)/python experiments/bench/overhead.py

clean: ## Remove the virtual environment and caches; runs/ stays
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
