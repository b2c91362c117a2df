# SPDX-License-Identifier: Apache-2.0
# Every target is one call of ./oisp, which does all of its own set-up. `make` lists them.
.DEFAULT_GOAL := help
.PHONY: help run test test-full test-kernels lint format debug bench fuzz wheel setup clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## capture the bundled demo agent, or: make run CMD='python my_agent.py'
	@./oisp run $(CMD)

test: ## the whole suite: lint, sdist, wheel, sanitizers, tests from the wheel; or: make test ARGS='tests/unit -k sse'
	@./oisp test $(ARGS)

test-full: ## the suite with its long forms
	@./oisp full

test-kernels: ## capture on Debian's 5.10, 6.1 and 6.12 under QEMU
	@./oisp kernels

lint: ## ruff, mypy --strict, cython-lint, clang-format
	@./oisp lint

format: ## let the formatters write
	@./oisp format

debug: ## the engine's tests under ASan and UBSan
	@./oisp debug

bench: ## the benchmarks; ARGS are passed on
	@./oisp bench $(ARGS)

fuzz: ## fuzz parsers and engine, guided by coverage where clang is; SECONDS=60
	@./oisp fuzz $(SECONDS)

wheel: ## sdist and manylinux wheel into dist/
	@./oisp wheel

setup: ## only set up
	@./oisp setup

clean: ## remove everything that was made
	@./oisp clean
