"""What depth and shortcuts do to small networks in training."""

import functools

import numpy as np

from .. import flow, models, nn
from ..autograd import no_grad
from ..nn.examples import fit_to
from ..tensor import Tensor
from .experiment import Experiment, Numbers, above, below
from .training import DATA, batches, dataset, final_loss, fit, network

STEPS = 0, 3, 10, 100


def gradient_profile(seed: int, variant: str, depth: int, data: str, steps: int = STEPS[-1]) -> Numbers:
    """‖dL/dW‖ of the first convolution over that of the last, at some steps of the training, up to ``steps``."""
    found: Numbers = {}
    model, probe = network(variant, depth, seed, data), next(batches(data, seed))
    history, losses = flow.FlowHistory(), fit(model, data, seed, max(steps, 400))
    for step in range(steps + 1):
        if step in STEPS:
            history.add(step, flow.record(model, *probe))
        if step < steps:
            next(losses)
    for step, ratio in zip(STEPS, history.first_over_last()):
        found[f"first/last, step {step}"] = ratio
    return found


GRADIENT_PROFILE = Experiment(
    "gradient-profile",
    "At initialisation the gradient of plain-56 is far larger in the first convolution than in the last",
    "Yang et al. 2019 (arXiv 1902.08129)",
    gradient_profile,
    {"first/last, step 0, plain-56": above(100), "first/last, step 0, residual-56": below(20)},
    variants=("plain", "residual"),
    depths=(56,),
    data=DATA,
    pilot="plain 859–1280, residual 2.0–6.7",
    remark="The explosion is over within ten steps; then the plain network's ratio is below 1. How far below depends "
    "on the seed, over more than an order of magnitude, and the residual network's varies as much.",
    along="step",
    log=("first/last",),
    tested={"steps": 0},
    slow=True,
    least={"steps": 0},
)


def degradation(seed: int, variant: str, depth: int, data: str, steps: int = 400, lr: float = 0.1) -> Numbers:
    """The training loss at the end."""
    return {"loss": final_loss(network(variant, depth, seed, data), data, seed, steps, lr)}


DEGRADATION = Experiment(
    "degradation",
    "Plain networks get worse with depth, residual ones far less",
    "He et al. 2015 (arXiv 1512.03385), figures 1 and 6: in the *training* loss, so it is not overfitting",
    degradation,
    {
        "plain-56 − plain-8": above(0.5),
        "plain-56 − zero-gamma-56": above(0.4),
        "residual-56 − residual-8": below(0.5),
    },
    variants=("plain", "residual", "zero-gamma"),
    depths=(8, 20, 56),
    data=DATA,
    derived={
        "plain-56 − plain-8": lambda found: found["loss, plain-56"] - found["loss, plain-8"],
        "residual-56 − residual-8": lambda found: found["loss, residual-56"] - found["loss, residual-8"],
        "plain-56 − zero-gamma-56": lambda found: found["loss, plain-56"] - found["loss, zero-gamma-56"],
    },
    pilot="plain-8/20/56 1.52/1.81/2.29; residual-8/20/56 1.46/1.53/1.66–2.04, with zero-γ 1.51–1.59",
    remark="In 400 steps depth helps no network: residual ones lose a little too, 56 layers clearly unless γ starts at "
    "0.",
    tested={"seeds": [0], "variants": ("plain", "zero-gamma"), "depths": (8, 56)},
    slow=True,
    second={"lr": 0.02},
)


@functools.cache  # the same networks are asked for their lesions and for their responses
def trained(seed: int, variant: str, depth: int, data: str, steps: int, lr: float) -> models.ResNet:
    """A network after so many steps."""
    model = network(variant, depth, seed, data)
    for _ in fit(model, data, seed, steps, lr):
        pass
    return model


def lesion(seed: int, variant: str, depth: int, data: str, steps: int = 1200, lr: float = 0.1) -> Numbers:
    """Test accuracy lost when a block is deleted."""
    result = flow.lesion(trained(seed, variant, depth, data, steps, lr), dataset(data).test, progress=False)
    ordinary = ~result.stage_change
    ordinary[0] = False
    found = {
        "median": float(np.median(result.drop)),
        "first": result.drop[0],
        "stage change": result.drop[result.stage_change].mean(),
        "intact accuracy": result.intact_accuracy,
        "accuracy left at best": result.accuracy.max(),
    }
    return found | ({"ordinary": result.drop[ordinary].mean()} if ordinary.any() else {})


LESION = Experiment(
    "lesion",
    "Deleting a block breaks a plain network, and hardly hurts a residual one",
    "Veit et al. 2016 (arXiv 1605.06431), section 4.1 and figure 3",
    lesion,
    {"median, residual-20": below(0.08), "median, plain-20": above(0.18)},
    variants=("plain", "residual"),
    depths=(20,),
    data=DATA,
    pilot="residual 0.015–0.045 (stage change 0.07–0.10, first 0.12–0.16); plain: every block to chance",
    tested={"seeds": [0]},
    slow=True,
    second={"lr": 0.02},
)


def layer_responses(seed: int, variant: str, depth: int, data: str, steps: int = 1200, lr: float = 0.1) -> Numbers:
    """Standard deviation of the responses of 3×3 layers: mean over all, and over the last in each block."""
    model = trained(seed, variant, depth, data, steps, lr)
    result = flow.responses(model.eval(), dataset(data).test[:512][0])
    last = [layer.endswith("conv2") for layer in result.names]
    return {"all": result.std.mean(), "last": result.std[last].mean()}


RESPONSES = Experiment(
    "responses",
    "The layers of a residual network respond more weakly than those of its plain twin",
    "He et al. 2015 (arXiv 1512.03385), section 4.2 and figure 7",
    layer_responses,
    {"residual / plain, all": below(0.9), "residual / plain, last": below(0.9)},
    variants=("plain", "residual"),
    depths=(20,),
    data=DATA,
    derived={
        "residual / plain, all": lambda found: found["all, residual-20"] / found["all, plain-20"],
        "residual / plain, last": lambda found: found["last, residual-20"] / found["last, plain-20"],
    },
    pilot="residual 0.62–1.14, plain 0.80–1.22",
    missed=("residual / plain, all",),
    remark="Missed for the mean over all layers: a response behind batch norm has the size of the layer's γ, which "
    "starts at 1 in both networks, and in 1,200 steps only the last layers of the blocks, whose output meets the "
    "shortcut, have moved apart. Nor is it a law: after 6,000 steps, 48 epochs of the same 8,000 images, the ratio "
    "over all layers was 1.31 and 1.23 (two seeds); with all 50,000 images, 8 epochs, 0.94 and 0.95, in the last "
    "layers 0.89 and 0.92. He et al. train for 64,000 steps on 50,000 augmented images. At a fifth of the rate the "
    "last layers move apart more slowly, too, and neither holds.",
    tested={"seeds": [0]},
    slow=True,
    second={"lr": 0.02},
    fails=("residual / plain, all", "residual / plain, last"),
)

# How the scale α of a branch starts, for n blocks; "plain" has no shortcuts.
SCALES = {"alpha=0": lambda n: 0.0, "alpha=1/sqrt(n)": lambda n: n**-0.5, "alpha=1": lambda n: 1.0}


def skip_init(seed: int, variant: str, depth: int, data: str, steps: int = 400, lr: float = 0.02) -> Numbers:
    """Training loss without batch norm at the start and at the end, with different scales α of the branches.

    α is learned and starts at 0, at 1/√n for n blocks, which keeps the variance bounded, or at 1. The control is the
    plain network, as it is and with every convolution scaled so that its output starts with a variance of 1.
    """
    kind = "residual" if variant in SCALES else "plain"
    model = network(kind, depth, seed, data, block=models.SkipInitBlock)
    if variant == "unit-variance":
        scale_to_unit_variance(model, fit_to(model, dataset(data).train[:256][0]))
    elif variant in SCALES:
        for block in model.blocks():
            nn.init.constant_(block.alpha, SCALES[variant](len(model.blocks())))
    elif variant != "plain":
        raise ValueError(f"skip-init: got variant={variant!r}; expected plain, unit-variance or {', '.join(SCALES)}")
    start = flow.record(model, *next(batches(data, seed))).loss
    assert start is not None
    return {"loss": final_loss(model, data, seed, steps, lr), "first loss": start}


SKIP_INIT = Experiment(
    "skip-init",
    "A branch scale that starts at 0 trains 56 layers without batch norm",
    "De & Smith 2020 (arXiv 2002.10444): α = 0, or any α up to about 1/√n for n blocks",
    skip_init,
    {
        "plain − alpha=0": above(0.4),
        "plain − alpha=1/sqrt(n)": above(0.4),
        "alpha=1 − alpha=0": above(0.4),
        "loss, unit-variance-56": above(2.1),
    },
    variants=("plain", "unit-variance", *SCALES),
    depths=(56,),
    data=DATA,
    derived={
        "plain − alpha=0": lambda found: found["loss, plain-56"] - found["loss, alpha=0-56"],
        "plain − alpha=1/sqrt(n)": lambda found: found["loss, plain-56"] - found["loss, alpha=1/sqrt(n)-56"],
        "alpha=1 − alpha=0": lambda found: found["loss, alpha=1-56"] - found["loss, alpha=0-56"],
    },
    pilot="α = 0: 1.65; α = 1: 2.30; plain 2.30",
    remark="What counts is the size of the branch: started at 1/√n, α trains at least as well as started at 0, while "
    "α = 1 starts with a loss far above chance (ln 10 = 2.30), and then diverges (counted as chance), stays at chance "
    "or learns late. The plain network loses its signal, because at 2×2 pixels most of a 3×3 kernel sees padding; but "
    "scaled so that every convolution starts with a variance of 1 it does not learn either. "
    "At a fifth of the rate 400 steps teach none of them much: all end above a loss of 2.1.",
    tested={"seeds": [0], "variants": ("plain", "unit-variance", "alpha=0", "alpha=1/sqrt(n)")},
    slow=True,
    second={"lr": 0.004},
    fails=("plain − alpha=0", "plain − alpha=1/sqrt(n)", "alpha=1 − alpha=0"),
)


def scale_to_unit_variance(plain: models.ResNet, x: Tensor) -> None:
    """Divide each convolution's weight in a plain pre-activation network by the standard deviation of its output."""
    with no_grad():
        x = scaled(plain.conv1, x)
        for block in plain.blocks():
            x = scaled(block.conv1, block.relu(block.bn1(x)))
            x = scaled(block.conv2, block.relu(block.bn2(x)))


def scaled(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """The convolution's output, once its weight is divided by the standard deviation of that output."""
    convolution.weight.array /= convolution(x).array.std()
    return convolution(x)
