# `make` alone lists the targets. Everything runs in .venv, which is filled when it is first
# needed and again when a requirement changes. PYTHON=... chooses the Python it is made with.

PY := .venv/bin/python
STAMP := .venv/installed
PYTEST := $(PY) -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder
ASK := $(PY) infer.py --run runs/demo
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)

# The embedded model is so small that a second thread waits more than it works; where another
# program wants the cores too, many times more.
export OMP_NUM_THREADS ?= 1

.PHONY: help demo test test-all check lock tiny clean

help:  ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /make \1	/p' Makefile

demo: $(STAMP)  ## train, ask and export with the embedded model: about three minutes
	@rm -rf runs/demo runs/demo-merged
	$(PY) train.py --config examples/demo.yaml --output-dir runs/demo
	@echo
	$(ASK) --file sentiment --no-adapter --output runs/demo/before.jsonl
	$(ASK) --file sentiment --output runs/demo/after.jsonl
	$(PY) examples/before_after.py runs/demo/before.jsonl runs/demo/after.jsonl
	@echo
	$(ASK) "Classify the sentiment of the text." --input "The waiter was rude to us."
	$(ASK) "分类以下文本的情感。" --input "这碗面又香又好吃。"
	@echo
	$(PY) export.py --run runs/demo --merged runs/demo-merged
	@ls -Csh runs/demo-merged
	@echo "$$NEXT"

test: $(STAMP)  ## run the tests, two files at a time
	$(PYTEST) -m "not wide"

test-all: $(STAMP)  ## the same, and the wide sweeps
	$(PYTEST)

check: $(STAMP)  ## look for mistakes and misformatted code
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

lock:  ## resolve requirements/cpu.in again
	@$(FIND_PYTHON)
	"$(PYTHON)" tools/lock.py

tiny: $(STAMP)  ## make the embedded model again
	$(PY) tools/make_tiny.py

clean:  ## remove .venv and what builds and tests leave; runs/ stays
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

define NEXT

Next, rows of your own: lines of {"instruction": "...", "output": "..."} in my.jsonl.
On this machine, for a look; the embedded model knows a few hundred words:
  .venv/bin/python train.py --config examples/demo.yaml --dataset my.jsonl
On one with a CUDA GPU, where the base is Llama 3 8B:
  python train.py --dataset my.jsonl --preview 3
  python train.py --dataset my.jsonl
  python infer.py "Your question"
  python export.py --merged my-model
endef
export NEXT

define FIND_PYTHON
"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	{ echo 'Threetoe needs Python 3.11 or newer: install one, or name it with make PYTHON=...' >&2; exit 2; }
endef

# --no-compile, because the check that follows compiles the part that is used: that is faster.
$(STAMP): requirements/cpu.txt setup.cfg pyproject.toml
	@$(FIND_PYTHON)
	@echo 'Installing into .venv: a minute or two, 2.2 GB.'
	@test -x $(PY) || "$(PYTHON)" -m venv .venv
	@$(PY) -m pip install -qq --disable-pip-version-check --no-compile --no-deps -r requirements/cpu.txt
	@$(PY) -m pip install -qq --disable-pip-version-check --no-build-isolation --no-deps -e .
	@PYTHONDONTWRITEBYTECODE= $(PY) -c 'import unsloth' > .venv/check.log 2>&1 || \
		{ tail -n 3 .venv/check.log >&2; $(PY) -m pip uninstall -q -y torch; \
		echo 'Unsloth does not load here. If torch misses CUDA libraries, take the CPU build:' >&2; \
		echo 'make PIP_EXTRA_INDEX_URL=<the CPU index from the PyTorch installation page>' >&2; exit 2; }
	@touch $(STAMP)
