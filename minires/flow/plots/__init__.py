"""Figures of gradient flow. Every panel draws on matplotlib axes it is given, and returns them."""

from .figures import comparison, recording
from .panels import fork_strip, heatmap, profile, strip_axes, training
from .probes import input_gradient, lesion, responses, shattering, variance

__all__ = [
    "comparison",
    "fork_strip",
    "heatmap",
    "input_gradient",
    "lesion",
    "profile",
    "recording",
    "responses",
    "shattering",
    "strip_axes",
    "training",
    "variance",
]
