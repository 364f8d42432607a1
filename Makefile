# Front door: every target is one command of tools/ or cmake, so all of them work without make too.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup build trainer demo test test-clients test-asan test-tsan fuzz lint format clean
JOBS ?= $(shell nproc)
export JOBS

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install the packages of tools/packages.txt that are missing
	@tools/setup.sh

build: setup ## build the program: build/release/nosa
	@cmake --preset release > /dev/null
	@cmake --build --preset release --target nosa -j $(JOBS)

trainer: setup ## build nosa-train too, for `nosa train` (needs LibTorch)
	@tools/setup.sh train
	@cmake --preset release -DNOSA_TRAIN=ON > /dev/null
	@cmake --build --preset release --target nosa nosa-train -j $(JOBS)

demo: build ## answer from a long text whose KV cache does not fit in RAM
	@build/release/nosa demo

test: setup ## build everything, run every test and the lint (SLOW=1: the slow ones too)
	@tools/setup.sh browser || echo "make test: the page is not tested, for want of a browser"
	@tools/setup.sh train || echo "make test: the trainer is not tested, for want of LibTorch"
	@tools/test.sh release

test-asan: setup ## the same under the address and undefined-behaviour sanitizers
	@tools/test.sh asan-ubsan

test-tsan: setup ## the same under the thread sanitizer
	@tools/test.sh tsan

test-clients: setup ## tokenizer training and serve, with the clients people use (from PyPI, in build/)
	@tools/setup.sh clients
	@tools/test_clients.sh

FUZZ_SECONDS ?= 20
fuzz: ## every fuzz target for FUZZ_SECONDS (default 20), with clang
	@tools/setup.sh build fuzz
	@tools/fuzz.sh $(FUZZ_SECONDS)

lint: ## the rules of docs/MAP.md
	@tools/lint

format: ## clang-format on all C++ files
	@tools/setup.sh dev
	@git ls-files -z '*.h' '*.cc' '*.cu' '*.cuh' | xargs -0 clang-format -i

clean: ## remove build/
	@rm -rf build
