#!/usr/bin/env bash
# Gradescope runs this once, as root, when the autograder's image is built: Python, minires, and a user without rights.
set -euo pipefail
root=${AUTOGRADER_ROOT:-/autograder}
user=${AUTOGRADER_USER:-student}

python=""
for candidate in python3.14 python3.13 python3.12 python3.11 python3; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    apt-get update
    apt-get install -y python3.11 python3.11-venv
    python=python3.11
fi

"$python" -m venv "$root/venv"
"$root/venv/bin/python" -m pip install --no-cache-dir "$root"/source/minires-*.whl
if [ "$(id -u)" = 0 ] && ! id "$user" >/dev/null 2>&1; then
    useradd --no-create-home --shell /usr/sbin/nologin "$user"
fi
