# Everything a person or a machine needs: `make demo`, `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-long check lint types sshd test-compose test-systemd bench soak docs made pictures dist clean

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@

demo: $(STAMP)
	$(BIN)/tunnels demo

# Most of a test is waiting for processes to start: six at a time, also on two cores. `make test JOBS=0` is one
# after the other.
JOBS ?= 6

# Without bytecode each of them would compile every test for itself.
test: export PYTHONDONTWRITEBYTECODE =
test: $(STAMP) sshd
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not long"

# The rest of the tests: megabytes, crowds, browsers, networks and servers that break, logins with many questions, case after case beside ssh.
test-long: export PYTHONDONTWRITEBYTECODE =
test-long: $(STAMP) sshd
	@tests/e2e/need_browsers.sh
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m long

check: lint types

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(STAMP)
	$(BIN)/mypy

# The end-to-end tests talk to a real OpenSSH server.
sshd:
	@tests/e2e/need_sshd.sh

# The same end-to-end tests against the servers of docker-compose.test.yml.
test-compose: $(STAMP)
	PYTHON=$(BIN)/python tests/e2e/run_compose.sh

# The service under a real `systemd --user`, in namespaces of its own. Needs root, and no systemd as process 1.
test-systemd: $(STAMP) sshd
	PYTHON=$(BIN)/python tests/e2e/run_systemd_user.sh

# The pages of docs/ as a site in site/. A link that leads nowhere is an error.
docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# What is made from the program: reference pages, the manual page, completions. A test compares.
made: $(STAMP)
	$(BIN)/python -m tools.made

# The pictures of docs/pictures, from real commands on a terminal. Needs sshd.
pictures: $(STAMP) sshd
	$(BIN)/python -m tools.pictures

# The wheel and the sdist in dist/.
dist: $(STAMP)
	$(BIN)/python -m pip install --quiet build
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Every figure of the design's section 5 beside ssh, a quarter of an hour. `make bench WHAT=throughput` for one of
# them, `JSON=file` for all samples, `MARKDOWN=file` for the table of docs/performance.md, `QUICK=1` to see whether
# it works.
bench: $(STAMP)
	$(BIN)/python -m bench $(WHAT) $(if $(JSON),--json $(JSON)) $(if $(MARKDOWN),--markdown $(MARKDOWN)) $(if $(QUICK),--quick)

# An hour of cuts in a network of namespaces (Linux, root): `make soak MINUTES=60`.
MINUTES ?= 60
soak: $(STAMP)
	$(BIN)/python -m bench.soak $(MINUTES)
