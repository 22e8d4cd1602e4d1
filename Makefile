# Each target works alone on a machine with python3 >= 3.11 (with pip or venv, or uv), make and a package index.
.PHONY: help setup demo test test-all screenshots lint lock clean
.DEFAULT_GOAL := help

# Python compiles what it imports once and keeps that: without, every process that loads torch pays seconds anew.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
BIN := .venv/bin
UV = $(shell command -v uv || echo $(BIN)/uv)
READY := .venv/.ready

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY)  ## set up .venv from requirements.lock

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'from sys import exit, version_info as v; exit(not (3, 11) <= v < (3, 14) or v[:3] == (3, 13, 0))' || \
		{ echo "Lehr needs Python 3.11, 3.12 or 3.13 (not 3.13.0: the public client crashes in it); $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@if command -v uv >/dev/null; then test -x $(BIN)/python || uv venv -q --python $(PYTHON) .venv; \
	elif test ! -x $(BIN)/uv; then \
		echo "Setting up .venv (once; torch is large)"; \
		{ $(PYTHON) -m venv .venv 2>/dev/null && $(BIN)/python -m pip install -q uv; } || \
		{ rm -rf .venv .uv && $(PYTHON) -m pip install -q --target .uv uv && PYTHONPATH=.uv $(PYTHON) -m uv venv -q --python $(PYTHON) .venv && cp .uv/bin/uv $(BIN)/uv && rm -rf .uv; }; \
	fi
	@$(UV) pip sync -q --python $(BIN)/python --require-hashes requirements.lock
	@$(UV) pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY)  ## train on handwritten digits through the public client, in a temporary home
	@$(BIN)/lehr demo $(DEMO)

test: $(READY)  ## every test but the slow ones
	@$(BIN)/pytest -m "not slow and not gpu"

test-all: $(READY)  ## the slow tests too
	@$(BIN)/pytest -m "not gpu"

screenshots: $(READY)  ## pictures of the web page for docs/screenshots; needs Chromium
	@$(BIN)/python dev/screenshots.py

lint: $(READY)  ## ruff, mypy, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

lock: ## pin and hash what pyproject.toml asks for
	@$(UV) pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --extra dev pyproject.toml -o requirements.lock

clean:  ## remove what setup and tests made
	@rm -rf .venv .uv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
