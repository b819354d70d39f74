# One command each: `make demo`, `make test`, `make check`, `make bench`. Everything lives in .venv.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: install demo test check bench clean

install: $(INSTALLED)

# --quiet, since what matters about an installation is whether it failed
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

# what the demo needs is installed only where `make install` has not been run: a third of what the tests need
.venv/.demo: pyproject.toml constraints.txt
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	@echo "Installing PyTorch, ONNX Runtime and Captum into .venv; a download of some hundred megabytes, once"
	@[ -e $(INSTALLED) ] || $(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --editable '.[explain]'
	@touch $@

# from faces to a report on drawn faces, or on real ones: make demo DATA=fer2013.csv
demo: .venv/.demo
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/demo.sh $(DATA)

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	$(BIN)/pytest --numprocesses 2 --dist loadfile

# speed on drawn faces, or on real ones, and then also the accuracy of the shipped models: make bench DATA=FILE, or a
# folder with test.csv and fer2013.csv; some 20 minutes
bench: SHELL := /bin/bash -o pipefail
bench: $(INSTALLED)
	$(BIN)/python -m benchmarks $(DATA) | tee benchmarks/RESULTS.md

clean:
	rm -rf .venv demo dist
