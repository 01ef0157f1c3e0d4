# Needs Python 3.11+, make and a package index. `make serve` and `make test` set everything up by themselves.
PYTHON ?= python3
BIN := .venv/bin
HOST ?= 127.0.0.1
PORT ?= 8000

.PHONY: setup serve test test-full check fmt unit clients bench lock ci clean
.DEFAULT_GOAL := help

help:  ## show this
	@sed -n 's/^\([a-z-]*\):.*## /  make \1  — /p' Makefile

# The stamp is written last: an interrupted set-up is done again.
.venv/.ready: requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

setup: .venv/.ready  ## make .venv with everything that development needs

serve: setup  ## serve the embedded model
	$(BIN)/tessera serve --host $(HOST) --port $(PORT)

clients: setup  ## add LangChain and pydantic-ai; without them their tests are skipped
	-$(BIN)/python -m pip install -q --require-hashes -r requirements/clients.txt

test: setup  ## run the tests
	$(BIN)/python -m pytest -m "not full" -n 2 --dist loadfile

test-full: clients  ## run all tests, in their full counts
	$(BIN)/python -m pytest

unit: setup  ## run the fast tests only
	$(BIN)/python -m pytest tests/unit tests/architecture

check: setup  ## format, lint, types, imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

fmt: setup  ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup  ## measure the chat and HTTP layers, structured output, and streams against llama.cpp's server
	$(BIN)/python -m pip install -q --require-hashes -r requirements/bench.txt
	for each in chat_layer http_layer structured streams; do $(BIN)/python -m benchmarks.$$each || exit 1; done

lock: setup  ## compile the pins anew
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml requirements/dev.in -o requirements/dev.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/bench.in -o requirements/bench.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/clients.in -c requirements/dev.txt -o requirements/clients.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml requirements/serve.in -c requirements/dev.txt -o requirements/serve.txt

ci: check test  ## what CI runs

clean:
	rm -rf .venv .pytest_cache .ruff_cache
