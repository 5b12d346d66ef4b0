"""Assignment gradient_flow: measurements held to the library's own instrument, answers held to measurements."""

from typing import Any

import numpy as np

from ... import data, flow
from ...nn import functional as F
from ...tensor import Tensor
from .. import networks
from ..assignment import Assignment, Check, Test
from ..judge import as_array, judge
from ..learner import Learner, Wrong

DEPTHS = 8, 20, 26  # of the hidden tests
TOLERANCE = 1e-5  # float64, summed in another order


def images(rng: np.random.Generator | None, count: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Training digits: the first ones, or drawn."""
    digits = data.digits()[0]
    x, y = digits[:count] if rng is None else digits[rng.choice(len(digits), count, False)]
    return x.astype(np.float64), y


def block_norms(model: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The gradient's norm at the input of each block, measured here with retain_grad."""
    h = model.maxpool(model.relu(model.bn1(model.conv1(Tensor(x)))))
    inputs = []
    for stage in (model.layer1, model.layer2, model.layer3):
        for block in stage:
            h.retain_grad()
            inputs.append(h)
            h = block(h)
    F.cross_entropy(model.fc(model.avgpool(h).flatten(1)), Tensor(y)).backward()
    return np.array([float(np.linalg.norm(t.grad)) for t in inputs])


def fork_norms(model: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(shortcut, branch) at each fork, first block first, measured by the flow instrument."""
    return np.array([(fork.skip, fork.branch) for fork in flow.record(model, x, y).forks])


def geometric_growth(norms: np.ndarray) -> float:
    """(first / last) to the power 1/(number of steps between them)."""
    return float((norms[0] / norms[-1]) ** (1 / (len(norms) - 1)))


def measures(kind: str, layers: int | None) -> Check:
    """gradient_norms of a network is what is measured here; None: the number of layers is drawn."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        depth = layers or int(rng.choice(DEPTHS))
        seed, (x, y) = int(rng.integers(1000)), images(rng)
        right = block_norms(networks.twin(kind, depth, seed), x, y)
        got = as_floats(learner.drive("norms", kind, depth, seed, x, y))
        squares = right**2
        known = [("last block first; the first block comes first", right[::-1]),
                 ("squares: take the root", squares),
                 ("the gradient of a sum over the batch, not of its mean", right * len(x)),
                 ("divided by the root of the number of entries: root mean square for norm",
                  right / np.sqrt(block_sizes(networks.twin(kind, depth, seed), x)))]  # fmt: skip
        judge(f"gradient_norms of a {kind} network of {depth} layers", got, right, known, TOLERANCE)

    return check


def block_sizes(model: Any, x: np.ndarray) -> np.ndarray:
    """Number of entries at the input of each block."""
    h = model.relu(model.bn1(model.conv1(Tensor(x))))
    sizes = []
    for stage in (model.layer1, model.layer2, model.layer3):
        for block in stage:
            sizes.append(h.array.size)
            h = block(h)
    return np.array(sizes, np.float64)


def measures_forks(layers: int | None) -> Check:
    """fork_norms of a residual network is what the instrument says; None: the number of layers is drawn."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        depth = layers or int(rng.choice(DEPTHS))
        seed, (x, y) = int(rng.integers(1000)), images(rng)
        right = fork_norms(networks.twin("residual", depth, seed), x, y)
        got = as_floats(learner.drive("forks", depth, seed, x, y))
        known = [("branch and shortcut are exchanged: the shortcut comes first", right[:, ::-1]),
                 ("last block first; the first block comes first", right[::-1])]  # fmt: skip
        judge(f"fork_norms of a residual network of {depth} layers", got, right, known, TOLERANCE)

    return check


def as_floats(got: Any) -> np.ndarray:
    """A list (of pairs) of numbers as a float64 array; else Wrong."""
    try:
        return np.asarray(got, np.float64)
    except (TypeError, ValueError):
        raise Wrong("what came back is not a list of numbers (or of pairs)", "wrong type") from None


def grows(hidden: bool) -> Check:
    """growth of made-up norms."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        made_up = [rng.uniform(0.1, 5, int(rng.integers(4, 9)))] if hidden else [np.array([8.0, 4, 2, 1]), np.ones(3)]
        for norms in made_up:
            judge_growth(learner, norms)

    return check


def judge_growth(learner: Learner, norms: np.ndarray) -> None:
    """Judge growth for these norms."""
    right = geometric_growth(norms)
    known = [("it is the factor going forward; going back it is 1 over this", 1 / right),
             ("one step too many: there are len(norms) − 1 steps", (norms[0] / norms[-1]) ** (1 / len(norms))),
             ("an arithmetic mean of the factors; take the geometric one",
              float((norms[:-1] / norms[1:]).mean()))]  # fmt: skip
    got = learner.call("growth", [float(n) for n in norms])
    judge("growth", as_array("growth", as_floats(got), np.asarray(right)), right, known)


def answers(question: str, right: Any, measured: Check) -> Check:
    """ANSWERS holds the word, or a number near what is measured here (``right()`` -> word, or number and tolerance).

    An answer that the submission cannot have ``measured`` is a guess, and earns nothing.
    """

    def check(learner: Learner, rng: np.random.Generator) -> None:
        given = learner.drive("answer", question)
        if given is None or (isinstance(given, str) and given == "?"):
            raise Wrong(f'not written yet: ANSWERS["{question}"]', "not written yet")
        try:
            measured(learner, rng)
        except Wrong as wrong:
            brief = "an answer that was not measured"
            raise Wrong(f'ANSWERS["{question}"] counts only if your function measures right: {wrong}', brief) from None
        truth = right()
        if isinstance(truth, str):
            if not isinstance(given, str) or given.strip().lower() != truth:
                raise Wrong(f'ANSWERS["{question}"]: {given!r} is not what was measured', "a wrong answer")
            return
        value, tolerance = truth
        try:
            near = abs(float(given) - value) <= tolerance
        except (TypeError, ValueError):
            raise Wrong(f'ANSWERS["{question}"]: {given!r} is not a number', "not a number") from None
        if not near:
            raise Wrong(f'ANSWERS["{question}"]: {given!r} is not what was measured', "a wrong answer")

    return check


def at_a_fork() -> str:
    """Which of the words describes the total at a fork, from its summands."""
    fork = flow.record(networks.twin("residual", 20, 0), *images(None, 64), arrays=True).forks[0]
    skip, branch = fork.skip_grad, fork.branch_grad
    total = flow.record(networks.twin("residual", 20, 0), *images(None, 64)).forks[0].total
    words = {"sum": skip + branch, "product": skip * branch, "mean": (skip + branch) / 2,
             "larger one": max(skip, branch, key=np.linalg.norm)}  # fmt: skip
    return min(words, key=lambda word: abs(float(np.linalg.norm(words[word])) - total))


def growth_of(kind: str) -> float:
    """The growth in a network of 20 layers before training."""
    return geometric_growth(block_norms(networks.twin(kind, 20, 0), *images(None, 64)))


def plain_against_residual() -> str:
    """ "above" or "below"."""
    return "above" if growth_of("plain") > growth_of("residual") else "below"


def share_of_zero_branches() -> tuple[float, float]:
    """The branches' largest share of the gradient with γ = 0."""
    model = networks.twin("residual", 20, 0)
    model.zero_branches()
    return max(fork.share for fork in flow.record(model, *images(None, 64)).forks), 1e-6


def near(kind: str) -> Any:
    """The growth, to 10 %."""
    return lambda: (growth_of(kind), 0.1 * growth_of(kind))


RETAIN = "h.retain_grad() before the next block, and h.grad after backward"
EDGES = "give branch and shortcut a tensor of their own: two leaves of the same array, and a backward a block"
MEASURE = "measure it with your own functions; the comment says of which network"
ASSIGNMENT = Assignment(
    "gradient_flow",
    [
        Test("measure", "residual, 14 layers", 2, measures("residual", 14), RETAIN),
        Test("measure", "plain, 14 layers", 2, measures("plain", 14), RETAIN),
        Test("measure", "plain, other depths", 2, measures("plain", None), RETAIN, hidden=True),
        Test("measure", "residual, other depths", 2, measures("residual", None), RETAIN, hidden=True),
        Test("forks", "14 layers", 3, measures_forks(14), EDGES),
        Test("forks", "other depths", 3, measures_forks(None), EDGES, hidden=True),
        Test("explain", "growth", 0.5, grows(False), "(norms[0] / norms[-1]) ** (1 / steps)"),
        Test("explain", "growth, other norms", 0.5, grows(True), "(norms[0] / norms[-1]) ** (1 / steps)", hidden=True),
        Test("explain", "at a fork", 1, answers("at a fork", at_a_fork, measures_forks(8)),
             "compare the arrays, not the norms alone"),
        Test("explain", "plain against residual", 1,
             answers("plain against residual", plain_against_residual, measures("plain", 8)), MEASURE),
        Test("explain", "zero branches", 1, answers("zero branches", share_of_zero_branches, measures_forks(8)),
             MEASURE),
        Test("explain", "growth, plain", 1, answers("growth, plain", near("plain"), measures("plain", 8)), MEASURE),
        Test("explain", "growth, residual", 1,
             answers("growth, residual", near("residual"), measures("residual", 8)), MEASURE),
    ],
    off_limits=["minires.flow"],
)  # fmt: skip
