#!/usr/bin/env bash
# Usage: python.sh PYTHON VENV. Makes a virtual environment, or says in words why it cannot.
set -eu
python=$1 venv=$2

if ! command -v "$python" >/dev/null 2>&1; then
    echo "mergelab: there is no '$python' here. Install Python 3.11, 3.12 or 3.13, or name one: make lab PYTHON=python3.12" >&2
    exit 1
fi
if "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    python=$venv/bin/python made=yes
fi
if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; then
    echo "mergelab: $("$python" --version 2>&1) ($python) is not one of the versions mergelab runs on: 3.11, 3.12, 3.13." >&2
    echo "Name another one: make lab PYTHON=python3.12 (after 'make clean' if $venv was made with the wrong one)." >&2
    exit 1
fi
[ -z "${made:-}" ] || exit 0
if ! "$python" -m venv --clear "$venv"; then
    echo "mergelab: '$python -m venv' failed. On Debian and Ubuntu install python3-venv; elsewhere use a Python that comes with venv." >&2
    exit 1
fi
