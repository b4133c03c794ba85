# Each target sets up what it needs in .venv, once.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo lab docs test test-slow test-lab check bench clean

help:
	@echo "make demo       set up, learn the digits, make pictures of a sentence (2 minutes)"
	@echo "make lab        the interactive chapters, in the browser"
	@echo "make test       the tests (make test-slow: those that take longer)"
	@echo "make check      formatting, lint, docstrings, types, and that imports flow one way"
	@echo "make docs       the documentation as a site, in runs/site"
	@echo "make bench      us beside the peers, in one run; tables in bench/results"

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "unmelt needs Python 3.11 or newer; try make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv

# One stamp for each extra: .venv/.dev is newer than pyproject.toml when unmelt[dev] is installed as it says.
.venv/.%: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@

demo: .venv/.demo
	$(BIN)/python examples/digits.py
	$(BIN)/python examples/words_to_pictures.py

lab: .venv/.lab
	$(BIN)/unmelt lab

test: .venv/.dev
	$(BIN)/python -m pytest -n auto --dist worksteal

test-slow: .venv/.dev
	$(BIN)/python -m pytest -m slow

# Every chapter in a real browser, what they train included: Debian's Chromium, installed where that is allowed.
test-lab: .venv/.dev
	@command -v chromium >/dev/null || apt-get install -y chromium || sudo -n apt-get install -y chromium || true
	$(BIN)/python -m pytest tests/lab -m "slow or not slow"

check: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python tools/docstrings.py
	$(BIN)/mypy
	$(BIN)/lint-imports

runs/digits/config.json: | .venv/.demo
	$(BIN)/unmelt train digits --out runs/digits

docs: .venv/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: .venv/.bench runs/digits/config.json
	@for name in startup overhead training solvers solvers_digits guidance inverse lab; do $(BIN)/python bench/$$name.py --save || exit 1; done

clean:
	rm -rf .venv runs .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
