# `make run` starts the hub and `make test` checks everything; both set up what they need by themselves.

PY := .venv/bin/python

.PHONY: help setup run test test-windows lint typecheck unit soak kill kill-redis bench bench-quick bench-history \
	bench-relay bench-instructions

help:
	@echo 'make run        start the hub with the built-in market; options: make run ARGS="--port 9000"'
	@echo 'make test       all checks: lint, typecheck, unit'
	@echo 'make test-windows   tests of Windows, under Wine; some: make test-windows ARGS="-k doctor"'
	@echo 'make setup      prepare .venv (PYTHON=... names the interpreter)'
	@echo 'make lint       ruff: rules and format'
	@echo 'make typecheck  mypy --strict'
	@echo 'make unit       all tests, with the coverage of hub/; some: make unit ARGS="--no-cov tests/hub"'
	@echo 'make soak       ten minutes of churn and faults; shorter: make soak SOAK_S=120'
	@echo 'make kill       hub and feeder are killed 25 times under the whole market; six minutes'
	@echo 'make kill-redis two feeds, edges and Redis are killed, paused and cut under the whole market; ten minutes'
	@echo 'make bench      fan-out, beside its peers, hours; some: make bench ARGS="burst steady"; all: ARGS=--list'
	@echo 'make bench-quick    the same in under two minutes'
	@echo 'make bench-instructions   instructions of the core for each row; needs valgrind'
	@echo 'make bench-relay    feed, Redis and edges beside a hub alone; nine minutes'
	@echo 'make bench-history  figures of history; some: ARGS="replay"; a whole day takes 7 GB'

setup:
	@sh setup.sh

run: setup
	@$(PY) run_hub.py $(ARGS)

test: lint typecheck unit

lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

typecheck: setup
	$(PY) -m mypy --strict hub bridge run_hub.py service.py clients/py/argus_client
	$(PY) -m mypy --strict --platform win32 hub bridge run_hub.py service.py clients/py/argus_client

unit:
	@sh setup.sh --tests
	$(PY) -m pytest --cov=hub -n auto --dist loadfile $(ARGS)

test-windows:
	@sh setup.sh --wine
	@$(PY) -m tests.windows.support.preparing
	@WINDOWS_UNDER_WINE=1 $(PY) -u -m pytest --no-cov --verbose tests/windows $(ARGS)

SOAK_S ?= 600

soak: setup
	SOAK_S=$(SOAK_S) $(PY) -m pytest tests/e2e/test_soak.py

kill: setup
	KILL_SIZE=full $(PY) -m pytest tests/e2e/test_kill.py

kill-redis:
	@sh setup.sh --tests
	KILL_SIZE=full $(PY) -m pytest tests/e2e/test_kill_redis.py

bench: setup
	$(PY) -m benchmarks.fanout $(ARGS)

bench-quick: setup
	$(PY) -m benchmarks.fanout --quick $(ARGS)

bench-history: setup
	$(PY) benchmarks/history.py $(ARGS)

bench-relay:
	@sh setup.sh --tests
	$(PY) -m benchmarks.relay $(ARGS)

bench-instructions: setup
	$(PY) -m benchmarks.instructions $(ARGS)
