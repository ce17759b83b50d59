# dicomfs: everything from a fresh clone to a mounted sample archive. `make` alone lists the targets.
#
#   PYTHON=/path/to/python3.12   the interpreter to use (3.11 or newer; default: the python3 found)
#   ARGS="-k png -x"             further arguments for pytest

PYTEST = .venv/bin/python -m pytest $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow lint bench clean
MAKEFLAGS += --no-print-directory

help:
	@echo "make setup      install what is missing and make the virtual environment .venv"
	@echo "make demo       mount a sample archive on .demo/mnt and use it"
	@echo "make test       run the tests (all but the slow ones)"
	@echo "make test-slow  run the slow tests"
	@echo "make lint       check style and types"
	@echo "make bench      run the benchmarks"
	@echo "make clean      unmount the demo, remove it and the caches (.venv stays)"

setup:
	@.ci/setup

demo: setup
	@.ci/packages demo
	@.ci/demo

test: test-ready
	@$(PYTEST) -m "not slow" --ignore=tests/bench

test-slow: test-ready
	@$(PYTEST) -m slow --ignore=tests/bench

.PHONY: test-ready
test-ready:
	@.ci/setup test
	@.ci/packages test

lint:
	@.ci/setup lint
	@.venv/bin/python -m ruff check
	@.venv/bin/python -m mypy

bench:
	@test -d tests/bench || { echo "There are no benchmarks (tests/bench)." >&2; exit 1; }
	@.ci/setup test
	@$(PYTEST) tests/bench --benchmark-only

clean:
	@.ci/demo stop
	@rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
	@find dicomfs tests -name __pycache__ -type d -prune -exec rm -rf {} +
