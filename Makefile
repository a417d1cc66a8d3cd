# make help lists what there is.
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.ready
PYTEST := $(PY) -m pytest

.DEFAULT_GOAL := help
.PHONY: help run test parts unit takeover lab check bench soak format clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

run: $(STAMP)  ## serve a software keyboard on loopback: no USB hardware, no root
	$(VENV)/bin/twinhub serve --config docs/examples/keyboard.toml

test: parts unit takeover lab  ## everything: unit tests, a pair in namespaces, real kernels in virtual machines

unit: $(STAMP)  ## the unit tests alone
	$(PYTEST) tests/unit

takeover: parts  ## the tests in network namespaces alone: a pair, and whatever can happen to it
	$(PYTEST) tests/namespaces

lab: parts  ## the tests in virtual machines alone
	$(PYTEST) tests/lab --timeout 600 --numprocesses 2 --dist loadfile -m 'not idle'

parts: $(STAMP)
	$(PY) -m tests.lab.setup

check: $(STAMP)  ## ruff, mypy strict, the floors
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(PYTEST) tests/unit/test_floors.py tests/unit/test_house.py

bench: parts  ## measure against named rivals; writes bench/results.json
	$(PY) -m pip install --quiet --editable '.[dev,bench]'
	$(PY) -m tests.bench

soak: parts  ## what takes long: a million inputs for every parser, a thousand takeovers, a server under fire
	$(PY) -m tests.fuzz
	$(PY) -m tests.namespaces.soak --count 1000 --seed 1
	$(PYTEST) tests/lab --timeout 600 -m idle

format: $(STAMP)  ## ruff's formatting and safe fixes
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:  ## forget what make made
	rm -rf $(VENV) .cache build dist *.egg-info

$(STAMP): pyproject.toml
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Twinhub needs Python 3.11 or newer")'
	python3 -m venv $(VENV)
	$(PY) -m pip install --quiet --editable '.[dev]'
	touch $@
