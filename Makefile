# make demo: set up and run the demo.   make test: set up, check style and types, run all everyday tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

WORKERS ?= 2  # processes that run the tests, a file each at a time

.PHONY: demo gains cross test lint slow clean

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("pper_jax needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/pper run configs/quickstart.yaml

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow

clean:
	rm -rf $(VENV) build *.egg-info

# What the quickstart's replay gains over learning from solved programs alone and over uniform replay, 8 seeds each.
gains: $(VENV)/.installed
	$(BIN)/pper study configs/studies/best.yaml --jobs 2
	$(BIN)/pper study configs/studies/best_hard.yaml --jobs 2

# What the demo model learns from its own beams, from programs of another origin, and from both, on seeds 0, 1 and 2.
cross: $(VENV)/.installed
	mkdir -p runs
	for seed in 0 1 2; do others=runs/elsewhere-$$seed.jsonl; \
	  $(BIN)/python -m pper_jax.tasks.micro_python.elsewhere train:256:$$seed 500 $$others || exit 1; \
	  $(BIN)/pper run configs/quickstart_cross.yaml seed=$$seed name=self-$$seed samples=null || exit 1; \
	  $(BIN)/pper run configs/quickstart_cross.yaml seed=$$seed name=cross-$$seed samples=$$others || exit 1; \
	  $(BIN)/pper run configs/quickstart_mixed.yaml seed=$$seed name=mixed-$$seed sources.elsewhere.path=$$others || exit 1; done
	$(BIN)/pper report $(foreach seed,0 1 2,runs/self-$(seed) runs/cross-$(seed) runs/mixed-$(seed)) --out runs/cross.html
