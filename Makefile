# `make demo` and `make test` need only Python 3.11 or newer and the package registry.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help venv demo test lint bench figures clean

help:
	@echo "make demo    the panel of the demo model on the built-in data"
	@echo "make test    the tests (GEOMCLIP_SLOW=1: the slow ones too)"
	@echo "make lint    ruff and mypy"
	@echo "make bench   the benchmarks and the table of goals (BENCH='--only panel peers', BENCH=--quick)"
	@echo "make figures the pictures of the demo model, from the numbers in figures/"
	@echo "make venv    only the environment, in $(VENV)"
	@echo "make clean   remove the environment"

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "installing into $(VENV)" >&2
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

demo: $(STAMP)
	@$(BIN)/geomclip measure

# two processes of one thread each: twice as fast on two cores as one of two, since most tests wait for others
test: $(STAMP)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(STAMP)
	@$(BIN)/python benchmarks/goals.py $(BENCH)

figures: $(STAMP)
	@$(BIN)/python analyses/figures.py

clean:
	@rm -rf $(VENV)
