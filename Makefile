# make run    conformers of well-known drugs: out/conformers.sdf, out/conformers.png and a table of speeds
# make test   style checks and all tests, as CI runs them
# make bench  the benchmarks: tables, and results, page and plots in the folder BENCH; SELECTION=full measures everything
# make bench-gpu  tests and benchmarks on one GPU, under 9 minutes; not yet run on a GPU
#
# PYTHON  interpreter that makes the virtual environment (3.10 or later)
# VENV    where the virtual environment is made
# TORCH   what pip installs as torch: another version, or the path of a wheel built for your CUDA
# JOBS    test processes
# BENCH   where `make bench` writes its results
# Set them in the environment, or on every command line: make run TORCH=torch==2.12.0

PYTHON ?= python3
VENV   ?= .venv
TORCH  ?= $(shell grep '^torch==' requirements.txt)
JOBS   ?= 2
BENCH  ?= out/bench
SELECTION ?= core

BIN     = $(VENV)/bin
PIP     = $(BIN)/python -m pip --disable-pip-version-check
SOURCES = $(shell find csrc -name '*.cpp' -o -name '*.h')

.PHONY: run test lint bench bench-gpu install clean FORCE
.DELETE_ON_ERROR:

run: install
	@mkdir -p out
	$(BIN)/ditkernels info
	@# Exit code 3 says that some molecules failed; which and why is in out/failures.csv, and the rest is there.
	$(BIN)/ditkernels conformers examples/drugs.smi -o out/conformers.sdf -n 4 --seed 1 --overwrite \
	    --failures out/failures.csv || [ $$? -eq 3 ]
	$(BIN)/python examples/draw_conformers.py out/conformers.sdf out/conformers.png
	$(BIN)/python benchmarks/quick.py

# One thread per test process: the processes share the cores. By file, so that a file's fixtures are made once.
test: install lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -n $(JOBS) --dist loadfile

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: install
	$(BIN)/python -m pytest benchmarks --selection $(SELECTION) --results $(BENCH)

# Needs a torch that sees the GPU: make bench-gpu TORCH=torch==... or a wheel for your CUDA. Exit code 4: no GPU.
bench-gpu: install
	$(BIN)/python benchmarks/gpu/run.py --results $(BENCH)

install: $(VENV)/built

# Three steps, each repeated only when what it depends on has changed: environment, dependencies, native build.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "ditkernels needs Python 3.10 or later; choose one with make PYTHON=...")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing: install it (Debian: apt-get install python3-venv) and run make again"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Written only when the choice of torch differs from last time, so that it can trigger the next step.
$(VENV)/torch: FORCE | $(BIN)/python
	@echo '$(TORCH)' | cmp -s - $@ || echo '$(TORCH)' > $@

$(VENV)/requirements.txt: requirements.txt $(VENV)/torch
	{ cat $(VENV)/torch; grep -v '^torch==' requirements.txt; } > $@.new
	$(PIP) install -r $@.new
	@mv $@.new $@

$(VENV)/built: $(VENV)/requirements.txt setup.py pyproject.toml $(SOURCES)
	$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

clean:
	rm -rf $(VENV) build dist out ditkernels.egg-info ditkernels/*.so .pytest_cache .ruff_cache
