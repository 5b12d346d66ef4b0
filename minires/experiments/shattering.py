"""Shattered gradients: how far the gradient at one input resembles that at another."""

from .. import flow, models, random
from ..creation import randn
from .seeds import BATCH, Numbers


def correlation_between_inputs(seed: int, width: int = 200) -> Numbers:
    """Row 9: mean cosine between the gradients at two inputs, for L layers BN–ReLU–Linear, plain and residual."""
    found: Numbers = {}
    for name, layers in (("plain", 1), ("plain", 2), ("plain", 3), ("plain", 4), ("plain", 10), ("residual", 10)):
        random.manual_seed(seed)
        model = models.mlp(layers + 2, width, layers=1, residual=name == "residual").hidden
        found[f"{name}, L = {layers}"] = flow.gradient_correlation(model, randn(BATCH, width))
    return found


def correlation_along_a_line(seed: int, width: int = 200) -> Numbers:
    """Row 10: lag-1 autocorrelation of the slope at 256 points in [−2, 2]."""
    found: Numbers = {}
    for name, depth in (("plain", 24), ("residual", 50)):
        random.manual_seed(seed)
        model = models.mlp(
            depth, width, in_features=1, out_features=1, layers=1, bias=True, residual=name == "residual"
        )
        found[f"{name}-{depth}"] = flow.shattering(model).autocorrelation[1]
    return found
