# make demo   the article's story and a real training, ending in halfulp-demo.html
# make test   all tests; sets up what it needs
# make check  everything CI runs: lint, types, layers, tests, doctests, and the core alone
# make bench  measurements, as ratios within one run
# make translations  texts of the sources into the Chinese catalogue, and that into what is loaded
# make tutorial  docs/tutorial.ipynb, executed anew
# make prove  the long proof, over all inputs; goes on where it was stopped
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CORE := .venv-core
# What cannot even be imported with the core dependencies alone.
NEED_EXTRAS := src/halfulp/training src/halfulp/report src/halfulp/lab src/halfulp/backends/torch.py \
	src/halfulp/backends/jax.py tests/test_proof.py tests/test_training.py tests/test_prepared.py tests/test_emulation.py tests/test_distributed.py \
	tests/test_comparison.py tests/test_memory.py tests/test_report.py tests/test_peers.py \
	tests/test_torch.py tests/test_jax.py tests/test_examples.py tests/trainings.py tests/processes.py tests/test_linting.py tests/test_planted_faults.py tests/test_watching.py tests/test_origins.py tests/test_watching_compiled.py tests/test_watching_ranks.py tests/test_adapters.py tests/test_recorded_gradients.py \
	src/halfulp/widgets src/halfulp/explanations/markup.py src/halfulp/explanations/drawings.py src/halfulp/explanations/trajectories.py \
	tests/test_lab_guard.py tests/test_lab_safety.py tests/test_lab_numbers.py tests/test_notebook.py tests/test_widgets.py tests/test_tutorial.py tests/tutorial.py \
	tests/browser.py tests/test_lab_browser.py tests/test_lab_bits_browser.py tests/test_lab_looks_browser.py tests/test_lab_figures_browser.py

.PHONY: setup demo test browser lint core check bench translations tutorial prove lock clean

setup: $(READY)

# The lock holds exact versions of everything; the project itself is installed in place.
$(READY): requirements/lock.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || (echo "halfulp needs Python 3.11 or newer: make PYTHON=python3.12"; exit 1)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements/lock.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(READY)

demo: $(READY)
	$(BIN)/halfulp demo

test: $(READY) browser
	$(BIN)/pytest -n auto --maxprocesses 4

# The lab's tests need a browser: one that is here, else playwright's own is fetched.
browser: $(READY)
	@for name in $$HALFULP_BROWSER chromium chromium-browser google-chrome; do \
	  command -v "$$name" >/dev/null && exit 0; done; \
	$(BIN)/playwright install --with-deps --only-shell chromium

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The same tests with the core dependencies alone: no torch, no extras.
core: $(CORE)/.ready
	$(CORE)/bin/pytest -n auto --maxprocesses 4 -m "not extra" $(addprefix --ignore=,$(NEED_EXTRAS))

$(CORE)/.ready: requirements/lock.txt pyproject.toml
	$(PYTHON) -m venv $(CORE)
	$(CORE)/bin/pip install --quiet --disable-pip-version-check -c requirements/lock.txt -e . pytest pytest-xdist hypothesis
	touch $(CORE)/.ready

check: lint core test

bench: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements/peers.txt
	$(BIN)/pytest benchmarks --benchmark-only -q -s

# New texts arrive in the .po with nothing below them: translate them there, and make it once more.
# It is compiled without pybabel, which takes "% of" for a format; tests/test_language.py looks closer.
LOCALE := src/halfulp/locale
COMPILE := from babel.messages import mofile, pofile; import sys; \
	mofile.write_mo(open(sys.argv[2], "wb"), pofile.read_po(open(sys.argv[1], "rb"), locale="zh"))
translations: $(READY)
	mkdir -p build
	$(BIN)/pybabel -q extract -F pyproject.toml --no-default-keywords -k "_ N_ told in_context:1c,2 plural:1,2 told_many:1,2" \
		--add-location=file --no-wrap -o build/halfulp.pot src/halfulp
	$(BIN)/pybabel -q update -D halfulp -l zh -i build/halfulp.pot -d $(LOCALE) \
		--no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date --no-wrap
	$(BIN)/python -c '$(COMPILE)' $(LOCALE)/zh/LC_MESSAGES/halfulp.po $(LOCALE)/zh/LC_MESSAGES/halfulp.mo

tutorial: $(READY)
	$(BIN)/python tests/tutorial.py

prove: $(READY)
	$(BIN)/python -m proof --markdown docs/proof.md

# Renew the lock from requirements/direct.txt, in an environment of its own.
lock:
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet --disable-pip-version-check -r requirements/direct.txt
	(echo "# Exact versions for make setup; written by make lock from direct.txt."; \
	 .venv-lock/bin/pip freeze --disable-pip-version-check | sed 's/+cpu$$//') > requirements/lock.txt
	rm -rf .venv-lock

clean:
	rm -rf $(VENV) $(CORE) .venv-lock .pytest_cache .mypy_cache .ruff_cache .benchmarks .proof
