#!/bin/sh
# Make .venv and install the locked packages: setup.sh requirements.txt|requirements-dev.txt
# What is missing on the machine is named with its Debian package.
set -eu

cd "$(dirname "$0")/.."
requirements=$1

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for name in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null 2>&1 && new_enough "$name"; then
            echo "$name"
            return
        fi
    done
    echo "Holdfast needs Python 3.11 or newer, and there is none on this machine." >&2
    echo "On Debian: apt-get install python3 python3-venv" >&2
    exit 1
}

make_venv() {
    python=$(find_python)
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        echo "This Python can't make virtual environments." >&2
        echo "On Debian: apt-get install python3-venv" >&2
        exit 1
    fi
    "$python" -m venv .venv
}

# A folder that was moved, or whose Python is gone, is made anew.
if ! .venv/bin/python -c 'import sys; sys.exit(sys.prefix == sys.base_prefix)' \
        2>/dev/null || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    echo "Making the virtual environment in .venv"
    rm -rf .venv
    make_venv
fi

echo "Installing the packages of $requirements"
.venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --require-hashes --requirement "$requirements"
