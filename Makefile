# Needs Python 3.11+, make and a package index. `make serve` and `make test` set everything up by themselves.
PYTHON ?= python3
BIN := .venv/bin
HOST ?= 127.0.0.1
PORT ?= 8000

FAST := -n 2 -m "not slow" --hypothesis-profile quick tests/unit tests/architecture
COMPILE := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-strip-extras

.PHONY: help setup serve dev test test-full test-vllm test-ray unit cov check fmt clients clients-full bench profile lock clean

help:  ## show this
	@sed -n 's/^\([a-z-]*\):.*## /  make \1  — /p' Makefile

# The stamp is written last: an interrupted set-up is done again.
.venv/.ready: requirements/dev.txt pyproject.toml
	@echo "Setting up .venv, once: $$(grep -c '^[a-z]' requirements/dev.txt) packages, a minute or two …"; $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: .venv/.ready  ## make .venv with everything that development needs

serve: setup  ## serve the embedded model
	$(BIN)/tessera serve --host $(HOST) --port $(PORT)

dev: setup  ## serve the scripted engine with a store in .dev, and start again on every change of src
	XDG_DATA_HOME=$(CURDIR)/.dev TESSERA_API_KEY=$${TESSERA_API_KEY:-sk-dev-only} $(BIN)/watchfiles --filter python \
		"$(BIN)/tessera serve --engine scripted --log-format console --shutdown-grace-s 1 --port $(PORT)" src

test: setup  ## run the tests: several minutes on two cores
	@echo "Several minutes on two quiet cores, more beside other work; each line ends with the part that is done."
	$(BIN)/python -m pytest -m "not full" -n 2 --dist loadfile

test-ray: setup  ## run the tests of `tessera deploy` on a Ray cluster of this machine, in .venv-ray
	$(BIN)/python -m tests.ray

test-full: clients  ## run all tests, in their full counts
	$(BIN)/python -m pytest

test-vllm: setup; $(BIN)/python -m tests.vllm_environment  ## run the tests of the vLLM engine, in an environment of its own

unit: setup  ## run the fast tests only
	$(BIN)/python -m pytest $(FAST)

cov: setup  ## what the fast tests reach, by branches; fails below the floor in pyproject.toml
	$(BIN)/python -m pytest $(FAST) --cov --cov-report term:skip-covered

check: setup  ## format, lint, types, imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

fmt: setup  ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clients: setup  ## add LangChain and pydantic-ai; without them their tests are skipped
	-$(BIN)/python -m pip install -q --require-hashes -r requirements/clients.txt

clients-full: setup  ## try 17 clients and agents, each in an environment of its own: ten minutes or more
	$(BIN)/python -m tests.clients

bench: setup  ## measure the chat and HTTP layers, structured output, and streams against llama.cpp's server
	$(BIN)/python -m pip install -q --require-hashes -r requirements/bench.txt
	for each in chat_layer http_layer structured streams; do $(BIN)/python -m benchmarks.$$each || exit 1; done

profile: setup  ## where the scripted engine's server spends its time under `tessera bench`
	$(BIN)/python -m benchmarks.profile

lock: setup  ## compile the pins anew
	$(COMPILE) pyproject.toml requirements/dev.in -o requirements/dev.txt
	for each in bench clients ray; do $(COMPILE) requirements/$$each.in -c requirements/dev.txt -o requirements/$$each.txt || exit 1; done
	$(BIN)/python -m tests.clients --lock
	$(COMPILE) pyproject.toml requirements/serve.in -c requirements/dev.txt -o requirements/serve.txt
	$(COMPILE) --all-extras pyproject.toml requirements/serve.in -c requirements/dev.txt -o requirements/image.txt

clean:
	rm -rf .venv .vllm .venv-ray .clients .dev .pytest_cache .ruff_cache
