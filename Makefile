# Every target first sets up what it needs.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup run ui test ray browser check lint docs audit clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

export DAGSTER_HOME ?= $(CURDIR)/.dagster
export HF_HUB_DISABLE_TELEMETRY := 1
export PATH := $(CURDIR)/$(BIN):$(PATH)

help: ## Show this list.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

setup: $(STAMP) ## Create .venv with the pinned packages.

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	mkdir -p $(DAGSTER_HOME)
	$(BIN)/dagster instance info > /dev/null # two runs at once must not create the history
	touch $(STAMP)

# Without -W, Dagster first prints that `dg` has replaced this command.
run: $(STAMP) ## Run everything on ml_config.yaml, from data to report.
	mkdir -p $(DAGSTER_HOME)
	$(BIN)/python -W 'ignore:Function' -m dagster asset materialize -m mlrun_assets.definitions \
	  --select +deployment_report

ui: $(STAMP) ## Start Dagster's UI on http://127.0.0.1:3000 (this machine only).
	mkdir -p $(DAGSTER_HOME)
	$(BIN)/mlrun-assets ui || [ $$? = 130 ] # Ctrl-C is no error

lint: $(STAMP)
	ruff check .
	ruff format --check .
	lint-imports
	mypy

# Two test workers on two cores: one thread each.
check test ray docs browser: export OMP_NUM_THREADS := 1
check: lint ## Style, imports, types and the quick tests: before each commit.
	pytest -q -m 'not slow' -n 2

$(VENV)/.ray: $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[ray]'
	touch $@

$(VENV)/.mlflow: $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[mlflow]'
	touch $@

test: lint $(VENV)/.mlflow ## All tests except Ray, browser and tutorial: before you merge.
	pytest -q -m 'not browser and not docs' -n 2 --dist loadscope --no-loadscope-reorder # no run of a module's fixture twice

ray: $(VENV)/.ray ## The tests of the backends torchrun and ray.
	pytest -q mlrun_assets_tests/training/test_backends.py mlrun_assets_tests/orchestration/test_backends.py

$(VENV)/.docs: $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@

# Draws the diagrams of the site. Without it, the pages load it from another machine.
MERMAID := $(VENV)/mermaid-11.17.2.tgz
$(MERMAID): | $(STAMP)
	cd $(VENV) && npm pack --silent mermaid@11.17.2 > /dev/null || echo 'no mermaid: the diagrams of the site need a network'

docs: $(VENV)/.docs $(if $(shell command -v npm),$(MERMAID)) ## Build the documents as a site in site/, check its links, run the tutorial.
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	! test -e $(MERMAID) || tar -xzOf $(MERMAID) package/dist/mermaid.min.js > site/mermaid.min.js
	pytest -q -m docs

$(VENV)/.browser: $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[browser]'
	touch $@

browser: $(VENV)/.browser ## The tests of Dagster's UI; they need Chromium (apt install chromium).
	pytest -q mlrun_assets_tests/orchestration/test_browser.py

audit: $(STAMP) ## Look up known vulnerabilities of the pinned packages; needs the network.
	$(BIN)/python -m pip install --quiet pip-audit
	pip-audit --requirement constraints.txt --no-deps --disable-pip

clean: ## Remove .venv and caches; keep experiments, production and reports.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
