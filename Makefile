# Everything sets itself up: a virtual environment in .venv with pinned, hash-checked packages.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes

.PHONY: install demo test test-all postgres-test cluster cluster-test scenarios lint types conformance clients player player-test bundle bundle-test wheel-test workflows site deploy-test \
	campaign cluster-campaign demo-svg docs check benchmark pins clean

install: .venv/run.stamp  ## the command as .venv/bin/luma-ray-mcp, without uv or pipx
	@echo "Installed. The command is: $(CURDIR)/$(BIN)/luma-ray-mcp"
	@echo "Next: $(CURDIR)/$(BIN)/luma-ray-mcp install"

demo: .venv/run.stamp  ## a rejection, a suggestion and a film of three clips, over a real MCP connection
	@$(BIN)/luma-ray-mcp demo

# ALL=1: every case, also of slow tests. COVERAGE=95: fails below 95 %. What was compiled is kept, whatever the variable says.
test: .venv/dev.stamp  ## four at a time, because many tests wait for processes; of slow tests, a sample
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 4 --dist worksteal $(if $(COVERAGE),--cov --cov-report=term:skip-covered --cov-fail-under=$(COVERAGE))

test-all:  ## the tests with every case of the slow ones
	@$(MAKE) test ALL=1

postgres-test: .venv/dev.stamp  ## the journal in a real PostgreSQL, which must be installed (Debian: apt-get install postgresql)
	POSTGRES=1 $(BIN)/python -m pytest -n 2 -q tests/journal/test_journal.py tests/journal/test_limit.py tests/journal/test_parts.py tests/postgres

cluster: .venv/dev.stamp  ## a whole deployment on this machine: PostgreSQL, nginx, two replicas, an identity provider (needs npm)
	@$(BIN)/python -m scripts.cluster

cluster-test: .venv/dev.stamp  ## official clients, wrong tokens and failures on such a deployment
	CLUSTER=1 $(BIN)/python -m pytest -q tests/cluster

scenarios: .venv/dev.stamp  ## 20,000 random scenarios of orders, failures and kills; takes a quarter of an hour
	ALL=1 SCENARIOS=20000 $(BIN)/python -m pytest -n auto -q tests/service/test_nothing_lost.py

campaign: .venv/dev.stamp  ## 2,000 orders while servers are killed and the journal is replaced; takes half an hour
	@export CAMPAIGN_SEED=$${CAMPAIGN_SEED:-$$(date +%s)} CAMPAIGN_ORDERS=$${CAMPAIGN_ORDERS:-2000}; \
	echo "Again: CAMPAIGN_SEED=$$CAMPAIGN_SEED CAMPAIGN_ORDERS=$$CAMPAIGN_ORDERS make campaign"; \
	$(BIN)/python -m pytest -n 4 --dist worksteal -q tests/campaign

cluster-campaign: .venv/dev.stamp  ## 5,000 orders at a deployment while its parts fail; takes 40 minutes
	@export CLUSTER=1 CAMPAIGN_SEED=$${CAMPAIGN_SEED:-$$(date +%s)} CAMPAIGN_ORDERS=$${CAMPAIGN_ORDERS:-5000}; \
	echo "Again: CAMPAIGN_SEED=$$CAMPAIGN_SEED CAMPAIGN_ORDERS=$$CAMPAIGN_ORDERS make cluster-campaign"; \
	$(BIN)/python -m pytest -v tests/cluster/test_campaign.py

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python scripts/check_style.py

types: .venv/dev.stamp
	$(BIN)/mypy

conformance: .venv/dev.stamp  ## the official MCP conformance suite, for both protocol versions (needs npm)
	$(BIN)/python -m scripts.conformance

clients: .venv/dev.stamp  ## the Inspector and the official TypeScript clients drive the server (needs npm)
	$(BIN)/python -m scripts.clients

player: player/node_modules/.stamp  ## builds the player and the upload panel into src/luma_mcp/server/ (needs npm)
	cd player && npm run --silent build

player-test: .venv/dev.stamp player/node_modules/.stamp  ## the player and the upload panel in a real Chromium, over the real server
	cd player && npm run --silent check && npm test

player/node_modules/.stamp: player/package-lock.json
	cd player && npm ci --ignore-scripts --no-fund --no-audit --loglevel=error
	@touch $@

bundle: .venv/dev.stamp  ## dist/luma-ray-mcp-VERSION.mcpb for Claude Desktop
	$(BIN)/python -m scripts.build_bundle

bundle-test: .venv/dev.stamp  ## checks the bundle with the official tool, then unpacks and starts it, and orders a video (needs npm)
	$(BIN)/python -m scripts.try_bundle

wheel-test: .venv/dev.stamp  ## the tests against the built wheel, with the lowest allowed versions
	$(BIN)/python -m scripts.try_wheel --lowest

workflows: .venv/dev.stamp  ## checks .github/workflows (needs npm)
	$(BIN)/python -m scripts.check_workflows

deploy-test: .venv/dev.stamp .venv/deploy.stamp  ## deploy/ without a container engine: linted, validated, built and called
	$(BIN)/python -m scripts.check_deploy

.venv/deploy.stamp: .venv/python.stamp requirements/deploy.txt
	$(PYTHON) -m venv .venv/deploy
	.venv/deploy/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements/deploy.txt
	@touch $@

demo-svg: .venv/dev.stamp .venv/record.stamp  ## records docs/demo.svg again
	$(BIN)/python -m scripts.record_demo .venv/record/bin/termtosvg

.venv/record.stamp: .venv/python.stamp requirements/record.txt
	$(PYTHON) -m venv .venv/record
	.venv/record/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements/record.txt
	@touch $@

site: .venv/dev.stamp .venv/site.stamp  ## the documentation site, in dist/site
	NO_MKDOCS_2_WARNING=1 .venv/site/bin/mkdocs build --strict --quiet --site-dir dist/site
	$(BIN)/python -m scripts.check_site dist/site

.venv/site.stamp: .venv/python.stamp requirements/docs.txt
	$(PYTHON) -m venv .venv/site
	.venv/site/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements/docs.txt
	@touch $@

docs: .venv/dev.stamp  ## writes the generated parts of the documentation, and the tool snapshots
	$(BIN)/python scripts/generate_docs.py

check: test lint types
	$(BIN)/python scripts/generate_docs.py --check

benchmark: .venv/dev.stamp
	$(BIN)/python benchmarks/polling.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/webhooks.py
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/http_calls.py
	$(BIN)/python -m benchmarks.pictures
	$(BIN)/python -m benchmarks.films
	$(BIN)/python benchmarks/long_file.py
	$(BIN)/python -m benchmarks.cluster

# With extras: pip refuses a hash-checked list that lacks them once there is a newer version of such a package.
COMPILE := uv pip compile --no-strip-extras --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet
pins: .venv/dev.stamp  ## resolves the pins again (needs uv), for Python 3.11 and later on every system
	$(COMPILE) pyproject.toml requirements/build.in --extra film -o requirements/run.txt
	$(COMPILE) pyproject.toml requirements/build.in --extra film --extra server --group dev -c requirements/run.txt -o requirements/dev.txt
	$(COMPILE) requirements/docs.in -o requirements/docs.txt
	$(COMPILE) requirements/record.in -o requirements/record.txt
	$(COMPILE) requirements/deploy.in -o requirements/deploy.txt
	$(COMPILE) requirements/build.in -c requirements/dev.txt -o requirements/build.txt
	$(COMPILE) pyproject.toml --extra film --extra server -c requirements/dev.txt -o requirements/server.txt

clean:
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis tests/*/node_modules player/node_modules

.venv/python.stamp:
	@$(PYTHON) -c 'import sys; sys.exit("luma-ray-mcp needs Python 3.11 or later; this is %d.%d. Try: make PYTHON=python3.12" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	@touch $@

.venv/run.stamp: .venv/python.stamp requirements/run.txt pyproject.toml
	$(PIP) -r requirements/run.txt
	$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev.stamp: .venv/run.stamp requirements/dev.txt
	$(PIP) -r requirements/dev.txt
	@touch $@
