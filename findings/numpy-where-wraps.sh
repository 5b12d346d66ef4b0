#!/usr/bin/env bash
# NumPy 2.4.6: beside an array of uint8, the Python number 300 takes the array's type, and most functions say that it does
# not fit: `+`, `maximum`, `full`, `full_like`, `copyto`, `putmask`, `ndarray.fill` and `insert` raise OverflowError.
# `where`, `choose` and `pad` take the same number, give the same type, and write 44 without a word.
# One would have guessed that a number that is refused in the sum is refused in the choice between two.
# A mask filled with a label beyond the type becomes another label: 300 is class 44.
#
# Fails if one of the three refuses the number, or one of the others takes it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import sys

import numpy as np

a, mask = np.zeros(2, np.uint8), np.array([True, False])
wraps = {
    "where": lambda: np.where(mask, 300, a),
    "choose": lambda: np.choose([1, 0], [a, 300]),
    "pad": lambda: np.pad(a[:1], (1, 0), constant_values=300),
}
refuses = {
    "+": lambda: a + 300,
    "maximum": lambda: np.maximum(a, 300),
    "full": lambda: np.full(2, 300, np.uint8),
    "full_like": lambda: np.full_like(a, 300),
    "copyto": lambda: np.copyto(a.copy(), 300),
    "putmask": lambda: np.putmask(a.copy(), mask, 300),
    "fill": lambda: a.copy().fill(300),
    "insert": lambda: np.insert(a, 0, 300),
}
print("NumPy", np.__version__)
changed = 0
for name, function in (wraps | refuses).items():
    try:
        found = function()
        print(f"{name}: {found}, {found.dtype}")
        changed += name in refuses or found.tolist() != [44, 0] or found.dtype != np.uint8
    except OverflowError as error:
        print(f"{name}: OverflowError: {error}")
        changed += name in wraps
sys.exit(changed)
PY
