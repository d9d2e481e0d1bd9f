# One verb a target. Set-up chatter goes to standard error: what a command prints is all there is on standard output.
#   make demo ARGS="--json --port 8080"    ARGS goes to the command behind the target
#   make test PYTHON=/path/to/python3.12   PYTHON picks the interpreter for .venv

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint bench faults format lock clean

BIN := .venv/bin
RUNTIME := .venv/.runtime-installed
DEV := .venv/.dev-installed
PACKAGE := pyproject.toml scripts/install

help:
	@echo 'make demo    run the product with its demo provider'
	@echo 'make test    run all tests'
	@echo 'make lint    check style, types and import layers'
	@echo 'make bench   measure requests and refreshes a second, as ratios in one run'
	@echo 'make faults  kill, freeze and cut off refreshing processes: what is lost, and why (about 10 minutes)'
	@echo 'make format  rewrite the source in the house style'
	@echo 'make lock    resolve and hash requirements/*.txt again (ARGS=--upgrade for newer versions)'
	@echo 'make clean   remove what make made'

demo: $(RUNTIME)
	@$(BIN)/grantkeeper demo $(ARGS)

test: $(DEV)
	@scripts/test-requirements chromium fonts postgres interop >&2
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal $(ARGS)

lint: $(DEV)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy src tests
	@$(BIN)/lint-imports

bench: $(DEV)
	@scripts/test-requirements wrk postgres >&2
	@$(BIN)/python bench/run.py $(ARGS)

faults: $(DEV)
	@scripts/test-requirements postgres interop >&2
	@$(BIN)/python -m faults $(ARGS)

format: $(DEV)
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

lock:
	@scripts/lock $(ARGS)

clean:
	@rm -rf .venv build dist src/*.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@rm -rf tests/interop/node_modules
	@find src tests bench faults -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

$(RUNTIME): requirements/runtime.txt $(PACKAGE)
	@scripts/install runtime >&2
	@touch $@

$(DEV): requirements/dev.txt $(PACKAGE)
	@scripts/install dev >&2
	@touch $@ $(RUNTIME)
