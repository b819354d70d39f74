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

# the whole road on drawn faces, or on real ones: make demo DATA=fer2013.csv
demo: $(INSTALLED)
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/demo.sh $(DATA)

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	$(BIN)/pytest --numprocesses 2 --dist loadfile

# speed on drawn faces, and with real ones the accuracy of what ships: make bench DATA=fer2013.csv; some 20 minutes
MEASURED := read_csv score_csv memory train attribute scale_ray
bench: SHELL := /bin/bash -o pipefail
bench: $(INSTALLED)
	{ $(BIN)/python benchmarks/_side_by_side.py && for name in $(MEASURED); do \
	$(BIN)/python benchmarks/$$name.py || exit 1; done && $(BIN)/python benchmarks/accuracy.py $(DATA); } \
	| tee benchmarks/RESULTS.md

clean:
	rm -rf .venv demo dist
