"""The last part of assignments 3 to 5: a ResNet-8 that trains on digits with the submission's kernels in it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import networks
from ..assignment import Check, Test
from ..judge import Wrong, agree
from ..learner import Learner

Piece = tuple[str, int, Check]  # a function, the place of one of its results, and what says whether that is right


def trains(
    forward: Sequence[Piece],
    backward: Sequence[Piece],
    pool: bool = False,
    enough: Sequence[tuple[str, int]] = (),
) -> list[Test]:
    """Two tests: the submission's forward kernels, and its backward ones; the library stands in for what is missing.

    So a piece that is not written costs its own part, and points here only if its whole side is missing, or if none of
    the gradients in ``enough`` is written. What is written must be right: networks train with many a wrong gradient.
    """
    hint = "minires.kernels.use puts your function where the library's was: same arguments, same results, same dtype"
    return [
        Test("training", "your forward in a ResNet-8", 2, network("forward", forward, pool), hint, patience=3),
        Test("training", "your backward in a ResNet-8", 3, network("gradient", backward, pool, enough), hint,
             patience=3),
    ]  # fmt: skip


def network(side: str, pieces: Sequence[Piece], pool: bool, enough: Sequence[tuple[str, int]] = ()) -> Check:
    """The weights that come back read the test digits, through the library's own kernels, and the pieces are right."""
    swaps = list(dict.fromkeys(name for name, _, _ in pieces))

    def check(learner: Learner, rng: np.random.Generator) -> None:
        batches = networks.digit_batches(int(rng.integers(1000)))
        model = networks.resnet8(pool)
        losses, weights, used = learner.drive("train_network", swaps, pool, model.state_dict(), batches)
        judge_training(model, (losses, weights))
        written = [piece for piece in pieces if piece[1] in used[piece[0]]]
        if not any(piece[:2] in (enough or [piece[:2]]) for piece in written):
            raise Wrong(f"not written yet: too little of {', '.join(swaps)}", "not written yet")
        for _, _, right in written:
            also_right(side, right, learner, rng)

    return check


def also_right(side: str, check: Check, learner: Learner, rng: np.random.Generator) -> None:
    """Raise Wrong if a network trains with something that is wrong."""
    try:
        check(learner, rng)
    except Wrong as wrong:
        if wrong.brief in ("time limit", "process ended"):  # which says nothing of what was written
            raise
        brief = f"it trains although its {side} is wrong"
        raise Wrong(f"{brief} (which is worth a thought: why does it?)\n{wrong}", brief) from None


def judge_training(model: networks.models.ResNet, learned: Any) -> None:
    """Raise Wrong unless (losses, weights) are of this network and read the digits."""
    try:
        losses, weights = learned
        losses = [float(loss) for loss in losses]
        before = model.state_dict()
        model.load_state_dict(weights)
    except (TypeError, ValueError, KeyError) as error:
        raise Wrong(f"the trained weights do not fit the network: {error}", "wrong result") from None
    if not all(np.isfinite(array).all() for array in weights.values()):
        first = next((i for i, loss in enumerate(losses) if not np.isfinite(loss)), len(losses))
        raise Wrong(f"NaN or Inf in the weights after training; the loss was lost at step {first + 1}", "NaN or Inf")
    name = "conv1.weight"
    if agree(weights[name], before[name], 1e-6):
        raise Wrong("after training, the first layer's weights are what they were before", "nothing was learnt")
    accuracy = networks.test_accuracy(model)
    if not accuracy >= networks.GOOD:
        in_words = f"the loss went from {losses[0]:.2f} to {losses[-1]:.2f}" if losses else "there was no step"
        raise Wrong(
            f"after {len(losses)} steps the network reads {accuracy:.0%} of the test digits, and should read "
            f"{networks.GOOD:.0%}; {in_words}",
            "does not learn",
        )
