# The two commands that the README promises, and what CI adds to them.
# One target directory, kept warm outside the clone where it exists.

CACHE := $(HOME)/.cache/cairn/target
export CARGO_TARGET_DIR ?= $(if $(wildcard $(CACHE)),$(CACHE),$(CURDIR)/target)
CAIRN := $(CARGO_TARGET_DIR)/debug/cairn
DEMO_DATA ?= .cairn/demo

.PHONY: demo test soak lint build ladder docs

## demo: build, then run the ladder through the embedded log and all operators
demo: build
	rm -rf $(DEMO_DATA)
	$(CAIRN) --data $(DEMO_DATA) demo

build:
	cargo build --locked -p cairn-pipeline

## test: unit, property, contract suite, end to end, real Kafka and a real registry where Java and Maven are found
test:
	cargo test --locked --workspace

## soak: the whole topology on the simulated log, CAIRN_SEEDS stories by turns and in concert (10,000 of each: half an hour on two idle cores)
soak: export CAIRN_SEEDS ?= 10000
soak:
	cargo test --locked -p cairn-tests --test simulation -- --nocapture exactly_once

## lint: formatting and lints; deny where cargo-deny is installed
lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@if command -v cargo-deny >/dev/null; then cargo deny --offline check licenses bans sources; else echo "cargo-deny is not installed: skipped"; fi

## docs: the pages that are generated
docs: build
	$(CAIRN) config --markdown > docs/configuration.md
	$(CAIRN) config --metrics > docs/metrics.md
	$(CAIRN) topics asyncapi > docs/topics.asyncapi.json

## ladder: train the ladder anew (45 CPU minutes; --quick for a minute)
ladder:
	python3 -m venv .venv && .venv/bin/pip install -q -r examples/ladder/requirements.txt && .venv/bin/python examples/ladder/make.py --out examples/ladder
