# Every command of this repository. `make` alone prints this menu.
#
# All of them work from a fresh clone: each first sets up .venv as far as it needs it (scripts/set_up.py), which
# takes a moment the first time and nothing afterwards.

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
BIN    := $(VENV)/bin
SET_UP := $(PYTHON) scripts/set_up.py --venv $(VENV)

.DEFAULT_GOAL := menu
.PHONY: menu up test check bench cluster-demo chaos cron-compare dev browser format lint types layers sizes dependencies locks words fix simulate planted clean

menu:  ## Print this menu
	@echo 'make up            set up and run Rota: server, worker and pages; prints the link'
	@echo 'make test          set up and run all tests'
	@echo 'make check         format, lint, types, import layers, sizes, dependencies, lock files'
	@echo 'make bench         measure, print the table, write bench/results.json'
	@echo 'make simulate      whole clusters on virtual time: ARGS="--seeds 1-2000"'
	@echo 'make planted       plant known bugs in a copy, one by one: does a test catch each?'
	@echo 'make cluster-demo  PostgreSQL, servers and workers here; kills one of each, shows that nothing is lost'
	@echo 'make chaos         the same for longer, harmed in every way: ARGS="--seconds 600 --seed 1"'
	@echo 'make cron-compare  compare schedules with other implementations, at length'
	@echo 'make fix           let the formatter and the linter mend what they can'
	@echo 'make clean         remove what these commands made (not your data in .rota)'
	@echo
	@echo 'ARGS is handed on:   make up ARGS="--port 8800"    make test ARGS="tests/core -x"'
	@echo 'Another Python:      make test PYTHON=python3.12'

up:
	@$(SET_UP) run
	@exec $(BIN)/rota up $(ARGS)

test: dev browser
	@exec $(BIN)/pytest -n 2 --dist=worksteal --durations=10 $(ARGS)

simulate: dev
	@exec $(BIN)/python -m tests.simulation $(ARGS)

planted: dev
	@$(BIN)/python scripts/plant.py $(ARGS)

cluster-demo: dev
	@exec $(BIN)/python -m tests.chaos.demo $(ARGS)

chaos: dev
	@exec $(BIN)/python -m tests.chaos $(ARGS)

check: format lint types layers sizes dependencies locks words

bench: dev
	@$(BIN)/python -m bench $(ARGS)

cron-compare: dev
	@$(BIN)/python scripts/compare_cron.py $(ARGS)

dev:
	@$(SET_UP) dev

browser:
	@$(SET_UP) browser

format: dev
	@echo '── format'
	@$(BIN)/ruff format --check .

lint: dev
	@echo '── lint'
	@$(BIN)/ruff check .

types: dev
	@echo '── types'
	@$(BIN)/mypy

layers: dev
	@echo '── import layers'
	@$(BIN)/lint-imports --no-cache

sizes: dev
	@echo '── sizes'
	@$(BIN)/python scripts/check_sizes.py

dependencies: dev
	@echo '── dependencies'
	@$(BIN)/deptry src

locks: dev
	@echo '── lock files'
	@$(BIN)/python scripts/check_locks.py

words: dev
	@echo '── words'
	@$(BIN)/python scripts/check_words.py

fix: dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .hypothesis bench/results.json
