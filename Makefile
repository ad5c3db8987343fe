# make repro · make test · make ui · make profile NAME=gpu · make clean
# Every target is idempotent and works in its own virtual environment; nothing outside this folder is touched.
# On Linux PyPI's torch brings CUDA; PIP_FLAGS="--index-url …" with PyTorch's CPU index makes a smaller environment.

PYTHON ?= python3.11
VENV ?= .venv
PIP_FLAGS ?=
PORT ?= 5000
# Files of tests side by side, in the order of tests/conftest.py: the long ones first. Each process computes with one
# thread, or they would wait for each other.
PYTEST_FLAGS ?= --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
TARGET ?= prism.compare
# PRISM's environments side by side, each with its share of the cores; 0: all, but one after another on a GPU; 1: no.
JOBS ?= 0
BIN := $(VENV)/bin

export HF_HUB_OFFLINE ?= 1
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1
export TOKENIZERS_PARALLELISM := false
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: repro test lint ui profile clean distclean help

help:
	@echo "make repro              run the experiments of params.yaml, and print the comparison (TARGET=prism.compare)"
	@echo "make test               run the tests"
	@echo "make ui                 show the runs in MLflow (PORT=5000)"
	@echo "make profile NAME=gpu   compose params.yaml for another scale: smoke, laptop, gpu, paper"
	@echo "make lint               ruff and mypy"
	@echo "make clean              remove what was computed; make distclean removes the environment too"

repro: $(VENV)/.ready-repro
	@python -m experiments.repro --jobs $(JOBS) $(TARGET)
	@echo "The tables: runs/*/compare. The page of PRISM: report/index.html. The runs: make ui."

test: $(VENV)/.ready-test
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} python -m pytest $(PYTEST_FLAGS)

lint: $(VENV)/.ready-test
	@ruff check . && ruff format --check . && mypy

ui: $(VENV)/.ready-repro
	@mlflow ui --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}" --host 127.0.0.1 --port $(PORT)

profile: $(VENV)/.ready-repro
	@test -n "$(NAME)" || { echo "make profile: say which: NAME=smoke, laptop, gpu or paper" >&2; exit 1; }
	@encore profile use $(NAME)

clean:
	rm -rf runs report .encore mlflow.db mlartifacts .dvc/cache .dvc/tmp

distclean: clean
	rm -rf $(VENV)

# An environment is ready when its stamp is newer than what it was made from; a cut installation leaves no stamp.
$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "make: no $(PYTHON) here: install Python 3.11, or say PYTHON=…" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready-repro: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e .
	@touch $@

$(VENV)/.ready-test: $(VENV)/.ready-repro
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e '.[dev,textworld,webshop]'
	@touch $@
