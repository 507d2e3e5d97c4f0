# make quickstart [DATA=path/to/class/folders] [SEED=0]   see BEiT work, in minutes
# make test                                              everything that CI runs
PYTHON ?= python3
VENV ?= .venv
SEED ?= 0

.PHONY: quickstart test install

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
	$(VENV)/bin/python tools/quickstart.py --seed $(SEED) $(if $(DATA),--data '$(DATA)')

test: $(VENV)/installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/python -m pytest
