# The one menu. Every target does its own set-up: `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python -m

.PHONY: help demo test lint bench bench-iql bench-label clean gl

help:  ## show this menu
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 13

demo: $(VENV)/.demo gl  ## the whole path, from a sentence to a guarded robot, on the CPU
	$(RUN) embodied demo

test: $(VENV)/.dev gl  ## every test
	$(RUN) pytest

lint: $(VENV)/.dev  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(RUN) mypy

bench: $(VENV)/.dev gl  ## the speed figures of the README, into benchmarks/results
	$(RUN) benchmarks.sim
	$(RUN) benchmarks.label

bench-iql: $(VENV)/.dev  ## IQL beside JAX, d3rlpy and TorchRL on the CPU, each in an environment in .bench
	$(RUN) benchmarks.iql

bench-label: $(VENV)/.dev  ## camera frames to CLIP vectors on the CPU, beside open_clip's own loader
	$(RUN) benchmarks.clip_speed

clean:  ## remove the environment and caches; runs and data stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis build dist *.egg-info

# Libraries for headless rendering: installed where that is allowed, else one line says what to do.
gl:
	@bash .ci/gl

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "embodied-stack needs Python 3.11 to 3.13; say which with: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(RUN) pip install --quiet --constraint constraints.txt --editable '.[demo]'
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	$(RUN) pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.demo
