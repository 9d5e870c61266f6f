# `make demo` and `make test` need only Python 3.11 or newer and the package registry.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help venv demo test test-fast test-kernels test-lowest torture fuzz lint bench reproduce surface ways readme figures clean

help:
	@echo "to try it"
	@echo "  make demo          the panel of the demo model on the built-in data"
	@echo "  make test          the tests (GEOMCLIP_SLOW=1: the slow ones too)"
	@echo "  make reproduce     published numbers beside those of this machine (REPRODUCE='--device cuda --data-root DIR')"
	@echo "to work on it"
	@echo "  make lint          ruff and mypy"
	@echo "  make test-fast     the tests of numbers, records and files alone, in a minute"
	@echo "  make test-kernels  the numeric tests by the kernels of older processors"
	@echo "  make test-lowest   the tests with the lowest versions that pyproject.toml allows, in $(LOWEST) (TESTS=tests/metrics)"
	@echo "  make torture       every reading and file operation with every fault: an hour (TORTURE='--share 0.05')"
	@echo "  make fuzz          mutated files of every kind that is read: 60 minutes (MINUTES=5, FUZZ='npz csv')"
	@echo "  make bench         the benchmarks and the table of goals (BENCH='--only panel peers', BENCH=--quick)"
	@echo "  make ways          through how many files four things pass, before and now (WAYS=-v: which)"
	@echo "to write anew what is committed"
	@echo "  make readme        what README.md shows as printed, docs/formats.md, docs/reproduce.md"
	@echo "  make surface       the public names, options and keys as they are now, in tests/whole/surface.json"
	@echo "  make figures       the pictures of the demo model, from the numbers in figures/"
	@echo "the environment"
	@echo "  make venv          only the environment, in $(VENV)"
	@echo "  make clean         remove the environments"

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

# Two processes of one thread each: twice as fast on two cores as one of two, since most tests wait for others.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

test: $(STAMP)
	@$(PYTEST)

# The inner loop: what reads no model, draws nothing and trains nothing. A minute of one core.
FAST = $(addprefix tests/,machine pairs embeddings metrics losses panels)

test-fast: $(STAMP)
	@$(PYTEST) $(FAST)

# an environment of its own. What old packages say of newer ones beneath them is no error here.
LOWEST = .venv-lowest

test-lowest:
	@$(PYTHON) -m venv $(LOWEST)
	@$(PYTHON) tests/lowest.py > $(LOWEST)/lowest.txt
	@$(LOWEST)/bin/python -m pip --disable-pip-version-check --quiet install \
		--constraint $(LOWEST)/lowest.txt --editable '.[dev]'
	@$(subst $(BIN),$(LOWEST)/bin,$(PYTEST)) -W default $(TESTS)

# Stand-ins for other processors: each library is kept from the newer instructions of this one. The last digits then
# differ as they do there; tests of numbers (pytest's marker `numeric`) must hold all the same. x86 alone knows these.
# What takes long for another reason is left out: umap-learn compiling itself, studies, intervals beside many new samples.
#            torch                       MKL                      oneDNN                      numpy's and scipy's BLAS
NEHALEM = ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE ONEDNN_MAX_CPU_ISA=SSE41 OPENBLAS_CORETYPE=Nehalem \
	NUMBA_CPU_NAME=nehalem NUMBA_CPU_FEATURES= NPY_DISABLE_CPU_FEATURES="X86_V3 X86_V4 AVX512_ICL AVX512_SPR"
HASWELL = ATEN_CPU_CAPABILITY=avx2 MKL_CBWR=AVX2 ONEDNN_MAX_CPU_ISA=AVX2 OPENBLAS_CORETYPE=Haswell \
	NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES= NPY_DISABLE_CPU_FEATURES="X86_V4 AVX512_ICL AVX512_SPR"
NUMERIC = $(PYTEST) tests -m numeric -k 'not (compiled_towers or whole or new_samples or spread)'

test-kernels: $(STAMP)
	@$(NEHALEM) $(NUMERIC)
	@$(HASWELL) $(NUMERIC)

torture: $(STAMP)
	@$(BIN)/python tests/torture/faults.py
	@$(BIN)/python tests/torture/torture.py $(TORTURE)

MINUTES ?= 60

fuzz: $(STAMP)
	@$(BIN)/python tests/torture/fuzz.py --minutes $(MINUTES) $(FUZZ)

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(STAMP)
	@$(BIN)/python benchmarks/goals.py $(BENCH)

# Weights are fetched from the hub; data are looked for. Goes on where it was stopped.
reproduce: $(STAMP)
	@$(BIN)/geomclip reproduce $(REPRODUCE)

surface: $(STAMP)
	@$(BIN)/python tests/support/surface.py

# Reads the code alone.
ways:
	@$(PYTHON) benchmarks/ways.py $(WAYS)

readme: $(STAMP)
	@$(BIN)/python docs/readme.py
	@$(BIN)/python docs/formats.py
	@$(BIN)/python docs/reproduce.py

figures: $(STAMP)
	@$(BIN)/python analyses/figures.py

clean:
	@rm -rf $(VENV) $(LOWEST)
