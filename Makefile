# Every target prepares what it needs in .venv: on a machine with Python (3.11 or newer, with venv), make and
# nothing else, `make demo` in a fresh clone is enough. A stamp file remembers each set of extras that is
# installed, and pyproject.toml renews it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

WORKERS ?= 2
TEST_ARGS ?=
BENCH_ARGS ?=
DEMO := runs/demo
# Names of reproductions, or all.
NAMES ?= all

.PHONY: help demo test check bench docs papers reproduce clean
.DELETE_ON_ERROR:

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- environments -------------------------------------------------------------------------------------------

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit("thalweg needs Python 3.11 or newer: make PYTHON=python3.11 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.demo-ready: pyproject.toml $(VENV)/.created
	$(PIP) --editable ".[data]"
	@touch $@

$(VENV)/.dev-ready: pyproject.toml $(VENV)/.created
	$(PIP) --editable ".[data,dev,docs]"
	@touch $@

# torch goes first and alone, at the version that the extra names: see benchmarks/README.md.
$(VENV)/.bench-ready: pyproject.toml $(VENV)/.created
	$(PIP) "torch==2.13.0"
	$(PIP) --editable ".[data,bench]"
	$(PIP) --no-deps torchcfm
	@touch $@

# --- what a user runs ---------------------------------------------------------------------------------------

demo: $(VENV)/.demo-ready  ## train on the digits, sample by ODE and by SDE, open the report
	$(BIN)/thalweg fit --target digits --condition label --steps 2000 --out $(DEMO) --overwrite
	$(BIN)/thalweg sample $(DEMO) --png & ode=$$!; $(BIN)/thalweg sample $(DEMO) --sde 0.5 --png & sde=$$!; \
	$(BIN)/thalweg report $(DEMO) && wait $$ode && wait $$sde

reproduce: $(VENV)/.demo-ready  ## run the papers' headline claims and renew PAPERS.md (NAMES="a b" for some)
	$(BIN)/thalweg reproduce $(NAMES)
	$(BIN)/python scripts/make_papers.py

bench: $(VENV)/.bench-ready  ## compare with the peers on the same work; writes benchmarks/results
	@set -e; for script in benchmarks/bench_*.py; do \
		echo "== $$script"; $(BIN)/python "$$script" --out benchmarks/results $(BENCH_ARGS); \
	done

# --- what a developer runs ----------------------------------------------------------------------------------

test: $(VENV)/.dev-ready  ## run the tests (TEST_ARGS="-k flows")
	$(BIN)/python -m pytest -n $(WORKERS) $(TEST_ARGS)

check: $(VENV)/.dev-ready docs  ## lint, format, types, floors, documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo --cache-dir .cache/import-linter

# Not --quiet: it hides warnings from --strict as well.
docs: $(VENV)/.dev-ready  ## build the documentation into site/, any warning an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

papers: $(VENV)/.dev-ready  ## renew PAPERS.md from the marks in the source
	$(BIN)/python scripts/make_papers.py

clean:  ## remove caches and builds; runs/ and .venv stay
	rm -rf .cache site dist build
