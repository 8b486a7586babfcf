# Every command of the project. Needs make and Python 3.11 or newer with its venv module; the rest comes from requirements.lock.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.synced
SEEDS ?= 50
SEED ?= 1
ARGS ?=
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/perdure
TOOLS := $(CACHE)/tools

.PHONY: help setup dev cassandra cluster test check lint tidy format sim chaos conformance bench bench-cassandra bench-cluster profile compat chart kubernetes dashboards lock clean
.DEFAULT_GOAL := help

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1	/'

setup: $(STAMP) ## make .venv with exactly what requirements.lock says (does nothing when it is up to date)

$(BIN)/uv: # of the version that the lock has
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt

$(STAMP): pyproject.toml requirements.lock | $(BIN)/uv
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

dev: setup ## run a whole cluster in this process; ARGS="--port 7300 --db-filename perdure.db"
	$(BIN)/perdure dev $(ARGS)

cassandra: setup ## a Cassandra node for `make dev ARGS="--store cassandra://127.0.0.1/perdure"`, until Ctrl-C; ARGS="--nodes 3"
	@$(BIN)/python -m tests.cassandra.run $(ARGS)

cluster: setup ## processes of each role on a Cassandra that runs (`make cassandra`), until Ctrl-C; ARGS="--history 3"
	@$(BIN)/python -m tests.e2e.run_cluster $(ARGS)

test: setup lint ## everything: checks and all suites, in two lanes; ARGS="-k timer"
	$(BIN)/python -m tests.lanes $(ARGS)

check: setup lint tidy ## what must hold before a commit: style, types, directions, sizes

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

tidy: setup
	$(BIN)/python -m pytest -q tests/tidy

format: setup ## fix what ruff can fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

sim: setup ## whole clusters on virtual time under faults; SEEDS=500 ARGS="--jobs 2"
	$(BIN)/python -m perdure.testing.sim --seeds $(SEEDS) $(ARGS)

chaos: setup ## a cluster of processes on three Cassandra nodes under faults, judged after; SEED=1 ARGS="--minutes 3 --apart"
	$(BIN)/python -m tests.chaos --seed $(SEED) $(ARGS)

conformance: setup ## Perdure beside the reference server; ARGS=--cluster: as processes by role; N=2000 SEED=7 compares so many generated cases instead
ifdef N
	$(BIN)/python -m tests.conformance.generated.run --cases $(N) --seed $(SEED) $(ARGS)
else
	$(BIN)/python -m pytest tests/conformance $(ARGS)
endif

bench: setup ## beside the reference server, as tables; ARGS="--in-flight 50", ARGS="--rounds 3 --write" for benchmarks/results.md
	$(BIN)/python -m benchmarks $(ARGS)

bench-cassandra: setup ## on one node of Cassandra, which it starts (needs Java 17 and Maven); ARGS="--reference-cassandra FOLDER --write"
	$(BIN)/python -m benchmarks.on_cassandra $(ARGS)

bench-cluster: setup ## roles in processes of their own beside all in one, on a node which it starts; ARGS="--in-flight 50 --write"
	$(BIN)/python -m benchmarks.on_cluster $(ARGS)

profile: setup ## where a workflow's CPU goes, by call and by room; ARGS="--in-flight 1"
	$(BIN)/python -m benchmarks.profile $(ARGS)

compat: setup ## write docs/{compatibility,metrics,configuration}.md and deploy/{grafana,prometheus} from the code
	$(BIN)/python -m perdure.server.compatibility
	$(BIN)/python -m perdure.server.metric_page
	$(BIN)/python -m perdure.server.configuration_page
	$(BIN)/python -m perdure.server.dashboards

dashboards: setup ## how many queries of Grafana dashboards have data here (needs Prometheus); ARGS=FOLDER
	$(BIN)/python -m tests.e2e.dashboards $(ARGS)

chart: setup ## lint the Helm chart, run its unit tests, and try the program with what it renders (needs Go)
	deploy/helm/tools.sh $(TOOLS)
	$(BIN)/python -m pytest -q tests/deploy $(ARGS)

kubernetes: setup ## a real Kubernetes here, the chart installed, its pods scaled, rolled and deleted under load (root, Go, half an hour)
	deploy/helm/tools.sh $(TOOLS)
	tests/kubernetes/build.sh $(TOOLS)
	tests/kubernetes/image.sh $(CACHE)/kubernetes
	$(BIN)/python -m tests.kubernetes.run --folder $(CACHE)/kubernetes --tools $(TOOLS) $(ARGS)

lock: | $(BIN)/uv ## bring requirements.lock in line with pyproject.toml, and .venv with that; ARGS="--upgrade-package grpcio"
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--custom-compile-command "make lock" --all-extras --group dev $(ARGS) --output-file requirements.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--custom-compile-command "make lock" --all-extras --constraint requirements.lock \
		--output-file deploy/docker/requirements.lock pyproject.toml
	@$(MAKE) --no-print-directory setup ARGS=

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
