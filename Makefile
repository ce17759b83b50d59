# dicomfs: everything from a fresh clone to a mounted sample archive. `make` alone lists the targets.
#
#   PYTHON=/path/to/python3.12   the interpreter to use (3.11 or newer; default: the python3 found)
#   ARGS="-k png -x"             further arguments for pytest; for bench the names of benchmarks (ARGS=--help)

# Most of a test's time is waiting for other programs; a file's tests share its mounts.
WORKERS = -n auto --dist loadfile
PYTEST = .venv/bin/python -m pytest $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow soak lint docs package bench clean
MAKEFLAGS += --no-print-directory

help:
	@echo "make setup      install what is missing and make the virtual environment .venv"
	@echo "make demo       mount a sample archive on .demo/mnt and use it"
	@echo "make test       run the tests (all but the slow ones; every kind of sample, not every sample)"
	@echo "make test-slow  run the slow tests, and the others over every sample"
	@echo "make soak       run what takes half an hour: thousands of objects, few descriptors, a long life"
	@echo "make lint       check style, types, spelling and shell scripts"
	@echo "make docs       write the parts of docs/ that follow from code"
	@echo "make package    build sdist and wheel, install the wheel in a fresh environment, use it"
	@echo "make bench      compare with what one would run instead, in one table (15 minutes)"
	@echo "make clean      unmount the demo, remove it and the caches (.venv stays)"

setup:
	@.ci/setup

demo:
	@.ci/setup demo
	@.ci/packages demo
	@.ci/demo

test: test-ready
	@$(PYTEST) $(WORKERS) -m "not slow and not corpus and not soak"

test-slow: test-ready
	@.ci/packages slow
	@$(PYTEST) $(WORKERS) -m "slow or corpus"

.PHONY: test-ready
test-ready:
	@.ci/setup test
	@.ci/packages test

soak: test-ready
	@$(PYTEST) -m soak

lint:
	@.ci/setup test lint
	@.ci/lint

package:
	@.ci/setup demo
	@.ci/package

docs:
	@.ci/setup test
	@cd tests && ../.venv/bin/python -m support.pages

bench:
	@.ci/setup test
	@.ci/packages bench
	@cd tests && ../.venv/bin/python -m bench $(ARGS)

clean:
	@.ci/demo stop
	@rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find dicomfs tests -name __pycache__ -type d -prune -exec rm -rf {} +
