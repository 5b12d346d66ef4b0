"""Assignment residual_block: a module that is held to the library's block, weight by weight."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import models, nn
from ...nn import functional as F
from ...tensor import Tensor
from .. import networks
from ..assignment import Assignment, Check, Test
from ..judge import agree, draw_shape, judge
from ..learner import Learner, Wrong
from .training import also_right, judge_training

Shape = tuple[int, ...] | str  # in_channels, channels, stride; letters: sizes that are drawn


def library_block(shape: tuple[int, ...], rng: np.random.Generator, kind: Any = models.ResidualBlock) -> Any:
    """The right block, in float64, no parameter and no buffer at its starting value."""
    in_channels, channels, stride = shape
    block = kind(in_channels, channels, stride).double()
    state = block.state_dict()
    drawn = {
        name: a if a.dtype.kind != "f" else rng.uniform(0.5, 1.5, a.shape) * (0.2 if a.ndim == 4 else 1)
        for name, a in state.items()
    }
    signs = {name: np.where(rng.random(a.shape) < 0.5, -a, a) for name, a in drawn.items() if a.ndim == 4}
    block.load_state_dict(drawn | signs)
    return block


def known_mistakes(block: models.ResidualBlock, x: Tensor) -> list[tuple[str, np.ndarray]]:
    """What blocks with a common mistake would put out."""
    branch, shortcut = block.branch(x), block.shortcut(x)
    mistakes = [
        ("the shortcut is not added: relu(branch)", F.relu(branch)),
        ("the last ReLU is missing: branch + shortcut", branch + shortcut),
        ("the shortcut is added after the last ReLU; it belongs before it", F.relu(branch) + shortcut),
        ("the shortcut is added twice", F.relu(branch + shortcut + shortcut)),
        ("the shortcut is subtracted", F.relu(branch - shortcut)),
        ("the branch is missing: relu(shortcut)", F.relu(shortcut)),
        ("the ReLU between the two convolutions is missing",
         F.relu(block.bn2(block.conv2(block.bn1(block.conv1(x)))) + shortcut)),
        ("a ReLU stands behind bn2, before the sum", F.relu(F.relu(branch) + shortcut)),
        ("bn1 is missing", F.relu(block.bn2(block.conv2(F.relu(block.conv1(x)))) + shortcut)),
        ("bn2 is missing", F.relu(block.conv2(F.relu(block.bn1(block.conv1(x)))) + shortcut)),
    ]  # fmt: skip
    if isinstance(block.downsample, nn.Sequential):
        projected = block.downsample[0](x)
        mistakes += [("the projection's batch norm is missing", F.relu(branch + projected)),
                     ("a ReLU stands behind the projection", F.relu(branch + F.relu(shortcut)))]  # fmt: skip
    return [(words, y.array) for words, y in mistakes]


def parameters(shape: Shape) -> Check:
    """The state of the block has the names and shapes of the library's."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        in_channels, channels, stride = sizes = draw_shape(rng, shape)
        right = {
            name: list(a.shape) for name, a in models.ResidualBlock(in_channels, channels, stride).state_dict().items()
        }
        found = learner.drive("block_parameters", sizes)
        what = f"ResidualBlock{sizes}"
        if not isinstance(found, dict):
            raise Wrong(f"{what} has no state", "wrong type")
        missing = [name for name in right if name not in found]
        extra = [name for name in found if name not in right]
        if missing or extra:
            told = [f"{', '.join(names[:4])}: {word}" for names, word in ((missing, "missing"), (extra, "not wanted"))
                    if names]  # fmt: skip
            raise Wrong(f"{what}: {'; '.join(told)}", "names of parameters")
        for name, size in right.items():
            if found[name] != size:
                raise Wrong(f"{what}: {name} has shape {tuple(found[name])}; expected {tuple(size)}", "a shape")

    return check


def computes(shape: Shape, what: str, training: bool = True, image: Sequence[int] | str = (6, 5)) -> Check:
    """The block's output, its gradients for x, or those for its parameters are the library's."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        sizes = draw_shape(rng, shape)
        block = library_block(sizes, rng).train(training)
        weights = block.state_dict()
        x = Tensor(rng.standard_normal((2, sizes[0], *draw_shape(rng, image))), requires_grad=True)
        y = block(x)
        g = rng.standard_normal(y.shape)
        y.backward(g)
        right = {name: np.array(p.grad) for name, p in block.named_parameters()}
        found = learner.drive("block", sizes, weights, x.array, g, training=training)
        title = f"ResidualBlock{sizes} in {'training' if training else 'evaluation'}"
        mistakes = known_mistakes(block, x)
        judge(f"{title}, output", found["y"], y.array, mistakes)
        if what == "output":
            return
        if found["x"] is None:
            raise Wrong(f"{title}: no gradient came back to x; was a tensor detached?", "no gradient")
        judge(f"{title}, gradient of x", found["x"], x.grad, gradient_mistakes(block, x, g))
        for name, grad in right.items():
            judge(f"{title}, gradient of {name}", found["parameters"].get(name), grad)

    return check


def gradient_mistakes(block: models.ResidualBlock, x: Tensor, g: np.ndarray) -> list[tuple[str, Any]]:
    """The gradients of x by the branch alone, and by the shortcut alone."""
    ways = []
    for words, part in (("shortcut's", block.branch), ("branch's", block.shortcut)):
        leaf = Tensor(x.array, requires_grad=True)
        mask = F.relu(block.branch(leaf) + block.shortcut(leaf)).array > 0
        part(leaf).backward(g * mask)
        ways.append((f"the {words} gradient is missing: was it detached, or made under no_grad?", leaf.grad))
    return ways


def in_a_network(learner: Learner, rng: np.random.Generator) -> None:
    """A ResNet-8 of the submission's blocks reads digits; so does the library's with the weights that came back."""
    batches = networks.digit_batches(int(rng.integers(1000)))
    model = networks.resnet8(seed=1)
    learned = learner.drive("train_blocks", batches, 1)
    judge_training(model, learned)
    losses = networks.train_on(networks.resnet8(seed=1), batches[:1])
    if not agree(np.asarray(learned[0][0]), np.asarray(losses[0]), 0.5):
        raise Wrong(f"the first loss is {learned[0][0]:.2f}, the library's {losses[0]:.2f}", "another network")
    for shape in ("cc1", "cd2"):
        also_right("block", computes(shape, "gradients", image="hw"), learner, rng)


SAME: Shape = (3, 3, 1)
HALVED: Shape = (2, 4, 2)
ASSIGNMENT = Assignment(
    "residual_block",
    [
        Test("parameters", "same shape", 1, parameters(SAME), "self.downsample = None where x fits as it is"),
        Test("parameters", "half the size", 1, parameters(HALVED), "nn.Sequential(1×1 convolution, batch norm)"),
        Test("parameters", "more channels, same size", 1, parameters("cd1"),
             "project where the stride is not 1, or the channels differ", hidden=True),
        Test("parameters", "same channels, half the size", 1, parameters("cc2"),
             "project where the stride is not 1, or the channels differ", hidden=True),
        Test("identity shortcut", "output", 2, computes(SAME, "output"), "relu(branch(x) + x)"),
        Test("identity shortcut", "gradients", 2, computes(SAME, "gradients"), "the graph does it, if all stays in it"),
        Test("identity shortcut", "evaluation, other sizes", 2, computes("cc1", "gradients", False, "hw"),
             "the layers are modules that know whether they train: call them, do not rebuild them", hidden=True),
        Test("projection shortcut", "output", 1, computes(HALVED, "output"), "relu(branch(x) + downsample(x))"),
        Test("projection shortcut", "gradients", 2, computes(HALVED, "gradients"), "no ReLU behind the projection"),
        Test("projection shortcut", "more channels, same size", 1, computes("cd1", "gradients", True, "hw"),
             "project where the stride is not 1, or the channels differ", hidden=True),
        Test("projection shortcut", "odd size, stride 3", 2, computes("cd3", "gradients", True, "75"),
             "conv1 and the projection have the same stride; conv2 has stride 1", hidden=True),
        Test("training", "a ResNet-8 of your blocks", 4, in_a_network, "right output and right gradients suffice",
             patience=3),
    ],
    off_limits=["minires.models.blocks"],
)  # fmt: skip
