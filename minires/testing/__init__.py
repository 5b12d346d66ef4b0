"""Testing: a gradient checker that names the bug.

``gradcheck(f, x, w)`` compares every gradient with finite differences, and says which mistake a wrong one looks like.
Like PyTorch's, it is imported by name (``from minires.testing import gradcheck``); ``import minires`` does not load it.
"""

from .gradcheck import gradcheck
from .report import KINDS, Failure, GradCheckError, Measurement, Report, VacuousCheckWarning

__all__ = ["KINDS", "Failure", "GradCheckError", "Measurement", "Report", "VacuousCheckWarning", "gradcheck"]
