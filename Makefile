# make quickstart [METHOD=mae] [DATA=path/to/images] [SEED=0]   see BEiT or MAE work, in minutes
# make test                                              what CI runs, but for the slowest tests
# make test-slow                                         those: several processes, kills, whole runs
# make docs                                              the site, into work_dirs/site
# make test-openmmlab                                    the tests on the original OpenMMLab stack
PYTHON ?= python3
VENV ?= .venv
PYTHON310 ?= python3.10
VENV_OPENMMLAB ?= .venv-openmmlab
SEED ?= 0
METHOD ?= beit
# In one process: make test PARALLEL=
# All tests in one go: make test MARKS=
MARKS ?= -m 'not slow'
PARALLEL ?= -n 2 --dist loadfile --no-loadscope-reorder --durations 15

.PHONY: quickstart test test-slow docs install install-openmmlab test-openmmlab

# Stamps, so that a second `make` does not install again unless requirements changed.
$(VENV)/installed: requirements.txt setup.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q -U pip
	$(VENV)/bin/pip install -r requirements.txt
	$(VENV)/bin/pip install -q -e '.[quickstart]'
# opencv-python needs the system's OpenGL, which a server may not have.
	$(VENV)/bin/python -c 'import cv2' 2>/dev/null || \
		$(VENV)/bin/pip install -q --force-reinstall --no-deps opencv-python-headless
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(VENV)/bin/pip install -q -e '.[test]'
	touch $@

install: $(VENV)/installed

quickstart: $(VENV)/installed
	$(VENV)/bin/python tools/quickstart.py --seed $(SEED) --method $(METHOD) $(if $(DATA),--data '$(DATA)')

test: $(VENV)/installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest $(PARALLEL) $(MARKS)
# What runs another way on a GPU; no other test sees one.
	if command -v nvidia-smi >/dev/null; then $(VENV)/bin/python -m pytest -m cuda tests/cuda; fi

test-slow: $(VENV)/installed-test
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest $(PARALLEL) -m slow

# Fails on a warning: a broken link, a docstring that cannot be read.
docs: $(VENV)/installed-test
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

# torch 2.1 is what mmcv 2.1.0 is made for; it builds from source, in about 7 minutes on 2 cores.
# FORCE_CUDA=1 compiles its CUDA operators, which nothing here needs.
FORCE_CUDA ?= 0
$(VENV_OPENMMLAB)/installed: setup.py
	$(PYTHON310) -m venv $(VENV_OPENMMLAB)
	$(VENV_OPENMMLAB)/bin/pip install -q -U pip
	$(VENV_OPENMMLAB)/bin/pip install -q 'setuptools<70' wheel ninja psutil \
		torch==2.1.2 torchvision==0.16.2 'numpy<2'
	MMCV_WITH_OPS=1 FORCE_CUDA=$(FORCE_CUDA) $(VENV_OPENMMLAB)/bin/pip install -q \
		--no-build-isolation mmcv==2.1.0 'opencv-python<5'
	$(VENV_OPENMMLAB)/bin/pip install -q -e '.[openmmlab,quickstart]'
	touch $@

install-openmmlab: $(VENV_OPENMMLAB)/installed

# Newer versions of transformers do without torch 2.1.
test-openmmlab: $(VENV_OPENMMLAB)/installed
	$(VENV_OPENMMLAB)/bin/pip install -q -e '.[openmmlab,test]' 'transformers<4.50'
	OMP_NUM_THREADS=1 $(VENV_OPENMMLAB)/bin/python -m pytest $(PARALLEL)
