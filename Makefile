# Everything a developer, a newcomer and CI type. `make help` lists it.
#
# All work happens in a virtual environment of its own, made at first use and made again when the
# dependencies in pyproject.toml change. Nothing outside this directory is written to.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
NATIVE := $(VENV)/.native

# Paths that tests and tools look at.
SOURCES := src tests tools bench

# Extra words for a tool, such as: make test ARGS="-k reel -x"
ARGS ?=

# Processes that run tests side by side: four for each processor, since about half of what tests take
# is waiting for sockets and for patience to end; at most 16, since each collects all tests first.
JOBS ?= $(shell cores=$$(nproc); echo $$((cores < 4 ? 4 * cores : 16)))
# What Python compiles is kept, whatever the environment says: each of these processes, and each
# program that they start, would compile all of it again.
test coverage: export PYTHONDONTWRITEBYTECODE :=
# Whoever has nothing left to do takes half of what another has: real programs take most of the time,
# and stand together.
SIDE_BY_SIDE := -n $(JOBS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help install demo test lint rust coverage dist bench fuzz format clean

help:
	@echo 'make demo    publish, mirror and clone on this machine, with a dying and a lying mirror'
	@echo 'make test    all that must hold, as CI runs it: lint, Rust, tests  ARGS="-k reel" goes to pytest'
	@echo 'make lint    formatting, lint, types and import contracts alone'
	@echo 'make rust    formatting, clippy and tests of native/, where cargo is'
	@echo 'make coverage  the tests with branch coverage'
	@echo 'make dist    sdists and wheels in dist/, checked and tried in a fresh environment'
	@echo 'make bench   against stock git                     REPO=/path/to/repo.git  QUICK=1'
	@echo 'make fuzz    each fuzz target for SECONDS (30); needs atheris, see CONTRIBUTING.md'
	@echo 'make format  format and fix what can be fixed'
	@echo 'make clean   remove what the above made, the virtual environment included'

install: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo 'the venv module is missing (Debian, Ubuntu: apt install python3-venv)' >&2; exit 1; }
	@echo 'installing into $(VENV) ...'
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# The compiled indexer is optional: without cargo, or with one too old, git index-pack is used.
RUST := $(shell find native -name target -prune -o -name fuzz -prune -o -type f \
          \( -name '*.rs' -o -name '*.toml' -o -name Cargo.lock -o -name '*.pyi' \) -print)
$(NATIVE): $(STAMP) $(RUST)
	@if ! command -v cargo >/dev/null; then \
	  echo 'indexer: git index-pack (cargo is not installed)'; \
	elif echo 'building the compiled indexer ...' && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check ./native 2>$(VENV)/native.log; then \
	  echo 'indexer: gittorrent-native'; \
	else \
	  echo 'indexer: git index-pack (building gittorrent-native failed, see $(VENV)/native.log)'; \
	fi
	@touch $@

demo: $(NATIVE)
	@$(BIN)/python tools/demo.py $(ARGS)

# Everything that must hold; what this machine cannot check is named at the end.
test: $(NATIVE) lint rust
	@$(BIN)/python -m pytest -q $(SIDE_BY_SIDE) $(ARGS)
	@command -v cargo >/dev/null || echo 'left out: format, lint and tests of native/ (no cargo here)'

lint: $(STAMP)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	@set -e; for each in tests/native tests/sim; do $(BIN)/mypy $$each/conftest.py; done
	$(BIN)/lint-imports

# A toolchain may come without rustfmt or clippy; what is there has to pass.
rust:
	@if ! command -v cargo >/dev/null; then echo 'native/: left out, cargo is not installed'; else \
	  set -e; cd native; \
	  if cargo fmt --version >/dev/null 2>&1; then \
	    echo 'cargo fmt --check'; cargo fmt --all --check; \
	  else echo 'cargo fmt: left out, rustfmt is not installed'; fi; \
	  if cargo clippy --version >/dev/null 2>&1; then \
	    echo 'cargo clippy'; cargo clippy --quiet --locked --workspace --all-targets -- -D warnings; \
	  else echo 'cargo clippy: left out, clippy is not installed'; fi; \
	  echo 'cargo test'; cargo test --quiet --locked --workspace; fi

coverage: $(NATIVE)
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -q $(SIDE_BY_SIDE) $(ARGS)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

# What is released. The tests run it too, without the wheel of native/, which takes a minute.
dist: $(STAMP)
	@$(BIN)/python tools/dist.py $(ARGS)

# Benchmarks compare with stock git in the same run and write bench/RESULTS.md.
BENCHES := publish publish_refs many_refs clone serve_cost idle idle_repositories index push
bench: $(NATIVE)
	@test -n '$(REPO)' || { echo 'name a repository: make bench REPO=/path/to/repo.git' >&2; exit 2; }
	@set -e; for each in $(BENCHES); do \
	  $(BIN)/python bench/$$each.py '$(REPO)' $(if $(QUICK),--quick) $(ARGS); done

SECONDS ?= 30
fuzz: $(STAMP)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || { \
	  echo 'atheris is not installed: $(BIN)/pip install atheris' >&2; \
	  echo 'without it the same targets run on fixed seeds: make test ARGS=tests/fuzz' >&2; exit 1; }
	@set -e; for target in tests/fuzz/fuzz_*.py; do echo "== $$target"; \
	  $(BIN)/python $$target -max_total_time=$(SECONDS); done

format: $(STAMP)
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

clean:
	rm -rf $(VENV) build dist htmlcov .coverage .coverage.* src/*.egg-info \
	  .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
