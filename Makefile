# What a person types. Each verb does its own set-up, once: a second run goes straight to work.
#
#   make lab          JupyterLab on the first lesson
#   make demo         the main job without a browser: what each source and the graft say, and their scores
#   make test         everything: check, front end, Python, notebooks, browser
#   make check        format, lint, types, house rules
#   make js           build the browser bundles from widgets/ into mergelab/static/
#   make notebooks    execute the lessons
#   make bench        measure; nothing is judged by time
#   make screenshot   take the pictures of the workbench anew
#   make format       put the Python files into the house's format
#   make clean        forget everything that was set up
#
#   make lab PYTHON=python3.12            another Python (3.11, 3.12 or 3.13)
#   make lab LAB_ARGS=--no-browser        on a machine without a screen
#   make test PYTEST_ARGS='-k house -x'   a part of the tests
#   make test WORKERS=0                   all of them in one process, from the ground up

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
LAB_ARGS ?=
PYTEST_ARGS ?=
WORKERS ?= 2
LESSON := notebooks/01_first_graft.ipynb
BIN := .venv/bin
# A file's tests stay in one process, so that what they share is made once.
SHARED_OUT = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
NODE_BIN := widgets/node_modules/.bin

# Small matrices: more threads than cores make them several times slower.
export OMP_NUM_THREADS ?= 2
export TOKENIZERS_PARALLELISM ?= false
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1

# Stamps: a file is touched when its set-up is complete.
VENV := .venv/.stamp-venv
LAB := .venv/.stamp-lab
DEV := .venv/.stamp-dev
NODE := widgets/node_modules/.stamp
PINNED := constraints.txt pyproject.toml

.PHONY: help lab demo test check python-check js-check js js-test notebooks bench screenshot format clean

help:
	@sed -n 's/^#   /  /p' Makefile

lab: $(LAB)
	$(BIN)/mergelab lab $(LESSON) -- $(LAB_ARGS)

demo: $(LAB)
	$(BIN)/mergelab demo

test: python-check js-check js-test | $(DEV)
	.ci/need.sh 'a browser for the browser tests' 'chromium fonts-dejavu-core' chromium chromium-browser google-chrome
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(SHARED_OUT) $(PYTEST_ARGS)

check: python-check js-check
	$(BIN)/python -m pytest -q tests/test_house.py

python-check: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

js-check: $(NODE)
	cd widgets && npm run --silent types && npm run --silent check

js-test: $(NODE)
	cd widgets && npm run --silent test

js: $(NODE)
	cd widgets && npm run --silent build

notebooks: $(DEV)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(SHARED_OUT) tests/test_notebooks*.py $(PYTEST_ARGS)

bench: $(DEV)
	@for script in tests/benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script; done

screenshot: $(DEV)
	.ci/need.sh 'a browser for the picture' 'chromium fonts-dejavu-core' chromium chromium-browser google-chrome
	MERGELAB_SCREENSHOT=notebooks $(BIN)/python -m pytest tests/browser/test_looks.py

format: $(DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv widgets/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis

# ------------------------------------------------------------------------------------------------ set-up

# torch comes first and by itself: where pip is offered a build for the CPU alone it takes that one, and the
# packages that depend on torch then find it there instead of asking for the newest with its CUDA stack.
$(VENV): constraints.txt
	@.ci/python.sh $(PYTHON) .venv
	$(BIN)/python -m pip install "$$(grep '^torch==' constraints.txt)" -c constraints.txt
	@touch $@

$(LAB): $(VENV) $(PINNED)
	$(BIN)/python -m pip install -c constraints.txt -e '.[lab]'
	@touch $@

$(DEV): $(VENV) $(PINNED)
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	@touch $@ $(LAB)

$(NODE): widgets/package-lock.json
	.ci/need.sh 'Node.js for the front end (pip install and make lab need none)' nodejs node
	.ci/need.sh 'npm, the package manager of Node.js' npm npm
	cd widgets && npm ci --no-audit --no-fund
	@touch $@
