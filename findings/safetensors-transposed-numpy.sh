#!/usr/bin/env bash
# safetensors 0.8.0: safetensors.numpy.save and save_file write an array in Fortran order, such as a.T, in the order it
# has in memory, under the shape it has: read again, it holds other numbers in other places, and nothing is said.
# In 0.7.0 and all versions tried before (0.4.0, 0.5.3, 0.6.2) the same array came back as it was.
# One would have guessed that an array comes back equal, or that it is refused, as a PyTorch tensor like it is.
#
# Fails if 0.8.0 gives the array back, or raises an error; or if 0.7.0 no longer gives it back.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
for version in 0.7.0 0.8.0; do
    "$work/venv/bin/python" -m pip install --quiet "safetensors==$version" numpy==2.4.6
    "$work/venv/bin/python" - <<'PY'
import numpy as np
import safetensors
import safetensors.numpy

a = np.arange(6, dtype=np.float32).reshape(2, 3)
back = {}
for name, array in {"C order": a, "a.T": a.T}.items():
    back[name] = safetensors.numpy.load(safetensors.numpy.save({"a": array}))["a"]
print("safetensors", safetensors.__version__, "a.T:", a.T.tolist(), "written and read:", back["a.T"].tolist())
assert np.array_equal(back["C order"], a)
assert np.array_equal(back["a.T"], a.T) == (safetensors.__version__ == "0.7.0")
PY
done
