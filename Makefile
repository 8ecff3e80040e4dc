# `make` lists the targets. Everything runs in .venv, which is made on first use and again when
# pyproject.toml or requirements.lock change.
PYTHON ?= python3
BIN = .venv/bin
READY = .venv/.ready
UV_COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"
UV_LOCK = $(UV_COMPILE) pyproject.toml --group build

.DEFAULT_GOAL := help
.PHONY: help run demo test budget coverage check bypass fuzz bench bench-quick protos protos-baseline fmt lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(READY) ## the control plane on this machine, with the embedded store
	$(BIN)/boxwall up $(ARGS)

demo: $(READY) ## a box in an internet of namespaces, while its policy changes five times; as root on Linux
	@PYTHONPATH=tests $(BIN)/python -m demo $(ARGS)

test: $(READY) ## all tests; ARGS="-k wildcard" goes to pytest
	@tools/test-packages.sh
	$(BIN)/pytest $(ARGS)
	$(if $(ARGS),,$(MAKE) coverage)

budget: $(READY) ## count what hot paths do (calls, statements, tasks, messages), and allow it; `make test` compares
	@PYTHONPATH=tests $(BIN)/python -m budget

coverage: $(READY) ## fails when a branch of the policy core is not tested; part of `make test` without ARGS
	$(BIN)/coverage run --source=boxwall.policy -m pytest tests/boxwall/policy -q
	$(BIN)/coverage report --fail-under=100

check: $(READY) ## format, lint, types, arrows, contract, generated code
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	tools/contract.sh check

fuzz: $(READY) ## feed the readers of untrusted bytes for a minute each, on Linux; ARGS="--seconds 600 flow"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-fuzz.lock
	$(BIN)/python tests/fuzz/run.py $(ARGS)

bypass: $(READY) ## try every way out of a box, as root; a table of what leaked, status 1 if anything did
	@tools/test-packages.sh
	@$(BIN)/python tests/bypass $(ARGS)

bench: $(READY) ## measure everything, write bench/report.md
	@tools/bench-packages.sh
	$(BIN)/python -m bench $(ARGS)

bench-quick: $(READY) ## the same code on smaller sizes, about two minutes
	@tools/bench-packages.sh
	$(BIN)/python -m bench --quick $(ARGS)

protos: $(READY) ## regenerate clients/boxwall/v1 from protos/
	tools/contract.sh generate

protos-baseline: $(READY) ## make the protos as they are what `check` compares with (see CONTRIBUTING.md)
	tools/contract.sh baseline

fmt: $(READY) ## format, and fix what can be fixed
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

lock: $(READY) ## renew the pinned versions; ARGS="--upgrade-package grpcio" or ARGS=--upgrade
	$(UV_LOCK) --all-extras --output-file requirements.lock $(ARGS)
	$(UV_LOCK) --extra server --constraint requirements.lock --output-file requirements-server.lock $(ARGS)
	$(UV_LOCK) --extra agent --constraint requirements.lock --output-file requirements-agent.lock $(ARGS)
	$(UV_COMPILE) --group fuzz --constraint requirements.lock --output-file requirements-fuzz.lock $(ARGS)

clean: ## remove .venv and every cache
	rm -rf .venv .coverage .fuzz .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Boxwall needs Python 3.11 or newer; name one: make PYTHON=python3.11 run" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
