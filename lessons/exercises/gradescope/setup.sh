#!/usr/bin/env bash
# Gradescope runs this once, as root, when the autograder's image is built: Python, minires, and a user without rights.
set -euo pipefail
root=${AUTOGRADER_ROOT:-/autograder}
user=${AUTOGRADER_USER:-student}

as_user=()
if [ "$(id -u)" = 0 ]; then
    id "$user" >/dev/null 2>&1 || useradd --no-create-home --shell /usr/sbin/nologin "$user"
    as_user=(setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups)
fi

# The first Python of at least 3.11 that the user, too, may run; one in root's home is of no use. It is the shell that
# starts it, as the user: setpriv itself still has root's rights when it does.
find_python() {
    local candidate
    for candidate in $(type -aP python3.14 python3.13 python3.12 python3.11 python3); do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' &&
            (cd / && "${as_user[@]}" sh -c 'exec "$0" -c ""' "$candidate"); then
            echo "$candidate"
            return
        fi
    done 2>/dev/null
    return 1
}
if ! python=$(find_python); then
    apt-get update
    apt-get install -y python3.11 python3.11-venv
    python=$(find_python)
fi

"$python" -m venv "$root/venv"
"$root/venv/bin/python" -m pip install --no-cache-dir "$root"/source/minires_lab-*.whl
