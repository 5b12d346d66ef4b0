"""Assignment skip_or_branch: the two gradients at a residual block's input, held to the engine's own edges."""

from typing import Any

import numpy as np

from ... import autograd
from ...arguments import described
from ...nn import functional as F
from ...tensor import Tensor
from .. import networks
from ..assignment import Assignment, Check, Test
from ..judge import draw_shape, judge
from ..learner import Learner, Wrong
from .residual_block import library_block

Shape = tuple[int, ...] | str
MARGIN = 0.05  # how far from two thirds a share of the tests' blocks must be


def draw(rng: np.random.Generator, kind: str, shape: Shape, image: str | tuple[int, ...], scale: float = 1.0) -> Any:
    """(weights, sizes, x, grad_output) of a block of a kind of `networks.BLOCKS`; scale: of the branch."""
    sizes = draw_shape(rng, shape)
    block = library_block(sizes, rng, networks.BLOCKS[kind])
    last = block.bn3 if kind == "bottleneck" else block.bn2
    last.weight.array[...] *= scale
    x = rng.standard_normal((2, sizes[0], *draw_shape(rng, image)))
    return block, sizes, x, rng.standard_normal(block(Tensor(x)).shape)


def ways(block: Any, x: np.ndarray, g: np.ndarray) -> dict[str, np.ndarray]:
    """skip, branch and total, each from a leaf of its own."""
    left, right, both = (Tensor(x, requires_grad=True) for _ in range(3))
    branch, skip = autograd.grad(F.relu(block.branch(left) + block.shortcut(right)), [left, right], g)
    (total,) = autograd.grad(block(both), [both], g)
    return {"skip": np.array(skip), "branch": np.array(branch), "total": np.array(total)}


def shares_of(skip: np.ndarray, branch: np.ndarray) -> tuple[float, float]:
    """⟨part, total⟩ / ‖total‖² of each; 0 and 0 if the total is 0."""
    total = skip + branch
    square = float((total**2).sum())
    return (float((skip * total).sum()) / square, float((branch * total).sum()) / square) if square else (0.0, 0.0)


def cosine_of(skip: np.ndarray, branch: np.ndarray) -> float:
    """0 if one of them is 0."""
    lengths = float(np.linalg.norm(skip) * np.linalg.norm(branch))
    return float((skip * branch).sum()) / lengths if lengths else 0.0


def verdict(shares: tuple[float, float]) -> str:
    """ "skip", "branch" or "both"."""
    return "skip" if shares[0] > 2 / 3 else "branch" if shares[1] > 2 / 3 else "both"


# ── checks ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def recorded(kind: str, shape: Shape, image: str | tuple[int, ...] = (5, 4), training: bool = True) -> Check:
    """record gives the two summands and their sum."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        block, sizes, x, g = draw(rng, kind, shape, image)
        right = ways(block.train(training), x, g)
        found = learner.drive("on_block", "record", kind, sizes, block.state_dict(), x, g, training)
        what = f"record of a {kind} block {sizes} in {'training' if training else 'evaluation'}"
        if not isinstance(found, dict) or not {"skip", "branch", "total"} <= found.keys():
            raise Wrong(f'{what}: expected a dictionary with "skip", "branch" and "total"', "wrong type")
        behind = g * (block(Tensor(x)).array > 0)  # what comes to the addition
        known: dict[str, list[tuple[str, Any]]] = {
            "skip": [("skip and branch are exchanged", right["branch"]), ("this is the total", right["total"]),
                     ("grad_output went past the last ReLU", g)],
            "branch": [("this is the total", right["total"]), ("the skip's gradient is still in it", right["total"])],
            "total": [("the branch's alone: add the skip's", right["branch"]),
                      ("the skip's alone: add the branch's", right["skip"])],
        }  # fmt: skip
        if behind.shape == right["skip"].shape:
            known["branch"].append(("this is what comes to the addition, not to the input", behind))
        for name in ("skip", "branch", "total"):
            judge(f"{what}, {name}", found[name], right[name], known[name])

    return check


def judged(function: str, *pairs: Any) -> Check:
    """shares or cosine of pairs of arrays; none: they are drawn."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        shape = draw_shape(rng, "nchw")
        rows = pairs or [(rng.standard_normal(shape), scale * rng.standard_normal(shape)) for scale in (0.3, 3.0)]
        for skip, branch in (map(np.asarray, row) for row in rows):
            what = f"{function} of arrays of shape {skip.shape}" if skip.size > 4 else f"{function} of {skip}, {branch}"
            squares = float((skip**2).sum()), float((branch**2).sum())
            if function == "cosine":
                known = [("the product of the squares: take the roots", float((skip * branch).sum()) / np.prod(squares)
                          if all(squares) else 1.0)]  # fmt: skip
                judge(what, as_number(what, learner.call("cosine", skip, branch)), cosine_of(skip, branch), known)
                continue
            found = learner.call("shares", skip, branch)
            found = list(found) if isinstance(found, np.ndarray) and found.ndim else found
            if not isinstance(found, tuple | list) or len(found) != 2:
                raise Wrong(f"{what}: expected two numbers, the skip's share and the branch's", "wrong type")
            right = shares_of(skip, branch)
            lengths = np.sqrt(squares) / (np.sqrt(squares).sum() or 1)
            known_pairs = [("skip and branch are exchanged", right[::-1]),
                           ("lengths, ‖part‖ / (‖skip‖ + ‖branch‖): the angle to the total counts too", lengths),
                           ("squares of lengths: the angle to the total counts too",
                            np.array(squares) / (sum(squares) or 1))]  # fmt: skip
            judge(what, np.array([as_number(what, n) for n in found]), np.array(right), known_pairs)

    return check


def as_number(what: str, found: Any) -> float:
    """A number, or an array of one; else Wrong."""
    try:
        return float(found.item() if isinstance(found, np.ndarray) else found)
    except (TypeError, ValueError):
        shown = f"an array of shape {found.shape}" if isinstance(found, np.ndarray) else described(found)
        raise Wrong(f"{what}: {shown} for a number", "not a number") from None


def decided(kind: str, shape: Shape, image: str | tuple[int, ...] = (5, 4)) -> Check:
    """who is right about blocks with branches of all sizes, in random order."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        wanted = {("skip", "skip"): 2, ("branch", "branch"): 2, ("both", "skip"): 1, ("both", "branch"): 1}
        scales = [0.0, 0.05, 0.7, 1.0, 1.5, 20.0, 100.0]
        for scale in [*rng.permutation(scales * 4).tolist(), *rng.uniform(0.4, 1.6, 200).tolist()]:
            block, sizes, x, g = draw(rng, kind, shape, image, scale)
            right = ways(block, x, g)
            shares = shares_of(right["skip"], right["branch"])
            said = verdict(shares)
            case = said, ("skip" if shares[0] > shares[1] else "branch")  # the verdict, and the larger share
            if min(abs(share - 2 / 3) for share in shares) < MARGIN or not wanted[case]:
                continue
            wanted[case] -= 1
            found = learner.drive("on_block", "who", kind, sizes, block.state_dict(), x, g, True)
            if found != said:
                text = f"who says {found!r:.40} of a block in which the skip has a share of {shares[0]:.0%}"
                raise Wrong(f"{text}, the branch one of {shares[1]:.0%}", "a wrong verdict")
            if not any(wanted.values()):
                return

    return check


EDGES = "two leaves of the same array: relu(block.branch(a) + block.shortcut(b)).backward(g), then a.grad and b.grad"
SAME, HALVED = (3, 3, 1), (2, 4, 2)
ASSIGNMENT = Assignment(
    "skip_or_branch",
    [
        Test("record", "an identity shortcut", 2, recorded("basic", SAME), EDGES),
        Test("record", "a projection", 2, recorded("basic", HALVED), "the shortcut is block.shortcut(x), not x"),
        Test("record", "evaluation, other sizes", 2, recorded("basic", "cc1", "hw", False),
             "use the block as it comes: do not switch it to training", hidden=True),
        Test("record", "a bottleneck, other sizes", 2, recorded("bottleneck", "cd2", "hw"),
             "use branch and shortcut alone: a bottleneck has other layers", hidden=True),
        Test("shares", "of small arrays", 2, judged("shares", ([2.0, 0.0], [0.0, 1.0]), ([1.0, 2.0], [-0.5, 0.0])),
             "⟨skip, total⟩ / ‖total‖²: one can be negative"),
        Test("shares", "cosine", 1, judged("cosine", ([1.0, 0.0], [-2.0, 0.0]), ([1.0, 1.0], [3.0, 0.0])),
             "⟨skip, branch⟩ / (‖skip‖·‖branch‖)"),
        Test("shares", "other arrays", 1, judged("shares"), "sums over all axes", hidden=True),
        Test("shares", "cosine, other arrays", 1, judged("cosine"), "sums over all axes", hidden=True),
        Test("shares", "zeros", 1, judged("shares", ([0.0, 0.0], [0.0, 0.0]), ([1.0, -1.0], [-1.0, 1.0]), ([1.0], [0])),
             "a total of 0 has no shares: say 0 and 0", hidden=True),
        Test("who", "identity shortcuts", 3, decided("basic", SAME), "more than two thirds of the total"),
        Test("who", "other blocks", 3, decided("basic", "cd2", "hw"), "more than two thirds of the total",
             hidden=True),
    ],
    off_limits=["minires.flow"],
)  # fmt: skip
