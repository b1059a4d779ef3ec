# One command from a clone to green: `make test`, `make demo`. Needs Python 3.11 or newer, and make.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup hooks check format test test-fast test-fault test-campaign test-batch-campaign test-memory test-sinks-campaign docs bench demo wheel lock clean

VENV ?= .venv
BIN := $(VENV)/bin
# The first interpreter on the path that is new enough; `make setup PYTHON=…` names another one.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links
DEMO ?= out/demo
PYTEST_ARGS ?=
# Test processes side by side; a file's tests stay together.
WORKERS ?= 2
# Tests start the program some hundred times: compiling it each time costs a fifth of that.
export PYTHONDONTWRITEBYTECODE :=

help:  ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.editable  ## Make .venv and install everything that is locked

$(VENV)/.locked: requirements-dev.lock
	@test -n '$(PYTHON)' || { echo 'runner needs Python 3.11 or newer, and none was found on the path. Install one, or name it: make setup PYTHON=/path/to/python3' >&2; exit 1; }
	@test -x $(BIN)/python || { echo 'making $(VENV) with $(PYTHON)'; $(PYTHON) -m venv $(VENV); }
	@echo 'installing requirements-dev.lock into $(VENV)'
	@$(PIP) install --require-hashes --requirement requirements-dev.lock
	@touch $@

# Without isolation: the build backend is in the lock, so nothing is fetched that has no hash.
$(VENV)/.editable: $(VENV)/.locked pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

hooks: setup  ## Run the checks before every commit
	$(BIN)/pre-commit install

check: setup  ## Format, lint, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup  ## Format the code and mend what the linter can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

test: setup  ## All tests but the long campaign
	$(BIN)/python -m pytest -m 'not campaign and not live' -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-fast: setup  ## The tests that take seconds
	$(BIN)/python -m pytest -m 'not slow and not fault and not campaign and not live' $(PYTEST_ARGS)

test-fault: setup  ## The tests that kill, starve and cut
	$(BIN)/python -m pytest -m 'fault and not live' $(PYTEST_ARGS)

test-campaign: setup  ## The long campaign: minutes to hours
	$(BIN)/python -m pytest -m campaign --timeout=3600 $(PYTEST_ARGS)

test-batch-campaign: setup  ## Batch mode killed at every point and 200 random moments
	KILLS=200 $(BIN)/python -m pytest tests/fault/test_batch_*.py tests/integration/test_batch_*.py --timeout=3600 --log-cli-level=INFO $(PYTEST_ARGS)

test-sinks-campaign: setup  ## Deliveries killed at 50 random moments of each kind, full disks, lost servers
	KILLS=50 $(BIN)/python -m pytest tests/fault/test_sinks_*.py tests/fault/test_sql_sink_faults.py --timeout=3600 --log-cli-level=INFO $(PYTEST_ARGS)

test-memory: setup  ## Memory while a million rows are read and written
	MANY_ROWS=1000000 $(BIN)/python -m pytest tests/contract/test_many_rows.py tests/contract/test_table_memory.py tests/contract/test_sql_datasets.py tests/integration/test_table_delivery_memory.py --timeout=3600 $(PYTEST_ARGS)

docs: setup  ## Write the generated pages, schema and help texts again
	$(BIN)/python -m scripts.docs

bench: setup  ## Measure; adds to benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks

demo: setup  ## Run an example job on the stand-in API and show its result
	@sh scripts/demo.sh $(BIN)/runner $(DEMO)

wheel: setup  ## Build dist/*.whl
	rm -rf dist
	$(BIN)/python -m hatchling build -t wheel

lock: setup  ## Choose the newest allowed versions and write their hashes
	$(PIP) install 'uv>=0.9'
	$(UV_COMPILE) --upgrade pyproject.toml --output-file requirements.lock
	$(UV_COMPILE) --upgrade --constraints requirements.lock pyproject.toml --group dev --output-file requirements-dev.lock

clean:  ## Remove what was built, keep .venv
	rm -rf dist out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
