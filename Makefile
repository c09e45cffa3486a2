# jobspan: everything that a checkout can do. `make help` lists it.
# Needs Python 3.11 or newer (with venv) and make; all else is installed into .venv.

PYTHON ?= python3
#: Versions that everything was tested with; `make LOCK= test` installs whatever fits pyproject.toml instead.
LOCK ?= requirements.lock
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
#: So many processes run the tests, a module of them in one; PYTEST_ARGS="-n0 --pdb" has pytest run them itself.
TEST_WORKERS ?= 2
BENCH_ARGS ?=
CONFORMANCE_ARGS ?=
DEMO_ARGS ?=
DEMO_EXTRAS := wms,reports
FAULTS_ARGS ?=

# Compiled modules make each of our many short processes start faster; foreign modules make them unpredictable.
unexport PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help official diracx servers demo test check conformance bench faults mutants lock clean
.DELETE_ON_ERROR:

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.runner ## install, run the demo jobs from submission to reconciliation, show the results
	@$(BIN)/jobspan demo --jobs tests/data/demo $(DEMO_ARGS)

test: $(VENV)/.dev ## all tests except mutants and benchmarks; PYTEST_ARGS="-k word" narrows them
	@$(BIN)/python -m pytest -q -n $(TEST_WORKERS) --dist loadfile $(PYTEST_ARGS)

check: $(VENV)/.dev ## format, lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

mutants: $(VENV)/.dev ## break each promise of the README on purpose; its named test must notice
	@$(BIN)/python tests/mutants/run.py

conformance: $(VENV)/.runner ## CPU of every process shape by every method, a table; CONFORMANCE_ARGS="--burn 0.3" shortens it
	@$(BIN)/python tests/conformance/run.py $(CONFORMANCE_ARGS)

bench: $(VENV)/.dev ## what supervision costs, beside the alternatives; BENCH_ARGS="--quick --only latency" shortens it
	@$(BIN)/python tests/bench/run.py $(BENCH_ARGS)

faults: $(VENV)/.dev ## every fault that can be injected here, and what came of it; FAULTS_ARGS="--every 10" shortens it
	@$(BIN)/python tests/faults/run.py $(FAULTS_ARGS)

official: .cache/official/.done ## DiracX's own clients and schemathesis, in an environment of their own, for the contract tests

.cache/official/.done: tests/official/requirements.lock
	@rm -rf .cache/official && $(PYTHON) -m venv .cache/official
	@echo "installing DiracX's clients and schemathesis into .cache/official ..."
	@.cache/official/bin/python -m pip install -q -r tests/official/requirements.lock
	@touch $@

lock: ## renew requirements.lock from what the package index offers now
	@rm -rf build/lock && $(PYTHON) -m venv build/lock
	@build/lock/bin/python -m pip install -q '.[dev]'
	@{ echo "# The versions that all was tested with, by \"make lock\" on $$($(PYTHON) -V), Linux $$(uname -m)."; \
	   build/lock/bin/python -m pip freeze --exclude jobspan; } > build/requirements.lock
	@! grep -n -E '@|://|^-' build/requirements.lock || { echo "make lock: the lock must not name hosts or paths" >&2; exit 1; }
	@mv build/requirements.lock requirements.lock && rm -rf build/lock && wc -l requirements.lock

diracx: .cache/diracx/.installed ## a real DiracX server for the tests that need one, in an environment of its own below .cache

servers: ## real S3, search and telemetry servers for the tests that need them, built by Go and Maven, kept in ~/.cache
	@.ci/servers

clean: ## remove .venv, caches and what builds left
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.python: pyproject.toml $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
	  "make: jobspan needs Python 3.11 or newer, and $(PYTHON) is not; name another: make PYTHON=/usr/bin/python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { echo \
	  "make: $(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@touch $@

# One environment for everything; the runner with its embedded WMS and the reports is enough for the demo.
$(VENV)/.runner: $(VENV)/.python
	$(call install,$(DEMO_EXTRAS))
	@touch $@

$(VENV)/.dev: $(VENV)/.python
	$(call install,dev)
	@touch $(VENV)/.runner $@

.cache/diracx/.installed: tests/diracx.lock
	@echo "installing a DiracX server into .cache/diracx with the versions of $< ..."
	@rm -rf .cache/diracx && $(PYTHON) -m venv .cache/diracx
	@.cache/diracx/bin/python -m pip install -q -r $<
	@touch $@

define install
	@echo "installing .[$(1)] into $(VENV)$(if $(LOCK), with the versions of $(LOCK)) ..."
	@$(BIN)/python -m pip install -q $(if $(LOCK),-c $(LOCK)) -e '.[$(1)]' || { echo \
	  "make: the installation failed (pip says why above). $(LOCK) was made with Python 3.11: if a version in it does not" \
	  "exist for $$($(BIN)/python -V), run the same with LOCK= to take the newest that fit." >&2; exit 1; }
endef
