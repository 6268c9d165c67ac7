# make demo: a new environment, kinetoken in it, and clips from the bundled model. make test: the same, and every test.
# make toybox: the bundled model, anew and from nothing; what is stopped goes on.
PYTHON ?= python3
VENV := .venv-make
BIN := $(VENV)/bin
TORCH ?= torch==2.13.0

RUNS ?= runs/toybox
TRAIN = $(BIN)/kinetoken train
NETWORK = $(TRAIN) network --tokenizer $(RUNS)/decoding --tokens $(RUNS)/tokens

.PHONY: demo test lint toybox clean

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

demo: $(VENV)/installed
	$(BIN)/python -m kinetoken.apps.demo

test: $(VENV)/installed lint
	$(BIN)/python -m pytest

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

toybox: $(VENV)/installed
	$(TRAIN) tokenizer --recipe small --run $(RUNS)/tokenizer
	$(TRAIN) tokenizer --recipe decoding --from $(RUNS)/tokenizer --run $(RUNS)/decoding
	$(NETWORK) --recipe pictures --run $(RUNS)/pictures
	$(NETWORK) --recipe small --from $(RUNS)/pictures/model --run $(RUNS)/small
	for part in painting planning reading telling; do \
		$(NETWORK) --recipe $$part --from $(RUNS)/small/model --run $(RUNS)/$$part || exit 1; \
	done
	$(BIN)/kinetoken combine $(RUNS)/small/model $(RUNS)/painting $(RUNS)/planning $(RUNS)/reading $(RUNS)/telling \
		-o $(RUNS)/model

clean:
	rm -rf $(VENV) demo
