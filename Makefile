# gapless: this file is the manual for working on the code. `make` alone prints it.

# The virtual environment of the README's test command, else .venv, else the python in use.
PYTHON ?= $(firstword $(wildcard .venv-test/bin/python .venv/bin/python) python3)
# Kills per crash test; the quick suite uses a few, `make crash` many.
KILLS ?= 2000

export PYTHONPATH := src

.DEFAULT_GOAL := help
.PHONY: help check test crash bench peers docs screenshots clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  PYTHON=$(PYTHON)  KILLS=$(KILLS)"

check: ## lint, format, types and the quick tests: what must be green before a change is done
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest -q -m "not slow and not crash"

test: ## every test, as .ci/run does, without making an environment
	$(PYTHON) -m pytest -q

crash: ## the crash tests with KILLS random SIGKILLs (default 2000)
	GAPLESS_KILLS=$(KILLS) $(PYTHON) -m pytest -q -m crash --timeout 7200

bench: ## every benchmark against its peer or floor; prints ratios and writes figures.json
	$(PYTHON) benchmarks/run.py --json figures.json

peers: .venv-peers/lerobot-0.4.4 ## our datasets and theirs against the real LeRobot (installs 1.6 GB into .venv-peers)
	GAPLESS_PEERS=1 $(PYTHON) -m pytest -q tests/peers

# No torchvision: its wheels for this torch need CUDA; tests/peers/lerobot stands in for what loading uses of it.
.venv-peers/lerobot-0.4.4:
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install -q torch==2.13.0
	.venv-peers/bin/pip install -q --no-deps lerobot==0.4.4
	.venv-peers/bin/pip install -q 'datasets>=4,<5' 'huggingface-hub>=0.34.2,<0.36' 'av>=15,<16' jsonlines \
	  'packaging<26' einops draccus==0.10.0 'deepdiff<9' 'opencv-python-headless<4.13' imageio termcolor \
	  'accelerate>=1.10,<2' pillow
	touch $@

screenshots: ## every page, light and dark, 1440 and 390 px wide, into build/screenshots
	$(PYTHON) -m tests.page.screenshots build/screenshots

docs: ## write docs/cli.md from the program, then run every example and link in the docs
	$(PYTHON) docs/generate.py
	$(PYTHON) -m pytest -q tests/docs

clean: ## remove caches and build output; never touches data or environments
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +
