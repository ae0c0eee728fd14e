PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: arq-suite demo test test-all test-lowest chaos fuzz check format audit docs bench bench-full lock bench-lock clean

# The venv is made from the hash-pinned lock; the project itself is installed without looking anything up.
$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(STAMP)

demo: $(STAMP) ## the main job on embedded servers, with a report
	mkdir -p build
	$(BIN)/python -m worker demo --seconds 30 --json build/demo.json

test: $(STAMP) ## the tests, on real servers from wheels
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal -m "not long"

test-all: $(STAMP) ## the long ones too: whole runs under chaos with a guard taken away
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

fuzz: $(STAMP) ## a hundred times as many strange values in decoders, lanes and the API as `make test` tries
	FUZZ=100 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --timeout 0 tests/fuzz

# Warnings of old versions about their own dependencies are not ours.
LOWEST := build/lowest
test-lowest: ## the same with the lowest versions that pyproject.toml allows; needs uv on PATH
	mkdir -p build
	uv pip compile pyproject.toml --all-extras --resolution lowest-direct --python-version 3.11 --no-header \
	  --no-annotate --quiet --output-file $(LOWEST).txt
	test -x $(LOWEST)/bin/python || uv venv --quiet --python $(PYTHON) $(LOWEST)
	uv pip sync --quiet --python $(LOWEST)/bin/python $(LOWEST).txt
	uv pip install --quiet --python $(LOWEST)/bin/python pip # the wheel's tests build and install with it
	uv pip install --quiet --python $(LOWEST)/bin/python --no-deps --no-build-isolation --editable .
	$(LOWEST)/bin/python -m pytest -n auto --maxprocesses 4 --dist worksteal -m "not long" \
	  -W ignore::DeprecationWarning $(TESTS)

chaos: $(STAMP) ## break servers and processes at random for two minutes; nothing may be lost or stale
	mkdir -p build
	$(BIN)/python -m stoker chaos --workload worker.demo.workload --seconds 120 --json build/chaos.json

check: $(STAMP) ## format, lint, types, architecture, generated pages (no server)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/test_architecture.py tests/docs/test_pages.py

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

audit: $(STAMP) ## bill of materials (build/sbom.json), and what OSV knows against it; skipped where it cannot be asked
	$(BIN)/python -m tests.supply.materials build/sbom.json
	$(BIN)/python -m tests.supply.known

docs: $(STAMP) ## docs/api.md and settings.toml from the code
	$(BIN)/python -m tests.docs.reference
	$(BIN)/python -m tests.docs.settings_file

bench: $(STAMP) ## how Stoker compares, within 15 minutes; makes .bench-venv for its peers
	mkdir -p build
	$(BIN)/python -m bench --json build/bench.json

arq-suite: $(STAMP) ## arq's own tests, from its sdist, on this engine: how many pass, and why the others do not
	$(BIN)/python -m bench.arq_suite

bench-full: $(STAMP) ## the same with more and longer blocks, without a limit of time
	mkdir -p build
	$(BIN)/python -m bench --full --json build/bench.json

lock: ## after changing a dependency; needs uv on PATH
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-emit-index-url --quiet --output-file requirements.lock
	uv pip compile pyproject.toml docs/operations/docker/build.in --extra worker --extra otel --universal \
	  --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --quiet \
	  --constraints requirements.lock --output-file docs/operations/docker/requirements.lock

bench-lock: ## after changing bench/peers.in; needs uv on PATH
	uv pip compile bench/peers.in --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-emit-index-url --quiet --output-file bench/peers.lock

clean:
	rm -rf .venv .bench-venv build .data
