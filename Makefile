# `make` lists the targets. Requires python3 (3.11 to 3.13) with venv; the rest is installed from requirements.lock.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# A virtual environment with the oldest supported Prefect and the other locked packages.
OLDEST := .venv-oldest
FOLDERS := src flows deploy blocks monitoring
SOURCES := $(shell find $(FOLDERS) -name '*.py' 2>/dev/null)
TYPED := $(foreach folder,$(FOLDERS),$(if $(filter $(folder)/%,$(SOURCES)),$(folder)))
TESTS ?= tests
OF_PREFECT = $(shell grep -rlE --include="test_*.py" "prefect_server|import prefect|from prefect|Workplace" tests | grep -v "^tests/kill/" | sort)
# Slow tests that also run with the oldest Prefect.
SLOW_OF_PREFECT := $(addprefix tests/flows/test_,bad_input.py logs.py)
BUILT := $(addprefix tests/monitoring/test_,generated.py slo_file.py routes.py dashboards.py dashboard_linter.py grafana_types.py \
  runbooks.py) tests/deploy/test_containers_manifests.py
INSTALLED := $(VENV)/.installed
COMPILED := $(VENV)/.compiled
UV := $(VENV)/.uv
WITH_UV := PATH="$$PWD/$(VENV)/bin:$$PATH" uv
PIN = $(WITH_UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-emit-find-links --no-emit-index-annotation $(if $(UPGRADE),--upgrade) --custom-compile-command "make lock"

# A value as one argument of the shell, with any characters.
comma := ,
quoted = '$(subst ','\'',$(1))'
# The options that several commands share.
COMMON = $(if $(PIPELINE),--pipeline $(call quoted,$(PIPELINE))) $(if $(ENVIRONMENT),--environment $(call quoted,$(ENVIRONMENT))) \
  $(if $(STORE),--store $(call quoted,$(STORE)))

# A variable on the command line that none of the given targets reads is an error.
READS_run := PIPELINE ENVIRONMENT STORE
READS_score := SOURCE PIPELINE ENVIRONMENT STORE MODEL
READS_up := PIPELINE ENVIRONMENT STORE DB OFFSET TAKE_OVER
READS_serve := PIPELINE ENVIRONMENT STORE PORT
READS_deploy := PIPELINE ENVIRONMENT PRUNE TAKE_OVER
READS_test := TESTS
READS_test-unit := TESTS
READS_test-slow := TESTS
READS_test-soak := TESTS
READS_check-kill := TESTS
READS_test-oldest := TESTS
READS_test-all := TESTS
READS_lock := UPGRADE
READ = PYTHON VENV $(foreach goal,$(or $(MAKECMDGOALS),help),$(READS_$(goal)))
NAMES = $(foreach name,$(sort $(filter-out %:,$(.VARIABLES))),$(if $(filter command line,$(origin $(name))),$(name)))
# Variables that the programs read from the environment.
PASSED := AIW_% PREFECT_% INFERENCE_% %_TOKEN %_PASSWORD DATABASE_% ON_CALL_% AWS_% PYTHON% PIP_% UV_%
UNREAD = $(filter-out $(READ) $(PASSED) MAKEFLAGS MAKEOVERRIDES MFLAGS -%,$(NAMES))
# These targets find the stack or server of this folder.
FIND := down stop status
KNOWN := $(foreach goal,run up,$(READS_$(goal)))
ifneq ($(strip $(UNREAD)),)
$(error $(firstword $(UNREAD)) has no effect on make $(or $(MAKECMDGOALS),help), which $(if $(and $(filter $(firstword $(UNREAD)),$(KNOWN)),$(MAKECMDGOALS),$(if $(filter-out $(FIND),$(MAKECMDGOALS)),,yes)),finds what runs in this folder and needs no $(firstword $(UNREAD)). Write: make $(MAKECMDGOALS),reads: $(or $(sort $(foreach goal,$(MAKECMDGOALS),$(READS_$(goal)))),no variable). Remove it$(comma) or correct its name))
endif

# A make started by a test or program does not inherit the command-line variables.
unexport MAKEFLAGS

.DEFAULT_GOAL := help
.PHONY: help run score up down serve deploy stop status setup test test-unit test-slow test-soak test-oldest test-gpu test-all coverage check check-kill audit \
  hooks screenshots bench format lock clean distclean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: setup ## run a pipeline, the example or your own: PIPELINE=pipeline.yaml ENVIRONMENT=production STORE=folder
	@$(PY) -m ai_workflow run $(COMMON)

score: setup ## score another file with the trained model: SOURCE=new.csv PIPELINE=pipeline.yaml MODEL=stable
	@$(PY) -m ai_workflow score $(if $(SOURCE),--source=$(call quoted,$(SOURCE))) $(COMMON) $(if $(MODEL),--model $(call quoted,$(MODEL)))

up: setup ## start the whole stack: PIPELINE=pipeline.yaml ENVIRONMENT=production DB=postgresql OFFSET=100 TAKE_OVER=1
	@$(PY) -m ai_workflow up $(COMMON) $(if $(DB),--database $(call quoted,$(DB))) $(if $(OFFSET),--offset $(call quoted,$(OFFSET))) $(if $(TAKE_OVER),--take-over)

down: ## stop the whole stack; data, history and logs are kept
	@if [ -x $(PY) ]; then $(PY) -m ai_workflow down; fi

serve: setup ## serve predictions of the published model over HTTP: PIPELINE=pipeline.yaml ENVIRONMENT=production PORT=8080
	@exec $(PY) -m ai_workflow serve $(COMMON) $(if $(PORT),--port $(call quoted,$(PORT)))

deploy: setup ## set up the Prefect server of PREFECT_API_URL from prefect.yaml: PIPELINE=pipeline.yaml ENVIRONMENT=production PRUNE=1 TAKE_OVER=1
	@$(PY) -m ai_workflow deploy $(COMMON) $(if $(PRUNE),--prune) $(if $(TAKE_OVER),--take-over)

status: setup ## show the services of the stack, or the local Prefect server
	@$(PY) -m ai_workflow status || true

stop: ## stop the local Prefect server
	@if [ -x $(PY) ]; then $(PY) -m ai_workflow stop; fi

setup: $(COMPILED) ## create .venv and install the locked versions, hashes verified
	@:

test: setup ## run the quick tests; TESTS=tests/deploy for some of them
	env -u PYTHONDONTWRITEBYTECODE $(PY) -m pytest -n 2 --no-loadscope-reorder -m "not slow and not soak and not kill and not gpu" $(TESTS)

test-unit: setup ## run the unit tests, in about half a minute; TESTS=tests/stages for some of them
	env -u PYTHONDONTWRITEBYTECODE TMPDIR="$$(test -w /dev/shm && echo /dev/shm || echo "$${TMPDIR:-/tmp}")" \
	  $(PY) -m pytest -n 2 --no-loadscope-reorder -q -o tmp_path_retention_policy=failed -m unit $(TESTS)

check-kill: setup ## kill runs and damage their files at many points, 15 minutes; AIW_KILLS=60 random kills instead of 8
	env -u PYTHONDONTWRITEBYTECODE $(PY) -m pytest -n 3 --no-loadscope-reorder -m kill \
	  $(if $(filter file,$(origin TESTS)),tests/kill,$(TESTS))

test-slow: setup ## run the tests that take longer: workers killed, memory limits, browser, containers
	env -u PYTHONDONTWRITEBYTECODE $(PY) -m pytest -n 3 --no-loadscope-reorder -m "slow and not soak and not kill" $(TESTS)

test-soak: setup ## run the tests that repeat or measure for minutes: rule mutations, 500 hot reloads, benchmarks
	env -u PYTHONDONTWRITEBYTECODE $(PY) -m pytest -n 3 --no-loadscope-reorder -m soak $(TESTS)

test-oldest: ## run the quick tests of code that uses Prefect with the oldest supported version, 3.8.8
	@env -u MAKEFLAGS $(MAKE) --no-print-directory setup VENV=$(OLDEST)
	@PATH="$$PWD/$(OLDEST)/bin:$$PATH" uv pip install --quiet --python $(OLDEST)/bin/python --compile-bytecode \
	  --no-deps --require-hashes --requirement tests/oldest.txt
	env -u PYTHONDONTWRITEBYTECODE $(OLDEST)/bin/python -m pytest -n 2 --no-loadscope-reorder -m "not slow and not soak and not kill and not gpu" \
	  $(if $(filter file,$(origin TESTS)),$(OF_PREFECT),$(TESTS))
	$(if $(filter file,$(origin TESTS)),$(OLDEST)/bin/python -m pytest -n 2 --no-loadscope-reorder -m slow $(SLOW_OF_PREFECT))

test-gpu: setup ## run the tests that need a GPU, in less than four minutes; skipped without a GPU
	$(PY) -m pytest -q -m gpu tests/trainers/test_gpu.py

test-all: setup ## run every test
	$(PY) -m pytest $(TESTS)

coverage: setup ## run the quick tests under coverage and report; fails below the floor in pyproject.toml
	rm -rf build/coverage
	mkdir -p build
	mkdir -m 1777 build/coverage
	env -u PYTHONDONTWRITEBYTECODE $(PY) -m coverage run -m pytest -n 2 --no-loadscope-reorder --timeout 600 \
	  -m "not slow and not soak and not kill and not gpu" tests
	$(PY) -m coverage combine --quiet
	$(PY) -m coverage html --quiet --directory build/coverage/html --fail-under 0
	$(PY) -m coverage report --skip-covered

audit: setup ## check the locked packages for known vulnerabilities; warns without a network
	$(PY) -m deploy.audit

# .pre-commit-config.yaml has the same commands.
check: setup audit ## check lint, format, spelling, dependencies, types, imports, lock, forbidden content, rules and dashboards
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m codespell_lib . .github .ci
	$(PY) -m tests.banned_words
	$(PY) -m deptry $(FOLDERS)
	$(VENV)/bin/lint-imports --no-cache
	$(PY) -m mypy $(TYPED)
	$(PY) -m pytest -q tests/test_architecture.py tests/test_repository.py $(BUILT)

hooks: setup ## run the commands of `make check` before each commit and push
	$(PY) -m pre_commit install

screenshots: setup ## take the pictures of docs/images again, in a browser on a stack of its own
	AIW_SCREENSHOTS="$$PWD/docs/images" $(PY) -m pytest -q -m slow tests/deploy/test_stack_ui.py tests/monitoring/relay/test_message_picture.py

bench: setup ## run the benchmarks
	$(PY) -m benchmarks

format: setup ## format the code and fix lint errors
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

lock: | $(UV) ## lock the dependencies of pyproject.toml and of the test clients; UPGRADE=1 takes the newest versions
	$(PIN) pyproject.toml --all-extras --output-file requirements.lock
	$(PIN) tests/serving/clients.in --output-file tests/serving/clients.txt
	$(PIN) --no-deps tests/oldest.in --output-file tests/oldest.txt

clean: ## stop the stack and the server, remove var/ (data, models, history) and caches
	@if [ -x $(PY) ]; then $(PY) -m ai_workflow down; $(PY) -m ai_workflow stop; fi
	rm -rf var .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist $(COMPILED)
	@find . -path './.venv*' -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## clean, and remove the virtual environments
	rm -rf $(VENV) .venv-clients $(OLDEST)

# Bytecode is written once here. With PYTHONDONTWRITEBYTECODE Python itself would not write it, and every
# `import prefect` would take twice as long.
$(COMPILED): $(INSTALLED) $(SOURCES)
	@$(PY) -m compileall -q $(TYPED)
	@touch $@

# The lock serves as constraints, so that extras which are not selected are not installed; uv still verifies the
# hash of every file, including the build backend.
$(INSTALLED): requirements.lock pyproject.toml | $(UV)
	@$(WITH_UV) pip install --quiet --python $(PY) --compile-bytecode \
	  --constraint requirements.lock --build-constraint requirements.lock --editable '.[dev,excel,s3,search]'
	@$(PY) -c "import lightgbm" 2>/dev/null || { \
	  echo "LightGBM does not load; on Debian it may lack OpenMP: apt-get install libgomp1" >&2; exit 1; }
	@touch $@

# A virtual environment, and uv: the one on the PATH, or the locked one.
$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "$(PYTHON) is missing, or not 3.11 to 3.13. Install one, or name it: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PY) -c "" 2>/dev/null || rm -rf $(VENV)
	@[ -d $(VENV) ] || $(PYTHON) -c "import venv, ensurepip" 2>/dev/null || { \
	  echo "$(PYTHON) has no venv. Install it: apt-get install python3-venv" >&2; exit 1; }
	@[ -d $(VENV) ] || $(PYTHON) -m venv $(VENV)
	@[ -x $(VENV)/bin/uv ] || command -v uv >/dev/null || { \
	  awk '/^[a-z]/ { wanted = /^uv==/ } wanted' requirements.lock > $(VENV)/uv.txt && \
	  $(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(VENV)/uv.txt; }
	@touch $@
