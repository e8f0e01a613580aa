# make run: set everything up and start the server with a demo fleet.
# make test: set everything up and pass the whole suite.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_READY := $(VENV)/.run-ready
TEST_READY := $(VENV)/.test-ready
WEB_READY := web/dist/index.html

.PHONY: run test lint types contracts unit bench crash fuzz constraints clean

run: $(RUN_READY) $(WEB_READY)
	$(BIN)/northwatch up --demo

test: $(TEST_READY) $(WEB_READY) lint types contracts
	$(BIN)/python tests/install_browser.py
	$(BIN)/pytest

lint: $(TEST_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(TEST_READY)
	$(BIN)/mypy

contracts: $(TEST_READY)
	$(BIN)/lint-imports

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

$(RUN_READY): constraints/run.txt pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --require-hashes --requirement constraints/run.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(TEST_READY): constraints/test.txt $(RUN_READY)
	$(BIN)/pip install --quiet --require-hashes --requirement constraints/test.txt
	touch $@
