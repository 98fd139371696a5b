# The menu: `make` prints it. Every target is one line that a person could type.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COMPOSE := docker compose -f compose.yml -f compose.autotrain.yml

.PHONY: help
help:  ## Print this menu
	@awk 'BEGIN {FS = ":.*## "} /^## / {printf "\n\033[1m%s\033[0m\n", substr($$0, 4)} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

$(VENV)/.stamp: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q uv && $(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python -r requirements.lock || $(BIN)/pip install -q -r requirements.lock
	$(BIN)/pip install -q --no-deps -e .
	touch $@

## Use it
.PHONY: run tour-param tour-registry tour-bounce up doctor clean-data
run: $(VENV)/.stamp  ## Set up, then run the whole loop once on a simulated exchange (one to two minutes)
	@$(BIN)/tidewheel demo

tour-param: $(VENV)/.stamp  ## An engine trades with parameters that adapt, on a simulated market (one to three minutes)
	@$(BIN)/tidewheel tour param

tour-registry: $(VENV)/.stamp  ## Models of your own and of ours forecast and are measured, on a simulated market (one to two minutes)
	@$(BIN)/tidewheel tour registry

tour-bounce: $(VENV)/.stamp  ## Dips of made tickers become signals, by a model that is kept and tested (one to two minutes)
	@$(BIN)/tidewheel tour bounce

up: $(VENV)/.stamp  ## Start the fleet on this machine; Ctrl-C stops it (ARGS="--sim" for the simulated exchange)
	@$(BIN)/tidewheel up $(ARGS)

doctor: $(VENV)/.stamp  ## Check machine, settings, ledger, broker and exchange; says what to do
	@$(BIN)/tidewheel doctor

clean-data:  ## Remove ./data: candles, models, ledger
	rm -rf data

## Work on it
.PHONY: test recorded check prove fuzz mutants bench
test: $(VENV)/.stamp  ## Set up, then run the tests (ARGS=--both: the services' on both dialects)
	@$(BIN)/python -m pytest -n 4 $(ARGS) # two for each core of a small machine: half the tests wait for a process or a clock

recorded: $(VENV)/.stamp  ## Run the whole loop on recorded candles, the folder of which TIDEWHEEL_CANDLES names
	@test -d "$$TIDEWHEEL_CANDLES" || { echo "TIDEWHEEL_CANDLES='$$TIDEWHEEL_CANDLES' is no folder; name the one that holds the candles"; exit 2; }
	@$(BIN)/python -m pytest tests/recorded

check: $(VENV)/.stamp  ## Format, lint, types and import rules
	@$(BIN)/ruff format --check libs services tests
	@$(BIN)/ruff check libs services tests
	@$(BIN)/mypy
	@$(BIN)/lint-imports

prove: $(VENV)/.stamp  ## Try the promises out for some minutes, with kills and clock jumps (ARGS="swaps --quick")
	@$(BIN)/tidewheel prove $(ARGS)
	@$(if $(ARGS),,$(MAKE) --no-print-directory fuzz)

fuzz: $(VENV)/.stamp  ## Ask every app 2,000 requests drawn from its API description (CASES=500)
	@TIDEWHEEL_FUZZ_CASES=$(or $(CASES),2000) $(BIN)/python -m pytest tests/edges/test_fuzz.py

mutants: $(VENV)/.stamp  ## Plant slips in auth, names, gates and SQL, and count those that the tests find (minutes)
	@$(BIN)/python tests/mutants.py
	@$(BIN)/python -m tests.sql_mutants $(ARGS)

$(VENV)/.bench: $(VENV)/.stamp
	$(BIN)/pip install -q -e ".[bench]"
	touch $@

bench: $(VENV)/.bench  ## Print our speed beside the peers' (ARGS=benchmarks/bench_registry_http.py for one of them)
	@mkdir -p benchmarks/results && $(BIN)/python -m pytest $(or $(ARGS),benchmarks) -o python_files="bench_*.py" -p no:xdist --benchmark-columns=median,iqr,rounds --benchmark-json=benchmarks/results/latest.json

## Containers
.PHONY: build compose-up autotrain logs ps down
build:  ## Build the image
	$(COMPOSE) build

compose-up:  ## Start the serving stack
	docker compose up -d --wait

autotrain:  ## Start the serving and training stack
	$(COMPOSE) up -d --wait

logs:  ## Follow the containers' logs
	$(COMPOSE) logs -f

ps:  ## List the containers
	$(COMPOSE) ps

down:  ## Stop the containers; volumes stay
	$(COMPOSE) --profile sim down
