#!/usr/bin/env bash
# PyTorch 2.13.0: whether torch.autograd.grad returns what a hook made of a gradient depends on what else is asked for.
# With y = 3x, z = y² at x = 1 and a hook on y that adds 1, grad(z, y) is 7, the hook's result. grad(z, (x, y)) gives 6
# for y, the gradient before the hook, while the gradient of x, 21 = 3·7, comes from after it.
# One would have guessed that asking for x too does not change the gradient of y.
#
# Fails if the three gradients change.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet torch==2.13.0 numpy
"$work/venv/bin/python" - <<'PY'
import torch


def gradients(*names):
    x = torch.tensor(1.0, requires_grad=True)
    y = 3 * x
    y.register_hook(lambda gradient: gradient + 1)
    wanted = [{"x": x, "y": y}[name] for name in names]
    return [gradient.item() for gradient in torch.autograd.grad(y**2, wanted)]


found = [gradients("y"), gradients("x"), gradients("x", "y")]
print("torch", torch.__version__)
print("grad(z, y):", found[0], " grad(z, x):", found[1], " grad(z, (x, y)):", found[2])
assert found == [[7.0], [21.0], [21.0, 6.0]], found
PY
