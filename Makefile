# `make book` and `make test` set up what they need; nothing else has to be typed.
PYTHON ?= python3
BIN = .venv/bin
SETUP = .venv/.ready
# Two processes, each on one core: threads that wait for each other's cores make tiny models a hundred times slower.
QUIET_CORES = OMP_NUM_THREADS=1
# What was compiled once stays compiled: the libraries are large, and many processes import them.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: book check test test-all slow extras lint lock clean

book: $(SETUP)
	$(BIN)/ubench run
	$(BIN)/ubench build

# Style, layers, types: seconds, before anything is run.
check: $(SETUP)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

test: check
	$(QUIET_CORES) $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow" tests

test-all: test slow

# The tests that take long, and every executed page run again by nbval.
slow: $(SETUP)
	$(QUIET_CORES) $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow tests
	$(QUIET_CORES) $(BIN)/pytest -n 2 --dist loadscope --nbval-lax --nbval-current-env book

# What needs the optional extras, and a second reader of OME-TIFF to agree with.
extras: $(SETUP)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c requirements.txt -r pyproject.toml --extra microscopes bioio-ome-tiff
	$(QUIET_CORES) $(BIN)/pytest tests/collection/test_microscopes.py tests/collection/test_tiffs.py

$(SETUP): requirements.txt pyproject.toml
	$(PYTHON) -c "import sys; sys.exit('Python 3.11 or later is needed; name one with make PYTHON=...') if sys.version_info < (3, 11) else None"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	touch $(SETUP)

lint: $(SETUP)
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

lock: $(SETUP)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra test --no-emit-index-url --no-header pyproject.toml -o requirements.txt

clean:
	rm -rf _build .venv
