# What a newcomer runs; `make help` lists it. PYTHON, EXTRAS, PICTURES, HELD_OUT and TRAIN can be set on the line.
PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= train,cpu,rtx,openvino,parquet,plot,report,retrieval,ray,serve,serve-grpc,remote,dev
PICTURES ?= 3000
HELD_OUT ?= 500
TRAIN ?=
OPS ?= alexnet/ops/alexnet_ops.so
CXX ?= g++
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup data train test test-slow test-gpu test-browser lint format typed ops benchmark benchmark-gpu clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED)  ## create .venv from the pinned constraints

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Error: Python %d.%d found, 3.11 or newer expected; run: make PYTHON=python3.11 setup" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

data: $(INSTALLED)  ## draw the embedded pictures: data/quickstart and images/
	$(BIN)/alexnet data make data/quickstart --train $(PICTURES) --val $(HELD_OUT)
	$(BIN)/alexnet data make images --flat 100

train: data  ## train the quickstart recipe on the embedded pictures (minutes)
	$(BIN)/alexnet train --recipe quickstart --data data/quickstart $(TRAIN)

test: $(INSTALLED)  ## run the quick tests
	$(BIN)/python -m pytest -n 2

test-slow: $(INSTALLED)  ## run the tests that take minutes
	$(BIN)/python -m pytest -m slow

test-gpu: $(INSTALLED)  ## run the tests that need an NVIDIA GPU
	$(BIN)/python -m pytest -m gpu

test-browser: $(INSTALLED)  ## open the pages in Chromium, which is installed if it is missing
	.ci/chromium
	$(BIN)/python -m pytest -m browser

lint: $(INSTALLED) typed  ## ruff, strict mypy and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=build/typed $(BIN)/mypy -p alexnet
	MYPYPATH=build/typed $(BIN)/mypy benchmarks
	cd build/typed && PYTHONPATH=. ../../$(BIN)/lint-imports ../../pyproject.toml

# mypy and the import linter follow packages by folder, which only an installed copy has.
typed: $(INSTALLED)
	rm -rf build/typed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target build/typed .

format: $(INSTALLED)  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

ops: $(OPS)  ## build the ONNX Runtime library that serves models exported with --lrn plugin

$(OPS): $(wildcard alexnet/ops/*.cc alexnet/ops/*.h)
	$(CXX) -std=c++17 -O3 -fno-math-errno -fno-trapping-math -fvisibility=hidden -fPIC -shared -Wall -Wextra \
		-I alexnet/ops/onnxruntime alexnet/ops/library.cc -o $@.part
	mv $@.part $@

benchmark: $(INSTALLED)  ## measure the headline numbers
	$(BIN)/python benchmarks/embedded_pictures.py
	$(BIN)/python benchmarks/runtime.py

benchmark-gpu: $(INSTALLED)  ## measure training and inference on an NVIDIA GPU
	$(BIN)/python benchmarks/train.py
	$(BIN)/python benchmarks/runtime.py --gpu

clean:  ## remove builds and caches; data, runs and .venv stay
	rm -rf build dist alexnet/ops/*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
