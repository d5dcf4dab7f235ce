# `make lab` opens the course, `make test` proves it. Both set up .venv first if that is not done.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
# Notebooks and tests run side by side, one per core: a second thread each would only make them wait for one another
ONE_THREAD := OMP_NUM_THREADS=1
# Threads that have nothing to do sleep. Spinning ones keep the cores from other programs, and from workers that open files
export OMP_WAIT_POLICY ?= PASSIVE
# Where Python may not keep what it compiles, each process compiles PyTorch and fastai anew, for half a minute
unexport PYTHONDONTWRITEBYTECODE
ROOT_USER  := $(filter 0,$(shell id -u 2>/dev/null))

# The notebooks run in nbs/, where a path relative to this folder would lead elsewhere
ifneq ($(and $(CONVLAB_DATA),$(wildcard $(CURDIR)/$(CONVLAB_DATA))),)
export CONVLAB_DATA := $(CURDIR)/$(CONVLAB_DATA)
endif

.PHONY: help env lab test check notebooks-test badges pieces notebooks export bench clean
help:
	@echo "make lab        open the course in JupyterLab, on copies in desk/ (EDIT=1: on the notebooks themselves)"
	@echo "make test       run every notebook and every test"
	@echo "make export     write the library from the notebooks"
	@echo "make notebooks  run the notebooks in a Jupyter kernel and save them (NB=03_first_cnn for one)"
	@echo "make badges     in a fork, or after changing settings.ini or nbs/index.ipynb: rewrite badges, links and README.md"
	@echo "make pieces     after changing convlab/static/*.js: put the new scripts into the saved notebooks"
	@echo "make bench      time things side by side (QUICK=1: in under three minutes)"
	@echo "make clean      remove the environment"

env:
	@$(PYTHON) tools/env.py $(VENV)

lab: env
	@$(if $(EDIT),,$(BIN)/python tools/desk.py)
	@echo "JupyterLab opens in your browser, or at the address below. Ctrl-C ends it."
	@$(BIN)/jupyter lab --ip=127.0.0.1 $(if $(ROOT_USER),--allow-root) --log-level=WARN \
		--ServerApp.root_dir=$(if $(EDIT),nbs,desk) --LabApp.default_url=/lab/tree/index.ipynb

test: check notebooks-test
	$(ONE_THREAD) $(BIN)/python -m pytest -n auto --dist worksteal tests

check: env
	$(BIN)/python tools/agree.py

notebooks-test: check
	$(ONE_THREAD) $(BIN)/nbdev-test --timing --do-print

badges: env
	$(BIN)/python tools/facts.py

pieces: env
	$(BIN)/python tools/pieces.py

notebooks: env
	$(BIN)/python tools/notebooks.py $(NB)

export: env
	$(BIN)/nbdev-export

bench: env
	$(BIN)/python bench/speed.py $(if $(QUICK),--quick)

clean:
	rm -rf $(VENV)
