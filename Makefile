# `make demo` and `make test` need only Python 3.11+, Node 20+ and make: each sets up what is
# missing. Everything installed stays in .venv, node_modules and build; nothing needs root.
# Stamp files remember what is done, so a second run costs nothing.

.DEFAULT_GOAL := help
.PHONY: help setup demo up test check simulate mutants mutation chaos-chain chaos-kills chaos-store bench bench-reads lock clean
.DELETE_ON_ERROR:

PYTHON ?=
PYTHON_MIN := 3, 11
NODE_MIN := 20
BIN := .venv/bin
HISTORIES ?= 20000
# Each has servers of its own; one that is done takes tests from the other.
TEST_PROCESSES_MAX := 4
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Runs a noisy command; its output is shown only if it fails.
quietly = output=$$($(1) 2>&1) || { printf '%s\n' "$$output" >&2; exit 1; }

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: .venv/.installed build/contracts/.built ## Install everything into this folder

demo: setup ## One real payment and one real refund, end to end, on local servers
	@$(BIN)/gateway demo $(ARGS)

up: setup ## Run the gateway on local servers until Ctrl-C
	@$(BIN)/gateway up $(ARGS)

test: setup ## Run the tests
	@$(BIN)/pytest --numprocesses auto --maxprocesses $(TEST_PROCESSES_MAX) --dist worksteal $(ARGS)

check: setup ## Lint, format, types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

simulate: setup ## Simulated histories with every fault, 20,000 of them; HISTORIES=500 for fewer
	@$(BIN)/gateway simulate --histories $(HISTORIES) $(ARGS)

mutants: setup ## Plant each defect of tests/simulation/mutants; the simulator must catch it
	@$(BIN)/python -m tests.simulation.mutating $(ARGS)

mutation: setup ## Mutation testing of the core: every fault planted, most of them killed
	@$(BIN)/python -m tests.mutation $(ARGS)

chaos-chain: setup ## A real chain and three lying providers: nothing missed, phantom or forged
	@$(BIN)/python -m chaos.chain $(ARGS)

chaos-kills: setup ## kill -9 of the ingester, NATS wiped, PostgreSQL stopped: nothing lost or doubled
	@$(BIN)/python -m chaos.kills $(ARGS)

chaos-store: setup ## PostgreSQL crashes under eight writers: every answer held against the log
	@$(BIN)/python -m chaos.store $(ARGS)

bench: setup ## Run every benchmark, each beside its baseline
	@for file in bench/[a-z]*.py; do \
		name=$$(basename "$$file" .py); \
		grep -q '__main__' "$$file" || continue; \
		printf '\n== %s ==\n' "$$name"; \
		$(BIN)/python -m "bench.$$name" $(ARGS) || exit 1; \
	done

bench-reads: setup ## Reads at 5,000,000 sessions: 15 GB of disk, some six minutes
	@$(BIN)/python -m bench.reads --sessions 5000000 $(ARGS)

lock: .cache/lock/.installed ## Pin the dependencies of pyproject.toml anew, with hashes
	@echo "lock: resolving"
	@{ printf '%s\n' \
		'# Every dependency of pyproject.toml, runtime and dev, with the hashes of its files; made by' \
		'# `make lock`. Installed by `make setup` with --require-hashes.'; \
	   echo 'setuptools>=80' | .cache/lock/bin/uv pip compile --quiet --universal --upgrade \
		--python-version 3.11 --all-extras --generate-hashes --no-emit-index-url --no-header \
		pyproject.toml -; } > requirements.lock.new \
	|| { rm -f requirements.lock.new; exit 1; }
	@mv requirements.lock.new requirements.lock

clean: ## Remove what setup made; the data in var/ stay
	@rm -rf .venv node_modules build .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.created:
	@if .venv/bin/python -c 'import sys; sys.exit(sys.version_info < ($(PYTHON_MIN)))' 2>/dev/null; \
		then touch $@; exit 0; fi; \
	python=''; \
	for candidate in $(if $(PYTHON),"$(PYTHON)",python3 python3.14 python3.13 python3.12 python3.11 python); do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < ($(PYTHON_MIN)))' 2>/dev/null; \
		then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo 'setup: Python 3.11 or newer is needed and was not found; install it, or name it:' >&2; \
		echo '       make setup PYTHON=/path/to/python3.11' >&2; exit 1; fi; \
	echo "setup: Python environment in .venv"; \
	rm -rf .venv; \
	output=$$("$$python" -m venv .venv 2>&1) || { printf '%s\n' "$$output" >&2; rm -rf .venv; \
		echo 'setup: could not create .venv; on Debian and Ubuntu install the package python3-venv' >&2; \
		exit 1; }; \
	touch $@

.venv/.locked: requirements.lock | .venv/.created
	@echo "setup: Python packages (pinned, hashes checked)"
	@$(call quietly,$(BIN)/python -m pip install -qq --require-hashes -r requirements.lock)
	@touch $@

.venv/.installed: pyproject.toml .venv/.locked
	@echo "setup: the gateway command"
	@$(call quietly,$(BIN)/python -m pip install -qq --no-deps --no-build-isolation -e .)
	@touch $@

node_modules/.installed: package-lock.json package.json .npmrc
	@if ! node -e 'process.exit(process.versions.node.split(".")[0] >= $(NODE_MIN) ? 0 : 1)' 2>/dev/null; then \
		echo 'setup: Node $(NODE_MIN) or newer is needed and was not found on the PATH; install it' >&2; \
		exit 1; fi
	@echo "setup: local chain and Solidity compiler in node_modules"
	@$(call quietly,npm ci --no-audit --no-fund --loglevel=error)
	@touch $@

build/contracts/.built: $(wildcard contracts/*.sol) contracts/build.mjs node_modules/.installed
	@echo "setup: contracts"
	@$(call quietly,node contracts/build.mjs)
	@mkdir -p build/contracts && touch $@

.cache/lock/.installed: | .venv/.created
	@echo "lock: resolver in .cache/lock"
	@$(call quietly,$(BIN)/python -m venv .cache/lock && .cache/lock/bin/pip install -qq uv)
	@touch $@
