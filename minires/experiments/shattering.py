"""Shattered gradients: how far the gradient at one input resembles that at another."""

from .. import flow, models, random
from ..creation import randn
from .experiment import BATCH, Experiment, Numbers, above


def correlation_between_inputs(seed: int, variant: str, depth: int, width: int = 200) -> Numbers:
    """Mean cosine between the gradients at two inputs, for a number of layers BN–ReLU–Linear, plain or residual."""
    random.manual_seed(seed)
    model = models.mlp(depth + 2, width, layers=1, norm=True, residual=variant == "residual").hidden
    return {"cosine": flow.gradient_correlation(model, randn(BATCH, width))}


SHATTERING = Experiment(
    "shattering",
    "Gradients at two inputs correlate as 2^−L in plain networks, far more in residual ones",
    "Balduzzi et al. 2017 (arXiv 1702.08591), section 3: 1/2^L against about 1/√L",
    correlation_between_inputs,
    {
        **{f"cosine, plain-{n}": (2 ** (-n - 0.3), 2 ** (-n + 0.3)) for n in (1, 2, 3, 4)},
        "cosine, plain-10": (-0.02, 0.02),
        "cosine, residual-10": above(0.2),
    },
    variants=("plain", "residual"),
    depths=(1, 2, 3, 4, 10),
    pilot="plain 0.49/0.25/0.13/0.065 (L = 1–4), 0.0005 (L = 10); residual 0.278 (L = 10)",
)


def correlation_along_a_line(seed: int, width: int = 200) -> Numbers:
    """Lag-1 autocorrelation of the slope at 256 points in [−2, 2]."""
    found: Numbers = {}
    for name, depth in (("plain", 24), ("residual", 50)):
        random.manual_seed(seed)
        model = models.mlp(
            depth, width, in_features=1, out_features=1, layers=1, bias=True, residual=name == "residual"
        )
        found[f"{name}-{depth}"] = flow.shattering(model).autocorrelation[1]
    return found


SHATTERING_ON_A_LINE = Experiment(
    "shattering-on-a-line",
    "Along a line of inputs, the slope of a deep plain network is white noise, of a residual one not",
    "Balduzzi et al. 2017 (arXiv 1702.08591), figures 1 and 2",
    correlation_along_a_line,
    {"plain-24": (-0.2, 0.2), "residual-50": above(0.5)},
    pilot="lag-1 autocorrelation −0.03 (plain-24), 0.73 (residual-50)",
)
