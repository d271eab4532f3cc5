# Two commands do all set-up: `make bench` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SUITE ?= smoke
PUBLISHED := $(patsubst %/pack.json,%,$(wildcard results/published/*/pack.json))
# Examples of Hypothesis are drawn from each test's name, so that two machines try the same ones; plain
# pytest draws new ones.
EXAMPLES := --hypothesis-profile=ci
# A process more than there are cores, since many tests wait, and at most four, for each loads PyTorch;
# files stay whole, since their fixtures are shared.
PARALLEL ?= -n $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1) --maxprocesses 4 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help bench test test-fast docs site perf lint format clean

help: ## Show this help
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

bench: $(STAMP) ## Install into .venv, run the default suite, write and name the report (SUITE=smoke)
	$(BIN)/invbench run suite=$(SUITE)

test: $(STAMP) lint ## Install, lint, check types, run all tests
	$(BIN)/pytest $(PARALLEL) $(EXAMPLES)

test-fast: $(STAMP) ## Run the tests that need neither Ray nor a browser nor patience
	$(BIN)/pytest $(PARALLEL) $(EXAMPLES) -m 'not slow and not ray and not browser'

docs: $(STAMP) ## Build the documentation into build/docs; it opens from disk
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict

site: $(STAMP) ## Build the pages of the published boards into build/site (URL=where they will be)
	$(BIN)/invbench report $(PUBLISHED) --to build/site $(if $(URL),--url $(URL))

perf: $(STAMP) ## Run the benchmarks of tests/perf (ratios, not times)
	$(BIN)/python -m tests.perf

lint: $(STAMP) ## Check format, lint, types and floors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove the environment and the caches, keep results
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
