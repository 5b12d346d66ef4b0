"""Assignment conv2d: forward, three gradients, and a network that trains with them."""

from typing import Any

import numpy as np

from ...kernels import cpu, textbook
from ..assignment import Assignment, Check, Test
from ..judge import judge, judge_gradient
from ..learner import Learner
from .training import trains

PLAIN: dict[str, Any] = dict(stride=(1, 1), padding=(0, 0))
PADDED: dict[str, Any] = dict(stride=(1, 1), padding=(1, 1))
STRIDED: dict[str, Any] = dict(stride=(2, 1), padding=(1, 0))


def draw(rng: np.random.Generator, options: dict[str, Any] | None) -> tuple[list[np.ndarray], dict[str, Any]]:
    """x, weight, bias and options; without options, all sizes are drawn."""
    if options is not None:
        return [rng.standard_normal(shape) for shape in ((2, 3, 5, 6), (4, 3, 3, 3), (4,))], options
    n, c, o, kh, kw = (int(k) for k in rng.integers([1, 1, 1, 2, 1], [4, 4, 5, 4, 4]))
    stride, padding = (tuple(int(k) for k in rng.integers(low, high, 2)) for low, high in ((1, 4), (0, 2)))
    h, w = (int(k) for k in rng.integers(5, 8, 2))
    shapes = (n, c, h, w), (o, c, kh, kw), (o,)
    return [rng.standard_normal(shape) for shape in shapes], dict(stride=stride, padding=padding)


def forward(options: dict[str, Any] | None, bias: bool = True, dtype: type = np.float64) -> Check:
    """conv2d gives what the textbook's loops give."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        (x, w, b), geometry = draw(rng, options)
        arrays: list[Any] = [a.astype(dtype) for a in (x, w, b)]
        arrays[2:] = [arrays[2] if bias else None]
        right = textbook.conv2d(*arrays, **geometry)
        flipped = textbook.conv2d(arrays[0], arrays[1][:, :, ::-1, ::-1], arrays[2], **geometry)
        mistakes = [("the kernel is flipped", flipped)]
        if bias:
            mistakes.append(("the bias is not added", right - arrays[2][:, None, None]))
        if geometry["padding"] != (0, 0) and geometry["padding"][0] == geometry["padding"][1]:
            wide = np.pad(arrays[0], [(0, 0), (0, 0), *[(p, p) for p in geometry["padding"]]], mode="edge")
            edge = textbook.conv2d(wide, arrays[1], arrays[2], geometry["stride"])
            mistakes.append(("the padding repeats the edge; it should be 0", edge))
        got = learner.call("conv2d", *arrays, **geometry)
        judge(f"conv2d with {geometry}", got, right, mistakes, 1e-5 if dtype == np.float32 else 1e-8)

    return check


def gradient(slot: int, options: dict[str, Any] | None) -> Check:
    """One of the three gradients is what the textbook's loops give."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        arrays, geometry = draw(rng, options)
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

    return check


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
        *trains(("conv2d",), ("conv2d_backward",)),
    ],
)  # fmt: skip
