# What one does with Leveret, from a fresh clone with Python 3.11 and make. `make help` lists it.
#
# Environments, made when they are needed and renewed when what they are made of changes:
#   .venv           for development: the source tree itself, uncompiled
#   .venv-compiled  for measuring and for the second run of the tests: the compiled wheel, not the source
#   .venv-apps      applications that others wrote, at pinned versions; no Leveret is in it
#   .venv-docs      what builds the documentation site; no Leveret is in it either
# The wheel is built in a copy of the tree (build/tree), never beside the source.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY := .venv/bin/python
PYC := .venv-compiled/bin/python
PIP := -m pip --disable-pip-version-check --quiet
SOURCES := $(shell find src -name '*.py' -not -path '*/__pycache__/*')
CHECKED := $(wildcard src tests examples bench docs setup.py)
PAGES := $(shell find docs -type f -not -path '*/__pycache__/*')
EXTRAS := examples,test,lint
# What the documentation's programs and the examples import, beside what the tests have of their own
NEEDED := tests/docs/requirements.txt $(wildcard examples/*/requirements.txt)

CYCLES ?= 20
SECONDS ?= 60
SEEDS ?= 150
LENGTH ?= 20
LEFT ?= leveret
RIGHT ?= rabbitmq
BENCH ?= all
BROKER ?= $(CURDIR)/$(PYC)
ARGS ?=
NAME ?= mail
# Test folders with targets of their own: they need node, RabbitMQ or the network, or take their time.
APART := --ignore=tests/compat --ignore=tests/stomp --ignore=tests/suites --ignore=tests/apps --ignore=tests/client/matrix --ignore=tests/examples \
	--ignore=tests/docs/test_rabbitmq.py

export PIP_ROOT_USER_ACTION := ignore
unexport PYTHONPATH

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# -- environments -------------------------------------------------------------------------------------------

.venv/stamp: pyproject.toml setup.py $(NEEDED)
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Leveret needs Python 3.11 or newer; name one with PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip' 2>/dev/null || \
		{ echo "this Python has no venv: apt-get install python3-venv" >&2; exit 1; }
	@echo "making .venv" >&2
	@rm -rf .venv && "$(PYTHON)" -m venv .venv
	@$(PY) $(PIP) install 'setuptools>=77' 'mypy[mypyc]>=2.4.1,<3' 'librt>=0.17'
	@LEVERET_PURE=1 $(PY) $(PIP) install --no-build-isolation --editable '.[$(EXTRAS)]'
	@$(PY) $(PIP) install $(addprefix -r ,$(NEEDED))
	@touch $@

.PHONY: venv
venv: .venv/stamp ## make the development environment (.venv)

build/wheel/stamp: .venv/stamp setup.py pyproject.toml $(SOURCES)
	@echo "compiling the wheel" >&2
	@rm -rf build/tree build/wheel && mkdir -p build/tree build/wheel
	@cp -r src setup.py pyproject.toml LICENSE $(wildcard README.md) build/tree/
	@find build/tree \( -name __pycache__ -o -name '*.egg-info' \) -prune -exec rm -rf {} +
	@cd build/tree && LEVERET_REQUIRE_COMPILED=1 ../../$(PY) $(PIP) wheel --no-build-isolation --no-deps --wheel-dir ../wheel .
	@touch $@

.PHONY: wheel
wheel: build/wheel/stamp ## build the compiled wheel into dist/
	@mkdir -p dist && cp build/wheel/*.whl dist/ && ls -sh dist/*.whl

.venv-compiled/stamp: build/wheel/stamp
	@test -x $(PYC) || "$(PYTHON)" -m venv .venv-compiled
	@$(PYC) $(PIP) install "$$(ls build/wheel/*.whl)[examples,test]"
	@$(PYC) $(PIP) install $(addprefix -r ,$(sort $(wildcard tests/*/requirements.txt) $(NEEDED)))
	@$(PYC) $(PIP) install --force-reinstall --no-deps build/wheel/*.whl
	@touch $@

.PHONY: venv-compiled
venv-compiled: .venv-compiled/stamp ## make the environment with the compiled wheel (.venv-compiled)

.venv-apps/stamp: tests/apps/pinned.txt
	@rm -rf .venv-apps && "$(PYTHON)" -m venv .venv-apps
	@.venv-apps/bin/python $(PIP) install -r tests/apps/pinned.txt
	@touch $@

.venv-docs/stamp: docs/site/requirements.txt
	@rm -rf .venv-docs && "$(PYTHON)" -m venv .venv-docs
	@.venv-docs/bin/python $(PIP) install -r docs/site/requirements.txt
	@touch $@

# -- running ------------------------------------------------------------------------------------------------

.PHONY: demo
demo: .venv/stamp ## run the demonstration: real work, killed in the middle (ARGS='--images DIR')
	@$(PY) examples/demo/run.py $(ARGS)

.PHONY: example
example: .venv/stamp ## run an example: NAME=mail, order, resize, selfheal, spike or browser (ARGS=--help)
	@$(PY) examples/$(NAME)/run.py $(ARGS)

.PHONY: serve
serve: .venv/stamp ## start a broker and stay, uncompiled (ARGS='--amqp-port 0')
	@.venv/bin/leveret serve $(ARGS)

# -- checking -----------------------------------------------------------------------------------------------

.PHONY: test
test: .venv/stamp ## run the tests, uncompiled (ARGS='-k table')
	@LEVERET_EXPECT=pure $(PY) -m pytest $(APART) $(ARGS)

.PHONY: test-compiled
test-compiled: .venv-compiled/stamp ## run the same tests against the compiled wheel, but those of the documentation
	@LEVERET_EXPECT=compiled $(PYC) -m pytest -p no:cacheprovider $(APART) --ignore=tests/docs $(ARGS)

.PHONY: lint
lint: .venv/stamp ## check style and types
	@$(PY) -m ruff check $(CHECKED)
	@$(PY) -m ruff format --check $(CHECKED)
	@$(PY) -m mypy --strict
	@$(PY) -m mypy --strict docs/generate.py docs/site/public.py docs/site/navigation.py

.PHONY: format
format: .venv/stamp ## put the style right
	@$(PY) -m ruff check --fix $(CHECKED)
	@$(PY) -m ruff format $(CHECKED)

.PHONY: compat
compat: .venv-compiled/stamp ## drive a compiled broker through pika, aio-pika and amqplib
	@LEVERET_EXPECT=compiled $(PYC) -m pytest -p no:cacheprovider tests/compat $(ARGS)

.PHONY: stomp
stomp: .venv-compiled/stamp ## drive a compiled broker through stomp.py, @stomp/stompjs and Chromium, and across to AMQP
	@LEVERET_EXPECT=compiled $(PYC) -m pytest -p no:cacheprovider tests/stomp $(ARGS)

MATRIX := LEVERET_EXPECT=compiled $(PYC) -m pytest -o cache_dir=build/matrix
.PHONY: matrix
matrix: .venv-compiled/stamp ## break the client's connection at every point, and follow the tutorial, with Leveret and RabbitMQ
	@$(MATRIX) tests/client/matrix tests/docs/test_rabbitmq.py $(ARGS) || \
		{ echo "what failed is played once more: two brokers and thousands of races, and not all of them are ours"; \
		  $(MATRIX) --last-failed --last-failed-no-failures none tests/client/matrix tests/docs/test_rabbitmq.py $(ARGS); }

.PHONY: examples
examples: .venv-compiled/stamp ## run every example, small, and look at what it says
	@LEVERET_EXPECT=compiled $(PYC) -m pytest -p no:cacheprovider tests/examples $(ARGS)

.PHONY: apps
apps: .venv-compiled/stamp .venv-apps/stamp ## run Celery, Dramatiq, Taskiq and FastStream on a compiled broker (BROKER=.venv/bin/python)
	@COMPAT_PYTHON="$(BROKER)" .venv-apps/bin/python -m pytest -p no:cacheprovider tests/apps $(ARGS)

.PHONY: suites
suites: .venv-compiled/stamp ## run the functional suites of third-party clients against a compiled broker
	@LEVERET_EXPECT=compiled $(PYC) -m pytest -p no:cacheprovider tests/suites $(ARGS)

.PHONY: differential
differential: .venv-compiled/stamp ## play SEEDS=150 scenarios of LENGTH=20 to Leveret and RabbitMQ, and compare (LEFT=, RIGHT=amqp://...)
	@$(PYC) -m tests.differential --left "$(LEFT)" --right "$(RIGHT)" --seeds $(SEEDS) --length $(LENGTH) $(ARGS)

.PHONY: torture
torture: .venv-compiled/stamp ## kill a loaded broker CYCLES=20 times and count what is missing
	@$(PYC) -m tests.torture --cycles $(CYCLES) $(ARGS)

.PHONY: fuzz
fuzz: .venv/stamp ## feed the protocol coverage-guided rubbish for SECONDS=60
	@$(PY) -m tests.fuzz --seconds $(SECONDS) $(ARGS)

.PHONY: bench
bench: .venv-compiled/stamp .venv-apps/stamp ## measure speed and size (BENCH='first fanout', AMQPLOAD_SRC=DIR, ARGS='--pairs 1')
	@$(PYC) bench/run.py $(BENCH) --leveret .venv-compiled/bin/leveret --uncompiled .venv/bin/leveret \
		--apps .venv-apps/bin/python $(ARGS)

.PHONY: instructions
instructions: .venv-compiled/stamp ## count instructions a message with callgrind, and hold them (ARGS=--write)
	@$(PYC) bench/instructions.py --python $(PYC) $(ARGS)

build/site/stamp: .venv-docs/stamp $(PAGES) $(SOURCES)
	@rm -rf build/site && .venv-docs/bin/python -m sphinx -W --keep-going -q -d build/site-cache -c docs/site docs build/site
	@touch $@

.PHONY: docs
docs: build/site/stamp ## build the documentation site into build/site; a broken link or an unknown name is an error
	@echo "build/site/index.html"

.PHONY: references
references: .venv/stamp ## renew the parts of docs/reference that are made of tables in the code
	@$(PY) docs/generate.py

.PHONY: clean
clean: ## remove everything that was made
	@rm -rf .venv .venv-compiled .venv-apps .venv-docs build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -prune -exec rm -rf {} +
