# `make demo` and `make test` need Python 3.10 or newer, its venv module and a C++17 compiler;
# everything else comes from the package index into $(VENV).  `make help` lists the rest.

PYTHON ?= python3
VENV ?= .venv
# More arguments for the tool a target runs, as in: make test ARGS="-m 'not slow'"
ARGS ?=

BIN := $(VENV)/bin
NATIVE := pyproject.toml $(wildcard CMakeLists.txt) $(shell find csrc -type f 2>/dev/null)

# What each installation adds to the package itself: extras of pyproject.toml.
EXTRAS_demo := faces,report
EXTRAS_test := test
EXTRAS_lint := lint
EXTRAS_types := test,lint
EXTRAS_docs := all,docs
EXTRAS_bench := faces,report,openvino,bench

# Two pip processes must not write into one environment.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo test lint format types docs bench-smoke clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1|/p' Makefile | while IFS='|' read -r name text; do \
	  printf '  make %-12s %s\n' "$$name" "$$text"; done
	@printf '\nVariables: PHOTOS, OUT (demo), ARGS (the tool'"'"'s own), PYTHON, VENV\n'

# Read by the shell from the environment, so that any character in a name is safe.
export PHOTOS OUT

demo: $(VENV)/installed-demo ## Group photos by person: make demo [PHOTOS=folder] [OUT=folder]
	@set -e; photos="$$PHOTOS"; out="$$OUT"; \
	if [ -z "$$photos" ]; then \
	  photos=demo/photos; out="$${out:-demo/run}"; \
	  $(BIN)/python scripts/demo_photos.py "$$photos"; \
	fi; \
	out="$${out:-out/$$(basename "$$photos")}"; \
	$(BIN)/fastface run "$$photos" --out "$$out" $(ARGS)

test: $(VENV)/installed-test ## Run the tests: make test [ARGS="-m 'not slow'"]
	$(BIN)/pytest -n 2 --dist loadfile $(ARGS)

lint: $(VENV)/installed-lint ## Check style and formatting, change nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	find csrc \( -name '*.[ch]pp' -o -name '*.cu' -o -name '*.cuh' \) -print0 | xargs -0 $(BIN)/clang-format --dry-run --Werror

format: $(VENV)/installed-lint ## Put files into the format that lint wants
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	find csrc \( -name '*.[ch]pp' -o -name '*.cu' -o -name '*.cuh' \) -print0 | xargs -0 $(BIN)/clang-format -i

types: $(VENV)/installed-types ## Check the types
	$(BIN)/mypy $(ARGS)

docs: $(VENV)/installed-docs ## Build the documentation; warnings are errors
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html $(ARGS)
	@echo "docs/_build/html/index.html"

bench-smoke: $(VENV)/installed-bench ## Run every benchmark in its smallest form
	$(BIN)/python -m benchmarks --smoke $(ARGS)

clean: ## Remove the environment, builds and caches; keep demo/, out/ and results/
	rm -rf $(VENV) build dist wheelhouse docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "fastface needs Python 3.10 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
	  echo "$(PYTHON) cannot make virtual environments; on Debian: apt install python3-venv" >&2; \
	  exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=23.1'

# An editable installation: Python files are read from the checkout, so only a change of the
# metadata or of the C++ sources installs again (and then compiles only what changed).
$(VENV)/installed-%: $(NATIVE) | $(VENV)/pyvenv.cfg
	@for compiler in "$$CXX" c++ g++ clang++; do \
	  if [ -n "$$compiler" ] && command -v $$compiler >/dev/null; then exit 0; fi; done; \
	  echo "no C++ compiler found (set CXX, or on Debian: apt install g++)" >&2; exit 1
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS_$*)]'
	@touch $@
