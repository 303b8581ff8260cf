# How Zonefold is built, tested and run. `make` alone lists what there is.

CARGO ?= cargo
# Arguments for `make dev`, as in: make dev ARGS="--data ./zonefold-data"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help dev test check bench setup format-check lint clean-test-parts

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

dev: ## Build and run everything on this machine: emulated AWS accounts, a broker, three clusters
	$(CARGO) run --locked --quiet -- dev $(ARGS)

test: setup format-check lint ## Install what the tests need, then check the form and run every test
	$(CARGO) test --locked

check: format-check lint ## The form, the lints and the unit tests: what to run before each commit
	$(CARGO) test --locked --lib

bench: ## Measure a release build: draining a backlog, the latency of one change, the cost of idling, the core alone
	$(CARGO) build --locked --release
	for operation in create update; do for profile in 2026 legacy; do \
	  ./target/release/zonefold bench drain --operation $$operation --profile $$profile || exit 1; done; done
	./target/release/zonefold bench latency
	for clusters in 1 100; do ./target/release/zonefold bench idle --clusters $$clusters --seconds 198 || exit 1; done
	$(CARGO) bench --locked --bench core

setup: ## Install what the tests need and the machine does not have
	@tests/setup.sh

format-check:
	$(CARGO) fmt --check

lint:
	$(CARGO) clippy --locked --all-targets -- -D warnings

clean-test-parts: ## Remove what `make setup` put into the repository's folder
	rm -rf .cache
