# Targets: install, demo, check, test, bench, docs, examples, clean. All of them use the virtual environment .venv.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: install demo test check bench docs examples clean

install: $(INSTALLED)

# quiet: only a failure of the installation matters
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

# the demo needs a third of what the tests need; skipped after `make install`
.venv/.demo: pyproject.toml constraints.txt
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	@echo "Installing PyTorch, ONNX Runtime and Captum into .venv; a download of a few hundred megabytes, once"
	@[ -e $(INSTALLED) ] || $(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --editable '.[explain,photos]'
	@touch $@

# train, export, score and explain on drawn faces, or on real ones with DATA=fer2013.csv
demo: .venv/.demo
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/demo.sh $(DATA)

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	scripts/check_page.sh

test: check
	$(BIN)/pytest --numprocesses 2 --dist loadfile

# measure speed on drawn faces; with DATA=FILE, or a folder with test.csv and fer2013.csv, also the accuracy of the
# shipped models; about 20 minutes
bench: SHELL := /bin/bash -o pipefail
bench: $(INSTALLED)
	$(BIN)/python -m benchmarks $(DATA) | tee benchmarks/RESULTS.md

# build the documentation into site/; open site/index.html, or serve it with `python -m http.server -d site`
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# execute the scripts of examples/ on drawn faces, and write them as notebooks with their outputs
examples: $(INSTALLED)
	$(BIN)/python scripts/build_examples.py

clean:
	rm -rf .venv demo dist node_modules site
