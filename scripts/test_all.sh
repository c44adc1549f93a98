#!/bin/sh
# Runs `make test` with every interpreter that is found, on PATH or with pyenv, each in a virtual
# environment of its own; the newest patch of a version stands for it. Fails when one of them fails.
set -eu

found=""
for version in 3.11 3.12 3.13 3.13t 3.14 3.14t 3.15 3.15t; do
    python=""
    for candidate in "$(command -v "python$version" || true)" \
        $(ls -d "${PYENV_ROOT:-$HOME/.pyenv}/versions/${version%t}."*"/bin/python$version" 2>/dev/null | sort -rV); do
        # A shim of pyenv is on PATH for versions that are not selected, and then runs nothing.
        if [ -n "$candidate" ] && "$candidate" -c 'import venv' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    [ -z "$python" ] || found="$found $version=$python"
done
[ -n "$found" ] || { echo "no Python 3.11 or newer was found" >&2; exit 1; }

summary=""
status=0
for pair in $found; do
    echo "== Python ${pair%%=*}: ${pair#*=}"
    if make test PYTHON="${pair#*=}" VENV=".venv-${pair%%=*}"; then
        summary="$summary ${pair%%=*}:passed"
    else
        summary="$summary ${pair%%=*}:FAILED"
        status=1
    fi
done
echo "==$summary"
exit $status
