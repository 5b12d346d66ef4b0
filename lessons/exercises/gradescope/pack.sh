#!/usr/bin/env bash
# Make the zip that Gradescope asks for:   pack.sh ASSIGNMENT SEED [ZIP [VISIBILITY]]
# SEED draws the hidden tests' shapes and numbers: keep it to yourself.
# VISIBILITY: when students see score and hint of hidden tests: visible, after_due_date, after_published or hidden.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "pack.sh ASSIGNMENT SEED [ZIP [VISIBILITY]]: the assignments are those of \`minires new list\`; SEED is a whole number" >&2
    exit 2
fi
assignment=$1 seed=$2 zip=${3:-$1.zip}
case $zip in /*) ;; *) zip=$PWD/$zip ;; esac
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m pip wheel --quiet --no-deps --wheel-dir "$work" "$here/../../.."
cp "$here/setup.sh" "$here/run_autograder" "$work"
printf 'assignment=%s\nseed=%s\nvisibility=%s\n' "$assignment" "$seed" "${4:-visible}" >"$work/settings"
cd "$work"
python3 -m zipfile -c "$zip" setup.sh run_autograder settings minires_lab-*.whl
echo "$zip"
