# Two commands: `make chat` opens the chat, `make test` runs every check.
# Both set up .venv first, and again only when pyproject.toml or constraints.txt changed.
# `make soak` kills processes at random instants for minutes (KILLS=2000 for longer), and trains the real model fifty
# steps beside TRL; `make test` kills a few, and trains a tiny model.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LLAMA  := $(shell sed -n 's/^llama-cpp-python==//p' constraints.txt)

# llama.cpp is compiled here, for this CPU. GCC drops the stores that AMX's tile configuration
# reads (it thinks that _tile_loadconfig reads 8 bytes of 64), so those two passes are off.
# GPU people: make chat LLAMA_CMAKE_ARGS="-DGGML_CUDA=on" (or -DGGML_METAL=on).
LLAMA_CMAKE_ARGS ?=
export CMAKE_ARGS := -DLLAMA_BUILD_TOOLS=OFF -DLLAVA_BUILD=OFF $(LLAMA_CMAKE_ARGS)
export CXXFLAGS   := $(if $(filter Darwin,$(shell uname -s)),,-fno-tree-dse -fno-dse) $(LLAMA_CXXFLAGS)

# The compiled wheel is kept outside the checkout, by flags, compiler and CPU: pip's own cache ignores all three.
CPU    := $(shell (grep -m1 '^flags' /proc/cpuinfo 2>/dev/null || sysctl -n machdep.cpu.brand_string 2>/dev/null); c++ --version 2>/dev/null | head -1)
KEY    := $(shell printf '%s' '$(LLAMA) $(CMAKE_ARGS) $(CXXFLAGS) $(CPU)' | cksum | cut -d' ' -f1)
WHEELS := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/hone/wheels/$(KEY)

.PHONY: chat test setup lint types contracts pytest soak clean
chat: setup
	@$(BIN)/hone

setup: $(VENV)/.stamp

$(VENV)/.stamp: pyproject.toml constraints.txt
	@command -v c++ >/dev/null && command -v cmake >/dev/null || { echo "hone needs a C++ compiler and cmake: sudo apt-get install -y build-essential cmake python3-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@ls $(WHEELS)/llama_cpp_python-*.whl >/dev/null 2>&1 || { \
	  echo "Compiling llama.cpp for this CPU (a few minutes, once per machine) ..."; \
	  mkdir -p $(WHEELS) && $(BIN)/pip wheel -q --no-deps --no-cache-dir --no-binary llama-cpp-python -w $(WHEELS) llama-cpp-python==$(LLAMA); }
	@echo "Installing ..."
	@$(BIN)/pip install -q --no-deps --force-reinstall $(WHEELS)/llama_cpp_python-*.whl
	@$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

test: setup lint types contracts pytest

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

contracts:
	$(BIN)/lint-imports

# What depends on how soon a process gets its turn; the rest runs two at a time.
ALONE := tests/soak tests/storage/test_together.py
pytest:
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ALONE:%=--ignore=%)
	$(BIN)/python -m pytest $(ALONE)

KILLS ?= 200
soak: setup
	$(BIN)/python -m tests.soak.kills --kills $(KILLS)
	$(BIN)/python -m tests.soak.trajectory

clean:
	rm -rf $(VENV)
