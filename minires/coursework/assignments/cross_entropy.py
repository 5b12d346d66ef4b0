"""Assignment cross_entropy: softmax, the loss, and its gradient."""

import numpy as np

from ...kernels import textbook
from ..assignment import Assignment, Check, Test
from ..judge import judge, judge_gradient
from ..learner import Learner
from ..watch import KERNELS

Draw = tuple[int, int] | None


def right_answers(logits: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """The textbook's softmax, mean loss and gradient of the mean loss."""
    q = textbook.one_hot(target, logits.shape[1], logits.dtype)
    losses, p = textbook.cross_entropy(logits, q)
    grad = textbook.cross_entropy_backward(np.full(len(target), 1 / len(target)), p, q)
    return p, float(losses.mean()), grad


def draw(rng: np.random.Generator, sizes: Draw, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """logits (N, K) and target (N); without sizes, two different ones are drawn."""
    n, k = sizes or (int(size) for size in rng.choice(np.arange(2, 8), 2, False))
    return scale * rng.standard_normal((n, k)), rng.integers(0, k, n)


def batches(rng: np.random.Generator, sizes: Draw) -> list[Draw]:
    """The sizes to draw: those given, or any and then a batch of one."""
    return [sizes] if sizes else [None, (1, int(rng.integers(2, 8)))]


def probabilities(sizes: Draw, scale: float = 1.0) -> Check:
    """softmax of scores of this size."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        for batch in batches(rng, sizes):
            z, target = draw(rng, batch, scale)
            known = []
            if scale == 1:
                e = np.exp(z)
                known = [("the sum is over the batch (axis 0), or over everything; it is over each row", value)
                         for value in (e / e.sum(0), e / e.sum())]  # fmt: skip
            judge(f"softmax of logits {z.shape}", learner.call("softmax", z), right_answers(z, target)[0], known)

    return check


def loss(sizes: Draw, scale: float = 1.0) -> Check:
    """cross_entropy of scores of this size."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        for batch in batches(rng, sizes):
            z, target = draw(rng, batch, scale)
            p, right, _ = right_answers(z, target)
            known = [("a sum for the mean over the batch", right * len(z)),
                     ("divided by all entries; the mean is over the batch alone", right / z.shape[1]),
                     ("the sign is wrong", -right)]  # fmt: skip
            if scale == 1:
                known.append(("the probabilities themselves, without the logarithm",
                              -float(p[np.arange(len(z)), target].mean())))  # fmt: skip
            judge(f"cross_entropy of logits {z.shape}", learner.call("cross_entropy", z, target), right, known)

    return check


def gradient(sizes: Draw, scale: float = 1.0) -> Check:
    """cross_entropy_backward for scores of this size."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        z, target = draw(rng, sizes, scale)
        right = right_answers(z, target)[2]
        if scale > 1:
            got = learner.call("cross_entropy_backward", np.array(0.7), z, target)
            judge(f"cross_entropy_backward of large logits {z.shape}", got, 0.7 * right)
            return
        judge_gradient(
            learner,
            f"cross_entropy_backward of logits {z.shape}",
            lambda g: (learner.call("cross_entropy_backward", g, z, target), None),
            lambda z, target: np.asarray(right_answers(z, target)[1]),
            lambda g: (g * right, None),
            [z, target],
            0,
            rng,
        )

    return check


STABLE = "exp(1000) is infinite: subtract each row's largest score first; softmax does not change"
LOG = "log softmax = z − max − log Σ exp(z − max): no logarithm of a probability that is 0"
ONE_HOT = "the famous difference: (softmax − one-hot) / N, times grad_output"
ASSIGNMENT = Assignment(
    "cross_entropy",
    [
        Test("softmax", "a small batch", 2, probabilities((4, 3)), "axis=1, keepdims=True"),
        Test("softmax", "large scores", 1, probabilities((4, 3), 1000.0), STABLE),
        Test("softmax", "other sizes", 1, probabilities(None), "axis=1, keepdims=True", hidden=True),
        Test("softmax", "very large scores", 1, probabilities(None, 1e5), STABLE, hidden=True),
        Test("loss", "a small batch", 2, loss((6, 4)), "the mean over the batch of −log p[n, target[n]]"),
        Test("loss", "large scores", 2, loss((5, 4), 1000.0), LOG),
        Test("loss", "other sizes", 1, loss(None), "logits[np.arange(N), target]", hidden=True),
        Test("loss", "very large scores", 1, loss(None, 1e5), LOG, hidden=True),
        Test("gradient", "a small batch", 3, gradient((6, 4)), ONE_HOT),
        Test("gradient", "a batch of one", 1, gradient((1, 5)), ONE_HOT),
        Test("gradient", "large scores", 2, gradient((5, 4), 1000.0), STABLE),
        Test("gradient", "other sizes", 2, gradient(None), ONE_HOT, hidden=True),
        Test("gradient", "other sizes, again", 1, gradient(None), ONE_HOT, hidden=True),
    ],
    off_limits=KERNELS,
)  # fmt: skip
