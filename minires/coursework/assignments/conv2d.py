"""Assignment conv2d: forward, three gradients, and a network that trains with them."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...kernels import cpu, textbook
from ..assignment import Assignment, Check, Test
from ..judge import judge, judge_gradient
from ..learner import Learner
from ..watch import KERNELS
from .training import trains

PLAIN: dict[str, Any] = dict(stride=(1, 1), padding=(0, 0))
PADDED: dict[str, Any] = dict(stride=(1, 1), padding=(1, 2))
STRIDED: dict[str, Any] = dict(stride=(2, 1), padding=(1, 0))


def draws(
    rng: np.random.Generator, options: dict[str, Any] | None
) -> Iterator[tuple[list[np.ndarray], dict[str, Any]]]:
    """x, weight, bias and options; without options, three times with sizes that are drawn.

    Nothing is alike along both axes, so that neither can stand in for the other: the kernel, the strides and the
    padding are larger now in one direction, now in the other. What does occur, each in one of the three: one image, a
    square image, one that is square with its padding, a square result.
    """
    if options is not None:
        yield [rng.standard_normal(shape) for shape in ((2, 3, 5, 6), (4, 3, 2, 3), (4,))], options
        return
    for turn, square in enumerate(("image", "padded", "result")):
        way = -1 if turn == 1 else 1
        kernel, stride = ((int(k) for k in np.sort(rng.choice(3, 2, False) + 1)[::way]) for _ in range(2))
        (kh, kw), (sh, sw), padding = tuple(kernel), tuple(stride), (0, 1)[::way]
        n, c, o = turn + 1, *(int(k) for k in rng.choice([k for k in (1, 2, 3, 4) if k != turn + 1], 2, False))
        h, w = (int(k) for k in rng.choice(np.arange(5, 9), 2, False))
        if square == "image":
            w = h
        elif square == "padded":
            w = h + 2 * (padding[0] - padding[1])
        elif square == "result":  # of side 2 or 3
            side = int(rng.integers(2, 4))
            h, w = (side - 1) * sh + kh - 2 * padding[0], (side - 1) * sw + kw - 2 * padding[1]
        shapes = (n, c, h, w), (o, c, kh, kw), (o,)
        yield [rng.standard_normal(shape) for shape in shapes], dict(stride=(sh, sw), padding=padding)


def forward(options: dict[str, Any] | None, bias: bool = True, dtype: type = np.float64) -> Check:
    """conv2d gives what the textbook's loops give."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        for drawn, geometry in draws(rng, options):
            arrays: list[Any] = [a.astype(dtype) for a in drawn]
            arrays[2:] = [arrays[2] if bias else None]
            right = textbook.conv2d(*arrays, **geometry)
            flipped = textbook.conv2d(arrays[0], arrays[1][:, :, ::-1, ::-1], arrays[2], **geometry)
            mistakes = [("the kernel is flipped", flipped)]
            if bias:
                mistakes.append(("the bias is not added", right - arrays[2][:, None, None]))
            if geometry["padding"] != (0, 0):
                wide = np.pad(arrays[0], [(0, 0), (0, 0), *[(p, p) for p in geometry["padding"]]], mode="edge")
                edge = textbook.conv2d(wide, arrays[1], arrays[2], geometry["stride"])
                mistakes.append(("the padding repeats the edge; it should be 0", edge))
            got = learner.call("conv2d", *arrays, **geometry)
            judge(f"conv2d with {geometry}", got, right, mistakes, 1e-5 if dtype == np.float32 else 1e-8)

    return check


def gradient(slot: int, options: dict[str, Any] | None) -> Check:
    """One of the three gradients is what the textbook's loops give."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        for arrays, geometry in draws(rng, options):
            judge_one(learner, rng, slot, arrays, geometry)

    return check


def judge_one(
    learner: Learner, rng: np.random.Generator, slot: int, arrays: list[np.ndarray], geometry: dict[str, Any]
) -> None:
    """Judge one gradient for these arrays."""
    x, w, _ = arrays

    def fast(x, w, b):
        return cpu.conv2d(x, w, b, geometry["stride"], geometry["padding"], (1, 1), 1)

    judge_gradient(
        learner,
        f"conv2d_backward, the gradient of {('x', 'weight', 'bias')[slot]}, with {geometry}",
        lambda g: learner.call("conv2d_backward", g, x, w, **geometry),
        fast,
        lambda g: textbook.conv2d_backward(g, x, w, **geometry),
        arrays,
        slot,
        rng,
    )


EDGE = "where a stride leaves rows over at the edge, no window covers them: their gradient is 0"
ASSIGNMENT = Assignment(
    "conv2d",
    [
        Test("forward", "no padding", 1, forward(PLAIN), "y[..., h, w] sums over c, i and j: H′ = H − kh + 1"),
        Test("forward", "padding", 1, forward(PADDED), "np.pad the two last axes with zeros"),
        Test("forward", "stride, no bias", 1, forward(STRIDED, bias=False), "x[..., i::s, j::s], cut to H′ × W′"),
        Test("forward", "float32 stays float32", 0.5, forward(PADDED, dtype=np.float32),
             "np.zeros makes float64: np.zeros(shape, x.dtype)"),
        Test("forward", "other sizes", 0.75, forward(None), "count with H′ = (H + 2p − kh) // s + 1", hidden=True),
        Test("forward", "other sizes, again", 0.75, forward(None), "height and width have each their own stride",
             hidden=True),
        Test("gradient of x", "no padding", 1, gradient(0, PLAIN), "each output sends grad·w back to the x it used"),
        Test("gradient of x", "padding", 1, gradient(0, PADDED),
             "fill a padded array, then cut the padding off: [p : p + H]"),
        Test("gradient of x", "stride", 1, gradient(0, STRIDED), EDGE),
        Test("gradient of x", "other sizes", 1, gradient(0, None), EDGE, hidden=True),
        Test("gradient of weight", "no padding", 1, gradient(1, PLAIN), "dw[o,c,i,j] sums grad·x over n, h and w"),
        Test("gradient of weight", "padding", 1, gradient(1, PADDED), "use the padded x, as forward does"),
        Test("gradient of weight", "stride", 1, gradient(1, STRIDED), "the same x[..., i::s, j::s] as in forward"),
        Test("gradient of weight", "other sizes", 1, gradient(1, None), "the same x[..., i::s, j::s] as in forward",
             hidden=True),
        Test("gradient of bias", "padding", 1, gradient(2, PADDED), "b[o] was added at every n, h, w: sum over them"),
        Test("gradient of bias", "other sizes", 1, gradient(2, None), "b[o] was added at every n, h, w: sum over them",
             hidden=True),
        *trains(
            [("conv2d", 0, forward(options)) for options in (PADDED, None)],
            [("conv2d_backward", slot, gradient(slot, options)) for slot in range(3) for options in (PADDED, None)],
            enough=[("conv2d_backward", 0), ("conv2d_backward", 1)],
        ),
    ],
    off_limits=KERNELS,
)  # fmt: skip
