"""Skip or branch: record what comes back to a residual block's input along each, and read who carried the gradient.

A residual block computes ``relu(block.branch(x) + block.shortcut(x))``. Its input is used twice, so two gradients come
back to it, and what the block hands on is their sum: total = skip + branch, arrays of the shape of x.

Part "record" (8 points): record, the two summands, for any block with ``branch`` and ``shortcut``.
Part "shares" (6 points): shares and cosine, what each contributed to the total.
Part "who" (6 points): who, the verdict on a block. It is asked about blocks with branches of all sizes.

The library's ``mr.flow.record`` does this for whole networks; do it without. Two ways: give branch and shortcut a
tensor of their own, or write a recorder: ``mr.autograd.Recorder`` says how, in ten lines.
Run this file to check yourself; ``minires grade skip_or_branch.py`` for points.
"""

import numpy as np

import minires as mr


def record(block, x, grad_output):
    """What comes back to the block's input, as a dictionary of arrays {"skip": …, "branch": …, "total": …}.

    x (N, C, H, W) and grad_output, of the shape of the block's output, are arrays; so are the results, like x.
    """
    raise NotImplementedError('part "record"')


def shares(skip, branch):
    """(the skip's share, the branch's share) of total = skip + branch: ⟨part, total⟩ / ‖total‖², two numbers.

    They add up to 1. One is negative if it points against the total. Both are 0 if the total is 0.
    """
    raise NotImplementedError('part "shares"')


def cosine(skip, branch):
    """The cosine of the angle between the two, ⟨skip, branch⟩ / (‖skip‖·‖branch‖); 0 if one of them is 0."""
    raise NotImplementedError('part "shares"')


def who(block, x, grad_output):
    """ "skip" or "branch", whichever has a share of more than two thirds of the total; "both" if neither has."""
    raise NotImplementedError('part "who"')


if __name__ == "__main__":
    from minires.coursework import try_out

    rng = np.random.default_rng(0)
    block, x = mr.models.ResidualBlock(3, 3).double(), rng.standard_normal((2, 3, 6, 6))
    g = rng.standard_normal(x.shape)

    def error():
        found = record(block, x, g)
        return np.abs(found["skip"] + found["branch"] - found["total"]).max()

    def with_a_branch_of(gamma):
        mr.nn.init.constant_(block.bn2.weight, gamma)
        return who(block, x, g)

    try_out(
        {
            "record, largest |skip + branch − total|": error,
            "shares of (2, 0) and (0, 1), to be 0.8 and 0.2": lambda: shares(np.array([2.0, 0]), np.array([0, 1.0])),
            "cosine of (1, 0) and (−1, 0), to be −1": lambda: cosine(np.array([1.0, 0]), np.array([-1.0, 0])),
            "who, with γ = 0 in the last batch norm": lambda: with_a_branch_of(0.0),
            "who, with γ = 1": lambda: with_a_branch_of(1.0),
            "who, with γ = 100": lambda: with_a_branch_of(100.0),
        }
    )
