# All that there is to know: `make` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
ROOT := $(if $(filter 0,$(shell id -u)),,sudo)
APT := $(ROOT) env DEBIAN_FRONTEND=noninteractive apt-get
export PATH := $(PATH):/usr/sbin:/sbin

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test coverage long check bench faults browser soak fuzz clean debian

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/run.stamp  ## coat 300 m on the virtual line, with the twin beside it
	$(BIN)/twin demo --metres 300 --auto-accept

test: debian check  ## check, then the tests, against real servers
	$(BIN)/python -m pytest -m "not bench and not long and not faults and not browser and not soak" -n 2 --dist loadscope $(PYTEST)

coverage: $(VENV)/test.stamp debian  ## the same tests, and which lines they reach
	$(MAKE) test PYTEST='--cov --cov-report=term'

long: $(VENV)/test.stamp debian  ## tests that take minutes: assessments, a cluster, a service that is reloaded and backed up
	$(BIN)/python -m pytest -m long -n 2 --dist loadscope

check: $(VENV)/test.stamp  ## style, types and import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/test.stamp debian  ## measurements, printed as ratios to a named reference
	$(BIN)/python -m pytest -m "bench and not browser" -s

faults: $(VENV)/test.stamp debian  ## servers, disks and the twin itself killed, filled and set, and what it cost
	$(BIN)/python -m pytest tests/faults -s

browser: $(VENV)/test.stamp debian  ## every page of the screen in a real browser; pictures in var/screens
	$(BIN)/python -m pytest tests/browser -s

soak: $(VENV)/test.stamp debian  ## half an hour at 2 000 samples/s: what grows? (SOAK_MINUTES=...)
	$(BIN)/python -m pytest tests/soak -m soak -s

fuzz: $(VENV)/test.stamp  ## what comes in made up by atheris, a minute for each way in
	$(PIP) install -q -c constraints.txt --no-build-isolation -e '.[test,fuzz]'
	@for way in mqtt configuration spool certificate; do \
	  echo "fuzz: $$way"; \
	  $(BIN)/python -m tests.fuzz.target $$way -max_total_time=60 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1 || exit 1; \
	done

clean:  ## remove what the other targets made
	rm -rf $(VENV) dist .coverage .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# Debian keeps ensurepip in a package of its own; an interrupted start leaves no half environment.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'linetwin needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  if command -v apt-get >/dev/null && { [ "$$(id -u)" = 0 ] || command -v sudo >/dev/null; }; \
	  then $(APT) update -q && $(APT) install -q -y python3-venv; \
	  else echo 'Python here cannot make virtual environments; as root: apt-get install python3-venv'; exit 1; fi; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)

# The back ends come from the constraints too, so that two machines build with the same; sdnotify is published as source only.
$(VENV)/run.stamp: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install -q -c constraints.txt hatchling setuptools
	$(PIP) install -q -c constraints.txt --no-build-isolation -e .
	@touch $@

$(VENV)/test.stamp: $(VENV)/run.stamp
	$(PIP) install -q -c constraints.txt --no-build-isolation -e '.[test]'
	@touch $@

# A broker, time-series stores and a JavaScript run-time: the foreign peers that the tests talk to.
debian:
	@missing=; \
	command -v mosquitto >/dev/null || missing="$$missing mosquitto"; \
	command -v mosquitto_pub >/dev/null || missing="$$missing mosquitto-clients"; \
	command -v node >/dev/null || missing="$$missing nodejs"; \
	command -v npm >/dev/null || missing="$$missing npm"; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	command -v influxd >/dev/null || missing="$$missing influxdb"; \
	command -v victoria-metrics >/dev/null || missing="$$missing victoria-metrics"; \
	command -v openssl >/dev/null || missing="$$missing openssl"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if command -v apt-get >/dev/null && { [ "$$(id -u)" = 0 ] || command -v sudo >/dev/null; }; \
	then $(APT) update -q && $(APT) install -q -y --no-install-recommends $$missing; \
	else echo "the tests need$$missing; as root: apt-get install$$missing"; exit 1; fi
