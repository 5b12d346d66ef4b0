#!/usr/bin/env bash
# PyTorch 2.13.0: inside torch.autograd.graph.save_on_cpu, an in-place addition gives a wrong gradient without an error.
# For y = sigmoid(x); y += x, PyTorch normally refuses to go back: sigmoid has saved its result, which the addition
# overwrites. With save_on_cpu, described as storing saved tensors on the CPU until backward, there is no error, and
# sigmoid's derivative is computed from the overwritten numbers: at x = 3, -10.7 instead of 1.05.
# On the CPU nothing is moved, so the saved tensor still is the one that the addition writes; its version is not checked.
# Anybody who writes a residual block with `out += x` meets this.
#
# Fails if the gradient becomes right, or the error comes back.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet torch==2.13.0 numpy
"$work/venv/bin/python" - <<'PY'
import contextlib

import torch

values = torch.tensor([1.0, -2.0, 3.0])
s = values.sigmoid()
right = s * (1 - s) + 1


def gradient(where):
    x = values.clone().requires_grad_()
    with where:
        y = torch.sigmoid(x)
        y += x
    y.sum().backward()
    return x.grad


print("torch", torch.__version__)
try:
    gradient(contextlib.nullcontext())
    raise SystemExit("no error without save_on_cpu")
except RuntimeError as error:
    print("plain:", str(error)[:75], "…")
found = gradient(torch.autograd.graph.save_on_cpu())
print("save_on_cpu:", found.tolist(), "; right:", right.tolist())
assert (found - right).abs().max() > 1, found
PY
