# `make demo` runs the quickstart, `make test` the tests, `make cluster` a SLURM cluster to try;
# all set up .venv first.
.DELETE_ON_ERROR:
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo cluster test test-quick test-slurm lint clean

demo: $(READY)
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/demo.sh

# ACCOUNTING=1: with sacct
cluster: $(READY)
	$(BIN)/python tests/slurm/cluster.py $(if $(ACCOUNTING),--accounting)

# three processes for two cores: one of them mostly waits for its SLURM cluster
test: $(READY)
	$(BIN)/pytest -n 3

test-quick: $(READY)
	$(BIN)/pytest -m "not slow and not slurm"

test-slurm: $(READY)
	$(BIN)/pytest -m slurm

lint: $(READY)
	$(BIN)/pytest tests/unit/test_habits.py tests/unit/config/test_reference.py

$(READY): pyproject.toml constraints.txt requirements-embedded.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	  || { echo "ERROR: Python 3.11 is needed. Hint: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	$(BIN)/pip install --quiet --no-deps --requirement requirements-embedded.txt
	touch $(READY)

clean:
	rm -rf .venv
