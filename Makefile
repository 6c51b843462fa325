PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: check lint type imports test soak guards bench demo fix clean

# What CI runs.
check: lint type imports test

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dask,notify,sandbox,storage,xlsx]' --group dev
	@touch $@

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(INSTALLED)
	$(BIN)/mypy

imports: $(INSTALLED)
	$(BIN)/lint-imports --no-cache

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 4 --dist worksteal

# Hundreds of random courses of a batch, then 20,000 kills at every point of a run and between them: an hour or more.
soak: $(INSTALLED)
	LIPSYNC_BATCH_ROUNDS=60 $(BIN)/python -m pytest tests/test_state_machine.py
	$(BIN)/python tests/crash_matrix.py soak

# Each guard of the laws is taken out of a copy of the program; a test must fail then.
guards: $(INSTALLED)
	$(BIN)/python tests/guards.py

# All of it takes some twenty minutes. `make bench ROWS="own-cost given-rate"` measures some, BENCH=--runs=3 each thrice.
# The figures go into the README's table.
bench: $(INSTALLED)
	$(BIN)/python -m benchmarks --write $(BENCH) $(ROWS)

demo: $(INSTALLED)
	$(BIN)/lipsync-batch run manifests/demo.yaml --sandbox
	@find manifests/out/demo.sandbox -name '*.mp4' -not -path '*/_batch/*' | sort

fix: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info manifests/out
