# `make demo` and `make test` need python3 (3.11 or newer, with venv), make and a C compiler; the rest is set up here, once, in .venv.
# PYTHON picks the interpreter; PIP_FLAGS is passed to pip; JOBS is the number of test processes,
# GPU_JOBS that of those that share a GPU (most of their time is compiling); BENCH has the options of `scanlang bench`.

PYTHON ?= python3
PIP_FLAGS ?=
JOBS ?= 2
GPU_JOBS ?= 8
BENCH ?=
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# One torch thread in each test process: JOBS of them share the cores.
PYTEST_ENVIRONMENT := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PYTEST_OPTIONS := -q -n $(JOBS) --timeout 600
# A lent GPU may be taken away: .ci/cut_off.py has failing tests named at once.
GPU_ENVIRONMENT := $(PYTEST_ENVIRONMENT) PYTHONPATH=.ci$${PYTHONPATH:+:$$PYTHONPATH}
GPU_OPTIONS := -q -n $(GPU_JOBS) --timeout 600 -p cut_off -rfE --durations=15 --junitxml=build/gpu-tests.xml
QUICK := not long and not gpu
LONG := long and not gpu
TRITON := triton and not gpu

# $(call run_tests,venv,pytest expression): once as it is, once more for what runs in Triton's interpreter,
# where TRITON_INTERPRET must be set before triton is imported. An expression that selects no interpreter test is fine.
define run_tests
	$(PYTEST_ENVIRONMENT) $(1)/bin/python -m pytest $(PYTEST_OPTIONS) -m "$(2)" --ignore=tests/interpreter
	$(PYTEST_ENVIRONMENT) TRITON_INTERPRET=1 $(1)/bin/python -m pytest $(PYTEST_OPTIONS) -m "$(2)" tests/interpreter \
	  || [ $$? -eq 5 ]
endef

# $(call make_venv,venv,constraints)
define make_venv
	@echo "setting up $(1): the packages of $(2), once"
	rm -rf $(1)
	$(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install -q --disable-pip-version-check $(PIP_FLAGS) -c $(2) setuptools
	$(1)/bin/python -m pip install -q --disable-pip-version-check $(PIP_FLAGS) -c $(2) --no-build-isolation -e '.[dev]'
	@touch $@
endef

.PHONY: help demo test test-long test-newest lint gpu-test bench docs clean tools

help:
	@echo "make demo         the main example: compile, run on a photograph, time, draw (into out/demo)"
	@echo "make test         the tests that CI runs on every change"
	@echo "make test-long    the tests marked long"
	@echo "make test-newest  the Triton tests under the newest Triton, in .venv-newest"
	@echo "make lint         ruff, and mypy --strict on an installed copy"
	@echo "make gpu-test     the tests that need an NVIDIA GPU, with PYTHON's own torch and Triton, without network"
	@echo "make bench        times, memory and the machine's limits; BENCH=\"--rows 'cpu-*'\" hands options on"
	@echo "make docs         regenerate docs/errors.md and the pictures"

tools:
	@command -v $(PYTHON) >/dev/null || { echo "missing: $(PYTHON) (Python 3.11 or newer; PYTHON=… picks another)"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "missing: Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "missing: the venv module of $(PYTHON) (on Debian and Ubuntu: apt install python3-venv)"; exit 2; }
	@command -v "$${SCANLANG_CC:-$(firstword $(CC))}" >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null \
	  || { echo "missing: a C compiler (cc, gcc or clang; on Debian and Ubuntu: apt install gcc libc6-dev)"; exit 2; }

.venv/ready: pyproject.toml constraints.txt | tools
	$(call make_venv,.venv,constraints.txt)

.venv-newest/ready: pyproject.toml constraints-newest.txt | tools
	$(call make_venv,.venv-newest,constraints-newest.txt)

demo: .venv/ready
	.venv/bin/python examples/demo.py

test: .venv/ready
	$(call run_tests,.venv,$(QUICK))

test-long: .venv/ready
	$(call run_tests,.venv,$(LONG))

test-newest: .venv-newest/ready
	$(call run_tests,.venv-newest,$(TRITON))

lint: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	rm -rf build
	.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation --target build/lint .
	cd build/lint && ../../.venv/bin/python -m mypy --strict --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache -p scanlang

gpu-test:
	@$(PYTHON) -c 'import torch' || { echo "missing: torch for $(PYTHON)"; exit 2; }
	@$(PYTHON) -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || { echo "torch of $(PYTHON) sees no GPU"; exit 1; }
	$(PYTHON) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@mkdir -p build
	@rm -f build/gpu-tests.xml
	status=0; \
	$(GPU_ENVIRONMENT) $(PYTHON) -m pytest $(GPU_OPTIONS) -m gpu --ignore=tests/interpreter || status=$$?; \
	$(PYTHON) .ci/summary.py gpu build/gpu-tests.xml $$status

bench: .venv/ready
	.venv/bin/scanlang bench $(BENCH)

docs: .venv/ready
	.venv/bin/python docs/generate.py

clean:
	rm -rf .venv .venv-newest build out
