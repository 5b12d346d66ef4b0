#!/usr/bin/env bash
# PyTorch 2.13.0: NAdam of float64 parameters deviates from its own formula by some 1e-8 of a step. The running product
# of its momenta is a tensor of the default dtype, float32, whatever the parameters are; the two means are float64.
# With torch.set_default_dtype(torch.float64) the same 50 steps agree with the formula to 1e-15.
# One would have guessed that an optimiser's state is at least as precise as its parameters.
#
# Fails if the product becomes float64, or the deviation goes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet torch==2.13.0 numpy
"$work/venv/bin/python" - <<'PY'
import math

import torch

LR, B1, B2, EPS, DECAY, STEPS = 2e-3, 0.9, 0.999, 1e-8, 4e-3, 50


def by_formula():
    """Dozat 2016 with PyTorch's defaults, in Python's float64, for the gradients sin(t)."""
    w, m, v, product = 1.0, 0.0, 0.0, 1.0
    for t in range(1, STEPS + 1):
        g = math.sin(t)
        now, ahead = (B1 * (1 - 0.5 * 0.96 ** (s * DECAY)) for s in (t, t + 1))
        product *= now
        m, v = B1 * m + (1 - B1) * g, B2 * v + (1 - B2) * g * g
        size = math.sqrt(v / (1 - B2**t)) + EPS
        w -= LR * ((1 - now) * g / (1 - product) + ahead * m / (1 - product * ahead)) / size
    return w


def by_pytorch():
    w = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = torch.optim.NAdam([w], LR, (B1, B2), EPS, momentum_decay=DECAY)
    for t in range(1, STEPS + 1):
        w.grad = torch.tensor([math.sin(t)], dtype=torch.float64)
        optimizer.step()
    return w.item(), optimizer.state[w]["mu_product"].dtype


expected, deviations = by_formula(), {}
for default in (torch.float32, torch.float64):
    torch.set_default_dtype(default)
    value, product = by_pytorch()
    deviations[product] = abs(value - expected)
print("torch", torch.__version__, {str(dtype): f"{d:.1e}" for dtype, d in deviations.items()})
assert deviations[torch.float32] > 1e-11 and deviations[torch.float64] < 1e-13, deviations
PY
