"""Figures of gradient flow. Every panel draws on matplotlib axes it is given, and returns them."""

from .figures import comparison, recording
from .panels import fork_strip, heatmap, profile, strip_axes, training

__all__ = ["comparison", "fork_strip", "heatmap", "profile", "recording", "strip_axes", "training"]
