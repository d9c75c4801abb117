.DEFAULT_GOAL := help
.SUFFIXES:

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/ready-to-run
DEV := $(VENV)/ready-to-test
ROOMS := $(wildcard ledger signals execution api migrations tests bench)
TYPED := $(foreach room,$(ROOMS),$(if $(wildcard $(room)/*.py),$(room)))
# A stamp holds what it was made for: this folder with these packages. A moved checkout, a new package or an interpreter
# that no longer starts means that the environment is rebuilt.
MADE_FOR := $(CURDIR) $(sort $(wildcard */__init__.py))
SOUND := $(shell [ "$$(cat $(RUN) 2>/dev/null)" = "$(MADE_FOR)" ] && $(VENV)/bin/python -c '' 2>/dev/null && echo yes)
PIP := $(VENV)/bin/python -m pip install --quiet --no-input --disable-pip-version-check

define need_python
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo \
	'Daybook needs Python 3.11 or newer: install it, or name one with make PYTHON=python3.12.' >&2; exit 1; }
@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo \
	'This Python cannot make virtual environments: on Debian, run apt-get install python3-venv as root.' >&2; exit 1; }
endef

# Processes of the tests reuse compiled modules, also where the environment prevents writing them.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(VENV)/bin/pytest
PARALLEL := --numprocesses 2 --dist worksteal
COMPILE := venv/bin/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --generate-hashes \
	--no-annotate --no-header --no-emit-index-url --no-emit-find-links $(if $(UPGRADE),--upgrade) pyproject.toml
EXTRAS := charts dask notify parquet research
SECOND := tests/second_opinions
OPINIONS := .venv-second-opinions

.PHONY: help setup extras run test test-campaigns test-nightly second-opinions check bench generate lock lock-second-opinions clean FORCE

help:  ## Show these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile
	@echo 'Extra arguments: make test ARGS="-k lots". Another interpreter: make setup PYTHON=python3.12.'

setup: $(DEV)  ## Make .venv with all locked dependencies (done by the others when needed)
	@:

extras: $(RUN)  ## Add the optional packages: charts, dask, notify, parquet, research
	@$(PIP) --require-hashes -r requirements-extras.lock

run: $(RUN)  ## Start Daybook; Ctrl-C stops it
	@exec $(VENV)/bin/daybook serve $(ARGS)

test: setup  ## Run the tests
	@$(PYTEST) $(PARALLEL) $(ARGS)

test-campaigns: setup  ## Run the exhaustive tests: every kill point, every number of workers
	@$(PYTEST) -m "campaign and not nightly" $(PARALLEL) $(ARGS)

test-nightly: setup second-opinions  ## Run the tests that take minutes
	@$(PYTEST) -m nightly $(ARGS)

second-opinions: $(OPINIONS)/ready  ## Make a Python with RP2 and beancount, which nightly tests compare with
	@:

check: setup  ## Check style, types and the fences between rooms
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy $(TYPED)
	@$(VENV)/bin/lint-imports --no-logo

bench: setup  ## Measure the speed of this machine's ledger
	@$(VENV)/bin/python -m bench $(ARGS)

generate: setup  ## Rewrite what is generated in docs: example output, tables, OpenAPI document, screenshots
	@GENERATE=1 $(PYTEST) -q -m generated $(ARGS)
	@$(VENV)/bin/python -m tests.support.documents.screenshots
	@git status --short docs README.md

lock:  ## Rewrite the locks, keeping versions (all the newest: make lock UPGRADE=1)
	$(need_python)
	@echo 'Locking the dependencies in requirements.lock, requirements-extras.lock and requirements-dev.lock.'
	@tool=$$(mktemp -d) && trap 'rm -rf "$$tool"' EXIT && cp pyproject.toml requirements*.lock "$$tool" && \
	( $(PYTHON) -m venv "$$tool/venv" && cd "$$tool" && venv/bin/pip install --quiet uv && \
	$(COMPILE) --extra setup --output-file requirements.lock && \
	$(COMPILE) --extra setup $(EXTRAS:%=--extra %) --constraint requirements.lock --output-file requirements-extras.lock && \
	$(COMPILE) --all-extras --constraint requirements.lock --constraint requirements-extras.lock --output-file requirements-dev.lock \
	) > "$$tool/log" 2>&1 || { cat "$$tool/log" >&2; exit 1; }; \
	for name in requirements requirements-extras requirements-dev; do \
	{ echo '# Pinned and hashed. Written by `make lock`.'; grep -v '^#' "$$tool/$$name.lock"; } > $$name.lock; done

lock-second-opinions:  ## Write the lock of RP2 and beancount anew
	$(need_python)
	@tool=$$(mktemp -d) && trap 'rm -rf "$$tool"' EXIT && \
	( cp $(SECOND)/requirements.in "$$tool" && $(PYTHON) -m venv "$$tool/venv" && cd "$$tool" && venv/bin/pip install --quiet uv && \
	venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	--no-emit-index-url --no-emit-find-links requirements.in --output-file requirements.lock ) > "$$tool/log" 2>&1 || \
	{ cat "$$tool/log" >&2; exit 1; }; \
	{ echo '# The tools that tests ask for a second opinion, pinned and hashed. Written by `make lock-second-opinions`.'; \
	cat "$$tool/requirements.lock"; } > $(SECOND)/requirements.lock

clean:  ## Remove .venv and caches; never the data folder
	@rm -rf $(VENV) $(OPINIONS) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist daybook.egg-info
	@[ -z "$(ROOMS)" ] || find $(ROOMS) -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo 'Removed .venv and caches.'

# Without a sound stamp the folder is made from scratch; with one, only what changed in the lock is installed.
# Modules are compiled when they are first imported: 100 MB less.
$(RUN): requirements.lock pyproject.toml $(if $(SOUND),,FORCE)
	$(need_python)
	@echo 'Setting up $(VENV) from requirements.lock (half a minute the first time).'
	@rm -rf $(if $(SOUND),$(RUN),$(VENV))
	@log=$$(mktemp) && trap 'rm -f "$$log"' EXIT && { [ -e $(VENV) ] || $(PYTHON) -m venv $(VENV); } > "$$log" 2>&1 && \
	$(PIP) --no-compile --require-hashes -r requirements.lock > "$$log" 2>&1 && \
	$(PIP) --no-deps --no-build-isolation --editable . > "$$log" 2>&1 && \
	find $(VENV)/lib -name __pycache__ -prune -exec rm -rf {} + || \
	{ cat "$$log" >&2; echo 'Setup failed; the lines above give the reason. Run it again when that is fixed.' >&2; exit 1; }
	@echo "$(MADE_FOR)" > $(RUN)

$(DEV): requirements-dev.lock $(RUN)
	@echo 'Adding what the tests need from requirements-dev.lock.'
	@log=$$(mktemp) && trap 'rm -f "$$log"' EXIT && $(PIP) --require-hashes -r requirements-dev.lock > "$$log" 2>&1 && \
	$(VENV)/bin/python -m compileall -q -j 2 $(VENV)/lib > "$$log" 2>&1 || \
	{ cat "$$log" >&2; echo 'Setup failed; the lines above give the reason. Run it again when that is fixed.' >&2; exit 1; }
	@touch $(DEV)

# RP2 and beancount are no part of Daybook: they live apart and are run as programs over files.
$(OPINIONS)/ready: $(SECOND)/requirements.lock
	$(need_python)
	@echo 'Setting up $(OPINIONS) from $(SECOND)/requirements.lock.'
	@rm -rf $(OPINIONS)
	@log=$$(mktemp) && trap 'rm -f "$$log"' EXIT && $(PYTHON) -m venv $(OPINIONS) > "$$log" 2>&1 && \
	$(OPINIONS)/bin/python -m pip install --quiet --no-input --require-hashes -r $(SECOND)/requirements.lock > "$$log" 2>&1 || \
	{ cat "$$log" >&2; echo 'Setup failed; the lines above say why. Run it again when that is mended.' >&2; exit 1; }
	@touch $@
