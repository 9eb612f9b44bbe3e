# Every command works on a fresh checkout: it first installs what it needs into .venv.
# PYTHON=...  the Python to use (3.10, 3.11 or 3.12); searched for if not given
# ARGS=...    extra arguments, for example: make test ARGS="-k smoothing -x"

SHELL := /bin/sh
VENV := .venv
STAMP := $(VENV)/.installed
PEERS := .peers
RUN := $(VENV)/bin

# Keep byte code whatever the environment says: the tests start Python hundreds of times.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test chaos lint bench lock clean
.DEFAULT_GOAL := help

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## install the locked versions into .venv

demo: $(STAMP) ## real readings through a real flow, in this terminal, about 20 s
	@$(RUN)/ewma demo $(ARGS)

test: $(STAMP) ## all tests; those on Apache Kafka need a JVM with Maven, or EWMA_KAFKA=host:port
	@$(RUN)/python -m pytest $(ARGS)

chaos: $(STAMP) ## kill the flow more than 500 times, in every mode; longer with ARGS="--soak 30"
	@$(RUN)/python -m tests.chaos $(ARGS)

lint: $(STAMP) ## style, format, spelling and types
	@$(RUN)/ruff check .
	@$(RUN)/ruff format --check .
	@$(RUN)/codespell
	@$(RUN)/mypy

bench: $(STAMP) $(PEERS)/.installed ## measure the README's figures; Java, Maven and Go add more peers
	@EWMA_PEERS=$(PEERS)/bin/python $(RUN)/python -m tests.bench

$(PEERS)/.installed: pyproject.toml
	@$(RUN)/python -m venv --clear $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(PEERS)/bin/python -m pip install --quiet --group bench
	@touch $@

lock: $(STAMP) ## resolve the locked versions again
	@$(RUN)/python -m pip install --quiet uv
	@$(COMPILE) --extra test --output-file requirements.lock pyproject.toml
	@echo setuptools | $(COMPILE) $(RUNTIME) --constraint requirements.lock \
		--output-file requirements-run.lock pyproject.toml -
	@sed -n 's/^ZIGLANG = "\(.*\)".*/\1/p' setup.py \
		| $(COMPILE) --output-file requirements-compiler.lock -

RUNTIME = --extra avro --extra codecs --extra protobuf

COMPILE = $(RUN)/uv pip compile --quiet --upgrade --universal --python-version 3.10 \
	--generate-hashes --no-header --no-emit-index-url --no-annotate

clean: ## remove what was installed and built
	rm -rf $(VENV) $(PEERS) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): requirements.lock requirements-compiler.lock pyproject.toml setup.py
	@$(FIND_PYTHON); \
	echo "setting up $(VENV) with $$python (a minute or two, once)"; \
	"$$python" -m venv --clear $(VENV)
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes --requirement requirements.lock
	@command -v $${CC:-cc} >/dev/null || $(RUN)/python -m pip install --quiet \
		--disable-pip-version-check --require-hashes --requirement requirements-compiler.lock
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check \
		--no-deps --no-build-isolation --editable .
	@touch $@

# Sets $$python to the first suitable one, or explains why none is.
define FIND_PYTHON
python=; why=; \
for candidate in $(if $(PYTHON),"$(PYTHON)",python3.12 python3.11 python3.10 python3); do \
	found=`"$$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null` \
		|| { why="$$why; $$candidate: not found"; continue; }; \
	case $$found in 3.10|3.11|3.12) ;; *) \
		why="$$why; $$candidate: is Python $$found"; continue;; esac; \
	"$$candidate" -c 'import venv, ensurepip' 2>/dev/null \
		|| { why="$$why; $$candidate: lacks venv (on Debian: apt install python$$found-venv)"; continue; }; \
	python=$$candidate; break; \
done; \
if [ -z "$$python" ]; then \
	echo "ewma_ops needs Python 3.10, 3.11 or 3.12 with venv, and found none$$why." >&2; \
	echo "Install one, or name its path: make setup PYTHON=/path/to/python3.12" >&2; \
	exit 1; \
fi
endef
