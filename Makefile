# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TOOLS := .tools

.PHONY: setup system-packages demo test lint unit chart chart-docs images integration chaos-short chaos verify-scratch demonstrate-leak crd bench bench-decode bench-operator bench-seams bench-long bench-million bench-curator simulate cluster-up cluster-down test-e2e clean

setup: $(STAMP)

$(STAMP): requirements-dev.txt pyproject.toml
	scripts/python-environment.sh $(PYTHON) $(VENV)
	@touch $@

system-packages:
	scripts/system-packages.sh

demo: setup
	$(BIN)/transcription run -f examples/transcriptionjob-local.yaml --scratch .demo/scratch
	$(BIN)/python -m scripts.show_demo

test: setup system-packages lint unit chart integration chaos-short test-e2e

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit -q -c pyproject.toml --severity-level medium -r crds operator scripts worker
	$(BIN)/python -m scripts.generate_crd --check
	$(BIN)/python -m scripts.generate_chart --check
	$(BIN)/python scripts/verify_scratch.py

unit: setup
	$(BIN)/pytest tests/unit

chart: setup
	$(BIN)/pytest tests/chart

chart-docs: setup
	$(BIN)/python -m scripts.generate_chart

# The operator's image without a registry (Debian, root): .tools/images/transcription-operator.tar
images: setup
	scripts/system-packages.sh cluster
	$(BIN)/python -m scripts.build_images operator

# Real processes, killed at chosen moments, on a machine that does other things: what failed runs once more, and fails
# when it fails again.
twice = $(BIN)/pytest $(1) || $(BIN)/pytest $(1) --last-failed --last-failed-no-failures none

# Files side by side: most of their time goes into importing the toolkit, on one core each.
JOBS ?= 2
integration: setup
	$(call twice,tests/integration -n $(JOBS) --dist loadfile)

# Kills, a store and a disk that misbehave, hostile files: each attack in a few minutes.
chaos-short: setup
	$(call twice,tests/chaos)

# The same in full, with figures in .chaos/; each prints its seed.
KILLS ?= 200
chaos: setup system-packages
	mkdir -p .chaos
	$(BIN)/python -m tests.chaos.kills --kills $(KILLS) --report .chaos/kills.json
	$(BIN)/python -m tests.chaos.fleet_losses --report .chaos/losses.json
	$(BIN)/python -m tests.chaos.store --json .chaos/store.json
	$(BIN)/python -m tests.chaos.disk --json .chaos/disk.json
	$(BIN)/python -m tests.chaos.fuzz --report .chaos/fuzz.json --keep .chaos/guilty

verify-scratch: setup
	$(BIN)/python scripts/verify_scratch.py

demonstrate-leak: setup
	$(BIN)/python scripts/demonstrate_leak.py

crd: setup
	$(BIN)/python -m scripts.generate_crd

bench: setup
	$(BIN)/python -m tests.bench.bench_one_machine

bench-operator: setup
	$(BIN)/python -m tests.bench.bench_operator

# What cutting long recordings costs in words.
bench-seams: setup
	$(BIN)/python -m tests.bench.bench_seams

# NVIDIA's batch pipeline on the same files, in an environment of its own (9 GB).
bench-curator: setup
	$(BIN)/python -m tests.bench.bench_curator

# Recordings of three hours beside the same audio in short ones.
bench-long: setup
	$(BIN)/python -m tests.bench.bench_long

# Plan and report of a bucket of a million recordings.
bench-million: setup
	$(BIN)/python -m tests.bench.bench_million

# Decoding by codec against ffmpeg.
bench-decode: setup
	$(BIN)/python -m tests.bench.bench_decode

# How workers share a plan, in virtual time: docs/fleet.md.
simulate: setup
	$(BIN)/python -m tests.simulation

# A real Kubernetes on this machine (Linux, root); prints the KUBECONFIG to use.
cluster-up: setup
	@$(BIN)/python -m tests.cluster up

cluster-down: setup
	@$(BIN)/python -m tests.cluster down

# On the cluster of $KUBECONFIG, or on a test cluster that is started and stopped.
# What fails runs once more: a cluster that has just started on two busy cores may be late. A fault fails twice.
# Programs are there before the tests, which have ten minutes each; where they cannot be, the tests say why.
test-e2e: setup
	-[ -n "$$KUBECONFIG" ] || { scripts/system-packages.sh cluster; $(BIN)/python -m tests.cluster build; }
	$(call twice,tests/e2e)

clean:
	[ ! -x $(BIN)/python ] || $(BIN)/python -m tests.cluster down
	rm -rf $(VENV) $(TOOLS) .demo .bench .chaos .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
