# `make demo` and `make test` set everything up by themselves, and again when what is to be installed changes.
PYTHON ?= python3
BIN := .venv/bin
# What the demo needs; and what tests and lint need besides.
INSTALLED := .venv/installed
INSTALLED_DEV := .venv/installed-dev
DEBIAN := prometheus dataset-fashion-mnist chromium chromium-driver wget espeak-ng hydrogen-data sonic-pi-samples bible-kjv
EMOJI := emoji-datasource-twitter emoji-datasource-google
MOVING := @lobehub/fluent-emoji-anim-1
# Many images of containers set it; each process that a test starts would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo cluster-local test test-fast test-nightly lint format docs docs-site clean debian emoji

# A GAN learns to draw clothes. ARGS="train.total_kimg=50" changes what it trains.
demo: $(INSTALLED)
	$(BIN)/python -m gandist.train $(ARGS)

# A Ray cluster on this machine (a head and two nodes), Prometheus beside it, the demo on it as a job. ARGS as above;
# KEEP=1 leaves it up after the job, until Ctrl-C.
cluster-local: $(INSTALLED_DEV)
	$(BIN)/python -m cluster.local $(ARGS)

# Two processes share the tests, in groups (tests/conftest.py). ARGS="-k resume" picks tests.
test: $(INSTALLED_DEV) debian emoji
	$(BIN)/python -m pytest -n 2 --no-loadscope-reorder $(ARGS)

# Under three minutes on two cores: the tests of rooms (those of commands lie beside them, or are of benchmarks and of
# what is written for people), none that starts a cluster or takes more than a second.
ROOMS := $(filter-out %/apply/ %/bench/ %/explore/ %/report/,$(sort $(wildcard tests/unit/*/)))
test-fast: $(INSTALLED_DEV)
	$(BIN)/python -m pytest -n 2 --no-loadscope-reorder $(ROOMS) -m "not slow and not ray and not nightly" $(ARGS)

# What `test` leaves out.
test-nightly: $(INSTALLED_DEV) debian emoji
	$(BIN)/python -m pytest -n 2 --no-loadscope-reorder -m nightly $(ARGS)

lint: $(INSTALLED_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED_DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(INSTALLED_DEV)
	$(BIN)/python -m gandist.config.reference > docs/configuration.md
	$(BIN)/python -m gandist.manual > docs/commands.md
	$(BIN)/python -m cluster.monitoring
	$(BIN)/python -m gandist.schemas
	$(BIN)/python -m gandist.completion.commands

# The documentation as a site, docs/_build/html/index.html, which needs no network. Any warning is an error.
docs-site: $(INSTALLED_DEV)
	rm -rf docs/_build
	$(BIN)/python -m sphinx -W --keep-going -n -q docs docs/_build/html

clean:
	rm -rf .venv .tools build dist docs/_build .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt cluster/install.py
	@$(PYTHON) cluster/install.py

$(INSTALLED_DEV): pyproject.toml constraints.txt cluster/install.py
	@$(PYTHON) cluster/install.py dev

# What some tests need beyond Python. Where it cannot be installed those tests are skipped by name; in CI they fail.
debian:
	@dpkg -s $(DEBIAN) >/dev/null 2>&1 || { \
	  test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	  && apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
	     apt-get -qq install -y --no-install-recommends $(DEBIAN) >/dev/null; \
	} || echo "not installed: $(DEBIAN) (needs root and apt); the tests that need them are skipped"

# Emoji with captions (configs/emoji.py), 150 MB, and emoji that move (configs/clips.py), 160 MB; no root needed.
emoji:
	@ls $(patsubst %,data/emoji/node_modules/%/package.json,$(EMOJI) $(MOVING)) >/dev/null 2>&1 \
	  || { command -v npm >/dev/null && mkdir -p data/emoji \
	       && npm install --prefix data/emoji --no-audit --no-fund --loglevel=error \
	            $(EMOJI:%=%@16.0.0) $(MOVING)@1.0.0 >/dev/null; } \
	  || echo "not installed: $(EMOJI) $(MOVING) (needs npm); the tests that need them are skipped"
