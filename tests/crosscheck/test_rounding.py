"""No float32 sum rounds more than four times as much as PyTorch's, of contiguous arrays, wherever it is taken."""

import numpy as np
import pytest
from rounding import CASES, errors, measure, minires

import minires as mr
from minires.nn import functional as F

torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is needed only to compare with it")


def tensor(a):
    return torch.tensor(np.array(a, order="C"), requires_grad=True)


def measured(name, seeds=(0, 1, 2)):
    """{result: (ours, theirs)}, each the (largest, root mean square) error over all seeds."""
    table = {}
    for seed in seeds:
        arrays = CASES[name].arrays(seed)
        exact = measure(CASES[name], [a.astype(np.float64) for a in arrays], torch, torch.nn.functional, tensor)
        ours = measure(CASES[name], arrays, mr, F, minires)
        theirs = measure(CASES[name], arrays, torch, torch.nn.functional, tensor)
        for result, pair in errors(ours, exact).items():
            table.setdefault(result, []).append((pair, errors(theirs, exact)[result]))
    return {
        result: [
            (max(largest), np.sqrt(np.mean(np.square(rms)))) for largest, rms in (zip(*side) for side in zip(*rows))
        ]
        for result, rows in table.items()
    }


@pytest.mark.parametrize("name", CASES)
def test_at_most_four_times_pytorch_s_error(name):
    torch.set_num_threads(1)
    for result, (ours, theirs) in measured(name).items():
        for kind, own, other in zip(("largest", "root mean square"), ours, theirs):
            assert own <= 4 * other, f"{name}, {result}: {kind} error {own:.1e}, PyTorch's {other:.1e}"


if __name__ == "__main__":  # the table
    for name in CASES:
        for result, (ours, theirs) in measured(name).items():
            cells = "  ".join(f"{own:.1e} / {other:.1e} = {own / other:4.1f}" for own, other in zip(ours, theirs))
            print(f"{name + ', ' + result:70s} largest, rms: {cells}")
