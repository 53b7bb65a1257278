# `make help` lists the targets. Each installs what it needs into .venv by itself.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help dev proto compiled interpreted lint format docs figures test test-compiled test-vllm test-ray test-studio test-llamaindex test-compose test-hosts test-long test-soak audit sbom bench up down

BIN := .venv/bin
CODE := libs/python services
# Extra arguments for pytest: `make test ARGS="-k ring -x"`.
ARGS ?=
# Processes that share the tests which need not be alone, and that check types.
WORKERS ?= 2
QUICK := not long and not soak and not vllm and not compose and not ray and not studio and not llamaindex and not hosts
LONG := long and not soak and not vllm and not compose and not ray and not studio and not llamaindex and not hosts
# Tests of what `make compiled` compiles: alone, in its service, and in a mesh that is killed.
COMPILED_TESTS := tests/unit/sage_control_plane tests/unit/sage_scheduler tests/contracts/test_policies.py tests/mesh/test_kills.py
# pytest's exit code where ARGS choose no test.
NOTHING_CHOSEN := [ $$? -eq 5 ]

help: ## Show this list.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

dev: ## Install everything into .venv, with the tools of the tests and checks.
	@./install.sh dev

proto: dev ## Generate the protobuf and gRPC stubs again.
	@$(BIN)/python -m sage_tools.stubs

compiled: dev ## Compile the scheduler's decisions with mypyc, in place: half the CPU of each. Again after each change.
	@CFLAGS="$${CFLAGS:--O2}" $(BIN)/python -m sage_tools.compiled build

interpreted: dev ## Remove what `make compiled` has built.
	@$(BIN)/python -m sage_tools.compiled remove

lint: dev ## Check style, types, layers, protobuf, what it breaks of the last release, and that the stubs are fresh.
	@# Types take the longest: all the rest is checked beside them.
	@# Its workers give up (2) where they do not start within seconds, as on a machine that reads them for the first time.
	@( $(BIN)/mypy --num-workers $(WORKERS) $(CODE) examples || { [ $$? -eq 2 ] && $(BIN)/mypy $(CODE) examples; } ) & \
	types=$$!; trap 'kill $$types 2> /dev/null || true' EXIT; \
	$(BIN)/ruff check $(CODE) examples tests; \
	$(BIN)/ruff format --check --quiet $(CODE) examples tests; \
	$(BIN)/buf lint proto; \
	$(BIN)/python -m sage_tools.released; \
	$(BIN)/python -m sage_tools.stubs --check; \
	PYTHONSAFEPATH=1 $(BIN)/lint-imports --no-cache; \
	wait $$types

format: dev ## Mend what ruff can mend by itself.
	@$(BIN)/ruff check --fix $(CODE) examples tests
	@$(BIN)/ruff format --quiet $(CODE) examples tests

# What the theme prints of its own future is nothing to act on here.
docs: export NO_MKDOCS_2_WARNING := 1
docs: export DISABLE_MKDOCS_2_WARNING := true
docs: dev ## Build the documentation's site into build/site; links that lead nowhere end it.
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e "libs/python[docs]"
	@# Quiet, it would count no warnings, and the strict build end well whatever is missing.
	@$(BIN)/mkdocs build
	@echo "build/site/index.html"

figures: dev ## Draw the figures of docs/system.md anew, each of a run made for it.
	@$(BIN)/sage bench figures --output docs/images

# The tests start hundreds of processes: none may have to compile SAGE again, wherever a machine's settings say so.
test: export PYTHONDONTWRITEBYTECODE :=

# Files in their order, not the ones with the most tests first: the few tests of a whole mesh are the longest, and would
# be left to one process at the end. The second pass reads only the files with tests to run alone, unless ARGS name some:
# to import all of them takes longer than some of these tests.
test: lint ## Lint, then unit, contract, mesh and architecture tests.
	@$(BIN)/pytest -m "$(QUICK) and not alone" -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS) || $(NOTHING_CHOSEN)
	@$(BIN)/pytest -m "$(QUICK) and alone" -o testpaths="$$(grep -rl --include='test_*.py' 'mark\.alone' tests)" $(ARGS) || $(NOTHING_CHOSEN)

test-compiled: compiled ## The tests of the scheduler with its decisions compiled, which it removes after that.
	@trap '$(BIN)/python -m sage_tools.compiled remove' EXIT; \
	$(BIN)/pytest -m "$(QUICK) and not alone" -n $(WORKERS) $(COMPILED_TESTS) $(ARGS)

test-vllm: dev ## Tests against a real vLLM on the CPU: installs it into .sage/vllm-venv, takes minutes.
	@tests/vllm/install.sh
	@VLLM_PYTHON="$$PWD/.sage/vllm-venv/bin/python" $(BIN)/pytest -m vllm tests/vllm $(ARGS)

test-ray: dev ## Pipelines on a real Ray: installs it into .venv.
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e "libs/python[ray]"
	@$(BIN)/pytest -m ray tests/ray $(ARGS)

# SAGE_STUDIO_SHOTS=docs/images also makes the pictures of the documentation.
test-studio: dev ## The studio in a real browser over a real mesh; needs Chromium (CHROMIUM names another than /usr/bin's).
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt playwright
	@$(BIN)/pytest -m studio tests/studio $(ARGS)

test-llamaindex: dev ## LlamaIndex against a mesh: installs it into .sage/llamaindex-venv.
	@tests/llamaindex/install.sh
	@$(BIN)/pytest -m llamaindex tests/llamaindex $(ARGS)

test-compose: dev ## Tests of the containers; as root on Debian, starts a Docker engine where none answers.
	@tests/compose/engine.sh run $(BIN)/pytest -m compose tests/compose $(ARGS)

# Where there is no root, or no network namespaces, each test says so and is skipped.
test-hosts: dev ## Meshes over three hosts with a bad network between them: kills, cut links, a host that dies. Root only.
	@$(BIN)/pytest -m hosts tests/hosts $(ARGS)

test-long: dev ## Tests that take most of a minute each: restarts, kills of every part, a full disk, memory, benchmarks.
	@$(BIN)/pytest -m "$(LONG) and not alone" -n $(WORKERS) --dist load -o testpaths="$$(grep -rl --include='test_*.py' 'mark\.long' tests)" $(ARGS) || $(NOTHING_CHOSEN)
	@$(BIN)/pytest -m "$(LONG) and alone" -o testpaths="$$(grep -rl --include='test_*.py' 'mark\.alone' tests)" $(ARGS) || $(NOTHING_CHOSEN)

test-soak: dev ## Tests that run for minutes.
	@$(BIN)/pytest -m soak tests $(ARGS)

# Tools of their own, apart from what they look at.
SUPPLY := .sage/supply-venv
$(SUPPLY)/bin/python: constraints.txt
	@$(BIN)/python -m venv --clear $(SUPPLY)
	@$(SUPPLY)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt pip-audit cyclonedx-bom
	@touch $@

audit: dev $(SUPPLY)/bin/python ## Ask the advisory databases about every installed package; says so where they are out of reach.
	@$(BIN)/python -m sage_tools.dependency_audit $(SUPPLY)/bin/python \
	"$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

sbom: dev $(SUPPLY)/bin/python ## Write what is installed to .sage/sbom.cdx.json, as CycloneDX.
	@$(SUPPLY)/bin/cyclonedx-py environment --no-validate --output-reproducible --of JSON -o .sage/sbom.cdx.json $(BIN)/python
	@echo "$$(grep -c '"bom-ref": ".*==' .sage/sbom.cdx.json) packages in .sage/sbom.cdx.json"

bench: dev ## Measure this machine.
	@$(BIN)/sage bench --help
	@$(BIN)/sage bench classify

up: dev ## Bring the mesh up, detached.
	@$(BIN)/sage up --detach

down: ## Stop the mesh.
	@if [ -x $(BIN)/sage ]; then $(BIN)/sage down; fi
