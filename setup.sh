#!/bin/sh
# Prepares .venv with the pinned packages and this project in it; does nothing when that was done before and neither
# the place nor what is wanted has changed. With --tests it also sees to the browser that the page tests drive, to the
# Redis server and the HAProxy of the relay's tests and to the compiler for the load reader of the benchmarks, with --wine
# to what runs Windows programs in the tests of Windows.
# PYTHON names the interpreter to use instead of python3.11 or python3.
set -eu
cd -- "$(dirname -- "$0")"

fail() {
    echo "$*" >&2
    exit 1
}

# debian PACKAGES (one word): only root can install them, anybody else is told how.
debian() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing $1"
        apt-get update -qq </dev/null
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $1 </dev/null
    else
        fail "Missing: $1. On Debian and Ubuntu: sudo apt-get install $1"
    fi
}

# A command that exists may still not run, such as a shim of a version manager.
new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

usable() {
    new_enough .venv/bin/python && .venv/bin/python -c 'import pip' 2>/dev/null
}

create() {
    for candidate; do
        if new_enough "$candidate"; then
            "$candidate" -c 'import ensurepip' 2>/dev/null ||
                debian "$("$candidate" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
            "$candidate" -m venv --clear .venv
            return
        fi
    done
    fail "Python 3.11 or newer is needed, and none of these is: $* (make setup PYTHON=... names another)"
}

install() {
    .venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check --constraint constraints.txt "$@"
}

# The place belongs to it, since the project is installed as a link to it.
wanted() {
    pwd
    cat pyproject.toml clients/py/pyproject.toml constraints.txt
}

if ! usable || ! wanted | cmp -s - .venv/set-up; then
    echo "Setting up .venv"
    usable || if [ -n "${PYTHON:-}" ]; then create "$PYTHON"; else create python3.11 python3; fi
    install pip
    install --build-constraint constraints.txt --editable '.[dev]' --editable clients/py
    wanted >.venv/set-up
fi

# A compiler without the headers of the C library is of no use.
compiles() {
    echo '#include <stdio.h>' | "$1" -E - >/dev/null 2>&1
}

if [ "${1:-}" = --tests ]; then
    command -v chromium >/dev/null || debian chromium
    command -v redis-server >/dev/null || debian redis-server
    command -v haproxy >/dev/null || [ -x /usr/sbin/haproxy ] || debian haproxy # not everybody's PATH has sbin
    compiles gcc || compiles cc || debian "gcc libc6-dev"
fi

if [ "${1:-}" = --wine ]; then
    missing=
    [ -x /usr/lib/wine/wine64 ] || missing="wine64"
    command -v wineserver >/dev/null || missing="wine $missing"
    command -v x86_64-w64-mingw32-ld >/dev/null || missing="$missing binutils-mingw-w64-x86-64"
    [ -z "$missing" ] || debian "$(echo $missing)"
fi
