# How Zonefold is built, tested and run. `make` alone lists what there is.

CARGO ?= cargo
# What measures; each command is one of docs/performance.md.
BENCH = ./target/release/zonefold-bench
# How often `make fuzz` runs each target, in all; what was run before counts.
RUNS ?= 10000000
# Arguments for `make dev` and `make sim`, as in: make dev ARGS="--data ./zonefold-data", make sim ARGS="replay 17"
ARGS ?=
# How many seeds `make sim` runs, and how long `make soak` runs in minutes.
SEEDS ?= 500
MINUTES ?= 60

.DEFAULT_GOAL := help
.PHONY: help dev test check bench sim soak breaks fuzz setup format-check lint clean-test-parts

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

dev: ## Build and run everything on this machine: emulated AWS accounts, a broker, three clusters
	$(CARGO) run --locked --quiet -- dev $(ARGS)

test: setup format-check lint ## Install what the tests need, then check the form and run every test
	$(CARGO) test --locked

check: format-check lint ## The form, the lints and the unit tests: what to run before each commit
	$(CARGO) test --locked --lib --bin zonefold-bench

bench: ## Measure a release build, in under 20 minutes: every figure of docs/performance.md that needs no cluster
	$(CARGO) build --locked --release --bin zonefold-bench
	for store in sqlite postgres; do $(BENCH) ingest --store $$store || exit 1; done
	$(BENCH) scale
	for store in sqlite postgres; do $(BENCH) store --store $$store --endpoints 100000 || exit 1; done
	for operation in create update; do for profile in 2026 legacy; do \
	  $(BENCH) drain --operation $$operation --profile $$profile --signature trust --endpoints 5500 || exit 1; done; done
	for accounts in 10 50; do \
	  $(BENCH) drain --accounts $$accounts --endpoints 5500 --spread skewed --signature trust || exit 1; done
	$(BENCH) latency --clusters 1000 --samples 100
	$(BENCH) idle --clusters 1000 --seconds 66
	$(BENCH) failover --rounds 10
	$(BENCH) bounds
	$(CARGO) bench --locked --bench core

sim: ## Simulate a fixed number of bad days of the whole federation, and those that went wrong once
ifneq ($(ARGS),)
	$(CARGO) test --locked --test sim -- $(ARGS)
else
	$(CARGO) test --locked --test sim -- regressions
	$(CARGO) test --locked --test sim -- run --seeds $(SEEDS)
endif

soak: ## Simulate days that nobody has tried yet, for as long as you like: make soak MINUTES=600
	$(CARGO) test --locked --release --test sim -- run --from $$(date +%s)000 --minutes $(MINUTES) --most-failures 20 \
	  --failures target/soak-failures.txt

breaks: ## Break the code on purpose, one invariant at a time, and show within how many simulated days each is noticed
	@tests/sim/breaks.sh

fuzz: ## Run each fuzz target up to RUNS executions, going on where it was, and print the table
	CARGO="$(CARGO)" RUNS=$(RUNS) fuzz/run.sh run

setup: ## Install what the tests need and the machine does not have
	@tests/setup.sh

format-check:
	$(CARGO) fmt --check

lint:
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --test sim -- -D warnings

clean-test-parts: ## Remove what `make setup` put into the repository's folder
	rm -rf .cache
