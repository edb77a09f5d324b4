# Two commands on a fresh machine do everything: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: setup system demo test bench faults soak calm fuzz audit screenshots lint format clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt | system
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[api,report,destinations,sandbox,dev]'
	touch $@

# Debian packages that are missing, where we may install them; elsewhere the README says what is needed.
system:
	@missing=""; \
	command -v java >/dev/null 2>&1 || missing="$$missing default-jre-headless"; \
	command -v mvn >/dev/null 2>&1 || missing="$$missing maven"; \
	command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 || missing="$$missing chromium"; \
	$(PYTHON) -c 'import ensurepip' >/dev/null 2>&1 || missing="$$missing python3-venv"; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	  else echo "missing:$$missing (see README, What you need)"; fi; \
	fi

demo: setup
	$(BIN)/segstream demo $(ARGS)

# More processes than cores: the tests wait for their servers about half of the time. tests/conftest.py says which go together.
test: setup lint $(VENV)/.warehouses
	$(BIN)/python -m pytest -n 3 --dist loadfile $(ARGS)

# Kill workers and broker under load, hold every run against the oracle: build/faults.json, build/faults.md.
faults: setup
	$(BIN)/python -m tests.faults $(ARGS)

# An hour at half of the measured capacity with a fault every 60 to 90 s: build/soak.json, build/soak.md. `ARGS="--minutes 10 --seed 2"`.
soak: setup
	$(BIN)/python -m tests.faults.soak $(ARGS)

# Two hours in which nothing is wrong, so that no worker may be started again: build/calm.json, build/calm.md. `ARGS="--minutes 30"`.
calm: setup
	$(BIN)/python -m tests.faults.calm $(ARGS)

# Break whatever is read from outside, longer than the tests do: `make fuzz ARGS="--seconds 600 --only events api"`: build/fuzz.json.
fuzz: setup
	$(BIN)/python -m tests.fuzz $(ARGS)

# What we are made of and what of it is known to be vulnerable: build/sbom.json (CycloneDX), build/audit.json. The tools stay apart from what they look at.
audit: setup $(VENV)/audit/.installed
	$(BIN)/python -m bench.audit --tools $(VENV)/audit/bin $(ARGS)

$(VENV)/audit/.installed: pyproject.toml constraints.txt | setup
	test -x $(VENV)/audit/bin/python || $(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt pip-audit cyclonedx-bom
	touch $@

# Side by side with other engines on this machine: `make bench ARGS="--quick"`, `ARGS="--only hotpath"`, `ARGS="--docs"`.
bench: setup $(VENV)/.bench
	$(BIN)/python -m bench $(ARGS)

$(VENV)/.bench: pyproject.toml constraints.txt | setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[api,sandbox,dev,bench]'
	touch $@

# A PostgreSQL server, Spark, and in an environment of its own a fake Snowflake, so that every kind of warehouse we can run is run: large, only
# for tests, which skip without them.
$(VENV)/.warehouses: pyproject.toml constraints.txt tests/batch_trainer/snowflake.txt | setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[warehouses]' \
	  && $(BIN)/python -m venv $(VENV)/snowflake \
	  && $(VENV)/snowflake/bin/python -m pip install --quiet --disable-pip-version-check -r tests/batch_trainer/snowflake.txt && touch $@ \
	  || echo "PostgreSQL, Spark or the fake Snowflake is not installed: their tests are skipped"

# The dashboard's pages into docs/pages, from a demo of some minutes.
screenshots: setup
	$(BIN)/python -m bench.screenshots $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
