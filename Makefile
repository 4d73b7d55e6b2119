# Everything is one of these words. `make run` and `make test` do their own set-up; a second run does it in no
# time, because the stamps in the virtual environment are as old as the lock files they were made from.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

# The interpreter's version is part of a stamp's name: a newer python3 makes a new environment.
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
RUNTIME := $(VENV)/.runtime-$(VERSION)
TESTING := $(VENV)/.testing-$(VERSION)
# What the compiled core is told too, with what is compiled of plugins.
STORIES := $(filter-out tests/whole/test_budget.py,$(wildcard tests/whole/test_*.py))
NODE := tests/sdk/node_modules/.package-lock.json
COMPILED := build/compiled/.stamp
CORE := $(shell find gateway plugins -name '*.py' 2>/dev/null) deploy/compile.py

PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input install
# A lock file is whole, so nothing is resolved: for an extra that it names bare, as in google-auth[requests],
# pip's resolver would take the newest release, which has no hash here.
LOCKED := $(PIP) --no-deps --require-hashes
UV := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header

# Debian's packages for what pip has not: command, colon, package.
DEBIAN := curl:curl haproxy:haproxy nginx:nginx-light node:nodejs npm:npm \
	pg_ctlcluster:postgresql slowhttptest:slowhttptest strace:strace wrk:wrk
export PATH := $(PATH):/usr/sbin

# Installs packages if we may; otherwise says what to type and goes on.
define apt_install
may=; if [ "$$(id -u)" = 0 ]; then may=env; elif sudo -n true 2>/dev/null; then may="sudo -n env"; fi; \
if [ -n "$$may" ] && command -v apt-get >/dev/null; then \
	$$may apt-get -qq update >&2 || true; \
	$$may DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $$packages >&2 || true; \
fi
endef

.PHONY: help
help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

.PHONY: run
run: $(RUNTIME) ## install what is locked, then start the gateway with ./config.toml
	@if [ -e $(COMPILED) ]; then \
		if [ -z "$$(find gateway plugins -name '*.py' -newer $(COMPILED))" ]; then \
			export PYTHONPATH=build/compiled; \
		else echo "The core was changed since make compile: running it as Python" >&2; fi; \
	fi; \
	exec $(BIN)/weir run --config config.toml $(ARGS)

.PHONY: compile
compile: $(COMPILED) ## compile the hot path; make run takes it from then on

.PHONY: test
test: $(TESTING) debian node ## lint, types and tests, in minutes
	@$(if $(ARGS),$(MAKE) --no-print-directory test-python,$(MAKE) --no-print-directory test-both)

.PHONY: test-python
test-python: $(TESTING)
	@$(MAKE) --no-print-directory lint
	@$(BIN)/pytest $(ARGS)

# The stories spend their time waiting, so the two cores are told them side by side. What is told of plain Python is
# shown last, because it is nearly the whole of it: the shorter side takes over what stands here.
BESIDE := tests/bench tests/sdk tests/tidy

.PHONY: test-both
test-both: $(TESTING)
	@mkdir -p build; : >build/tests.log; \
	$(MAKE) --no-print-directory test-python ARGS="$(BESIDE:%=--ignore=%)" >build/tests.log 2>&1 & python=$$!; \
	trap 'kill $$python 2>/dev/null || true' EXIT; \
	compiled=0; $(MAKE) --no-print-directory test-compiled || compiled=$$?; \
	$(BIN)/pytest -q $(BESIDE) || compiled=$$((compiled + $$?)); \
	tail -n +1 -f --pid=$$python build/tests.log; \
	plain=0; wait $$python || plain=$$?; \
	exit $$((compiled + plain > 0))

.PHONY: test-compiled
test-compiled: $(TESTING) ## the stories on the compiled core
	@if $(MAKE) --no-print-directory compile; then \
		CORE_UNDER_TEST=$(CURDIR)/build/compiled $(BIN)/pytest -q $(STORIES); \
	elif [ "$${CI:-}" = true ]; then exit 1; \
	else echo "Not compiled: the stories are told of plain Python only" >&2; fi

.PHONY: battery
battery: $(TESTING) debian node ## the tests at their full sizes
	@$(BIN)/pytest --battery --timeout=7200 $(ARGS)

.PHONY: bench
bench: $(TESTING) debian $(COMPILED) ## measure the overhead beside nginx and print a table
	@$(BIN)/python -m bench compare $(ARGS)

.PHONY: bench-field
bench-field: $(TESTING) debian $(COMPILED) ## the same beside Envoy, HAProxy and other LLM gateways, which it installs
	@$(BIN)/python -m bench peers install || true
	@$(BIN)/python -m bench compare --peer all $(ARGS)

.PHONY: bench-check
bench-check: $(TESTING) debian $(COMPILED) ## the same, shorter, and fail past the bar
	@$(BIN)/python -m bench check $(ARGS)

.PHONY: lint
lint: $(TESTING) ## ruff and mypy
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary

.PHONY: fmt
fmt: $(TESTING) ## format, and repair what ruff can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: lock
lock: ## renew the lock files (needs uv and npm)
	@command -v uv >/dev/null || { echo "make lock needs uv: pipx install uv" >&2; exit 1; }
	printf 'setuptools>=70.1\n' | $(UV) $(ARGS) pyproject.toml - -o requirements.lock
	$(UV) $(ARGS) tests/requirements.in -o tests/requirements.lock
	cd tests/sdk && npm install --package-lock-only
	for name in envoy litellm tensorzero; do \
		$(UV) $(ARGS) bench/peers/locks/$$name.in -o bench/peers/locks/$$name.lock; done
	cd bench/peers/locks/portkey && npm install --package-lock-only --ignore-scripts

.PHONY: clean
clean: ## remove what these commands made
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		tests/sdk/node_modules bench/results bench/.cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUNTIME): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Weir needs Python 3.11 or newer; name one: make run PYTHON=python3.12" >&2; exit 1; }
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		packages="python$(VERSION)-venv"; $(apt_install); \
		$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
			echo "Python cannot make a virtual environment: apt install $$packages" >&2; exit 1; }; \
	fi
	@if [ "$$($(BIN)/python -c 'import sys, pip; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" \
			!= "$(VERSION)" ]; then \
		$(PYTHON) -m venv --clear $(VENV) >&2; \
	fi
	@echo "Installing requirements.lock into $(VENV)" >&2
	@$(LOCKED) -r requirements.lock >&2
	@$(PIP) --no-build-isolation --no-deps -e . >&2
	@touch $@

$(TESTING): $(RUNTIME) tests/requirements.lock
	@echo "Installing tests/requirements.lock into $(VENV)" >&2
	@$(LOCKED) -r tests/requirements.lock >&2
	@touch $@

$(COMPILED): $(CORE) $(TESTING)
	@packages=; command -v gcc >/dev/null || packages="gcc libc6-dev"; \
	headers=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))'); \
	[ -e "$$headers/Python.h" ] || packages="$$packages python$(VERSION)-dev"; \
	if [ -n "$$packages" ]; then $(apt_install); fi; \
	if ! command -v gcc >/dev/null || [ ! -e "$$headers/Python.h" ]; then \
		echo "Compiling needs a C compiler and Python's headers: apt install $$packages" >&2; exit 1; \
	fi
	@echo "Compiling the core into build/compiled, which takes a minute" >&2
	@mkdir -p build; $(BIN)/python deploy/compile.py build/compiled >build/compile.log 2>&1 || { \
		cat build/compile.log >&2; exit 1; }
	@touch $@

.PHONY: debian
debian:
	@packages=; for pair in $(DEBIAN); do \
		command -v "$${pair%%:*}" >/dev/null || packages="$$packages $${pair##*:}"; \
	done; \
	if [ -n "$$packages" ]; then $(apt_install); fi; \
	packages=; for pair in $(DEBIAN); do \
		command -v "$${pair%%:*}" >/dev/null || packages="$$packages $${pair##*:}"; \
	done; \
	if [ -n "$$packages" ]; then echo "Missing for some tests: apt install$$packages" >&2; fi

.PHONY: node
node:
	@if command -v npm >/dev/null && ! $(MAKE) -s --no-print-directory $(NODE); then \
		rm -rf tests/sdk/node_modules; \
		echo "npm ci failed: the JavaScript SDKs will not be tested" >&2; \
	fi

$(NODE): tests/sdk/package.json tests/sdk/package-lock.json tests/sdk/.npmrc
	@cd tests/sdk && npm ci --silent --ignore-scripts >&2
	@touch $@
