#!/usr/bin/env bash
# PyTorch 2.13.0: who gets the gradient of a largest value that is NaN depends on the function.
#   max(dim) gives it to the first NaN, max_pool2d, over the same four numbers, to the last one;
#   max() shares it among the NaNs, amax() makes every entry's gradient NaN;
#   maximum(a, b) sends a and b the whole gradient each, also the one that is no NaN, but half of it to each at a tie.
# One would have guessed that all of them have one convention, as they have for numbers.
#
# Fails if any of these changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet torch==2.13.0 numpy
"$work/venv/bin/python" - <<'PY'
import torch

NAN = float("nan")
VALUES = [1.0, NAN, 3.0, NAN]


def gradients(function, *inputs):
    tensors = [torch.tensor(values, requires_grad=True) for values in inputs]
    function(*tensors).sum().backward()
    return [tensor.grad.flatten().tolist() for tensor in tensors]


found = {
    "max(dim)": gradients(lambda x: x.max(0).values, VALUES),
    "max_pool2d": gradients(lambda x: torch.nn.functional.max_pool2d(x.reshape(1, 2, 2), 2), VALUES),
    "max()": gradients(torch.max, VALUES),
    "amax()": [[str(g) for g in row] for row in gradients(torch.amax, VALUES)],
    "maximum": gradients(torch.maximum, [NAN, 1.0], [1.0, 1.0]),
}
print("torch", torch.__version__)
for name, row in found.items():
    print(f"{name:>10}: {row}")
assert found == {
    "max(dim)": [[0.0, 1.0, 0.0, 0.0]],
    "max_pool2d": [[0.0, 0.0, 0.0, 1.0]],
    "max()": [[0.0, 0.5, 0.0, 0.5]],
    "amax()": [["nan"] * 4],
    "maximum": [[1.0, 0.5], [1.0, 0.5]],
}, found
PY
