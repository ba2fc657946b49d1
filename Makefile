# Everything starts here: `make demo` shows the product, `make test` proves it. Both set up .venv once.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
TORCH  := 2.13.0

export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1

.PHONY: demo test lint types contract check bench scorecards soak clean help

help:  ## what there is to make
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/' | column -t -s:

# Torch comes first and pinned, so that nothing installed later brings another build of it.
$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "==> creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip 2>/dev/null
	@echo "==> installing torch $(TORCH) (the largest download)"
	@$(BIN)/python -m pip install --quiet torch==$(TORCH)
	@echo "==> installing tercile and its locked dependencies"
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(VENV)/.installed  ## the whole road on real scenario data, in minutes
	@$(BIN)/tercile run north-america --workspace workspaces/north-america

test: $(VENV)/.installed  ## the whole test suite
	@echo "==> tests"
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --durations=15 -m "not slow" $(PYTEST_ARGS)

lint: $(VENV)/.installed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.installed
	@$(BIN)/mypy

contract: $(VENV)/.installed
	@$(BIN)/lint-imports

check: lint types contract  ## linters, types and the import contract

bench: $(VENV)/.installed  ## measure the bounds, as ratios in one run
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/bench_scores.py
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/bench_ingest.py
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/bench_ask.py

scorecards: $(VENV)/.installed  ## run the ready experiments that need no network, and write docs/scorecards.md
	@$(BIN)/python -m tests.benchmarks.scorecards

soak: $(VENV)/.installed  ## the long tests too
	@$(BIN)/python -m pytest -m slow --timeout 3600

clean:  ## remove what make made; the workspaces stay
	rm -rf $(VENV) build dist *.egg-info
