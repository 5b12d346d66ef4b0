#!/usr/bin/env bash
# PyTorch 2.13.0: clamp by two equal tensors loses the gradient of what lies below them. torch.clamp(x, low, high) with
# x = 0 and low = high = 1 is 1, and nobody gets the gradient; with x = 2 it is 1, and `high` gets it. If low is less than
# high, by however little, `low` gets the gradient of x = 0.
# One would have guessed that x below both bounds sends the gradient to one of them, as x above both does: whoever moves
# the two bounds together moves the result.
#
# Fails if the three gradients change.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet torch==2.13.0 numpy
"$work/venv/bin/python" - <<'PY'
import torch


def gradients(x, low, high):
    tensors = [torch.tensor(value, requires_grad=True) for value in (x, low, high)]
    torch.clamp(*tensors).backward()
    return [tensor.grad.item() for tensor in tensors]


found = {case: gradients(*case) for case in [(0.0, 1.0, 1.0), (2.0, 1.0, 1.0), (0.0, 0.999, 1.0)]}
print("torch", torch.__version__)
for (x, low, high), row in found.items():
    print(f"clamp({x}, {low}, {high}): the gradients of x, low and high are {row}")
assert list(found.values()) == [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]], found
PY
