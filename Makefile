# `make run` starts the hub and `make test` checks everything; both set up what they need by themselves.

PY := .venv/bin/python

.PHONY: help setup run test lint typecheck unit

help:
	@echo 'make run        start the hub with the built-in market; options: make run ARGS="--port 9000"'
	@echo 'make test       all checks: lint, typecheck, unit'
	@echo 'make setup      prepare .venv (PYTHON=... names the interpreter)'
	@echo 'make lint       ruff: rules and format'
	@echo 'make typecheck  mypy --strict'
	@echo 'make unit       all tests, with the coverage of hub/; some: make unit ARGS="--no-cov tests/hub"'

setup:
	@sh setup.sh

run: setup
	@$(PY) run_hub.py $(ARGS)

test: lint typecheck unit

lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

typecheck: setup
	$(PY) -m mypy --strict hub bridge run_hub.py clients/py/argus_client

unit:
	@sh setup.sh --browser
	$(PY) -m pytest --cov=hub $(ARGS)
