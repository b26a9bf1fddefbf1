# make demo    set up and run the main job on real input
# make test    set up and run every check and test
# PYTHON=...   the Python (3.10 or later) to set up with; otherwise the first that is found

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
FRAMEWORKS := $(VENV)/frameworks
ROOMS := dsl compiler runtime backends cli client
# Two more than the two cores that are reckoned with: the tests of Slurm, which are all one worker's, and those of gangs
# wait for a good part of their time.
JOBS ?= 4

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup demo test test-fast e2e-argo lint docs manifests bench clean

setup: $(READY)

$(READY): pyproject.toml .ci/setup
	@.ci/setup

# torch, Ray, TensorFlow and the others that the tests of gangs boot. The demo and test-fast do without them.
$(FRAMEWORKS): $(READY) .ci/frameworks
	@.ci/frameworks

demo: $(READY)
	$(BIN)/flowc run examples/word_count/flow.py

# The frameworks are installed while the code is looked at.
test: $(READY)
	@$(MAKE) --no-print-directory -j 2 lint $(FRAMEWORKS)
	$(BIN)/python tests/run_all.py -n $(JOBS)

# Everything but the tests marked slow.
test-fast: $(READY)
	$(BIN)/pytest -n $(JOBS) -m "not slow" tests

# Run the semantics on a real cluster with Argo and JobSet, as docs/e2e-argo.md says. E2E="-k gang" picks tests.
e2e-argo: $(READY)
	@$(BIN)/python tests/e2e_argo/preflight.py
	$(BIN)/pytest -n 0 tests/e2e_argo/on_a_cluster.py $(E2E)

lint: $(READY)
	$(BIN)/ruff check .
	MYPYPATH=$(VENV)/src $(BIN)/mypy $(addprefix -p flowc.,$(ROOMS))
	$(BIN)/lint-imports

# Regenerate the pages of docs/ that come from the code.
docs: $(READY)
	$(BIN)/python docs/generate.py

# Compile every example anew. Its manifests hold flowc's runtime, so every change of runtime/ changes them.
manifests: $(READY)
	$(BIN)/python examples/compile.py

# Compare with Metaflow and with the floor; takes some minutes and wants a quiet machine. BENCH=name runs one.
bench: $(FRAMEWORKS)
	$(BIN)/python -m benchmarks $(BENCH)

clean:
	rm -rf $(VENV) .venvs build dist flowc.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
	find . -name .pytest_cache -prune -exec rm -rf {} +
