"""Testing: a gradient checker that names the bug.

``gradcheck(f, x, w)`` compares every gradient with differences, and where one is wrong, says what it looks like.
As PyTorch's, it is imported by name (``from minires.testing import gradcheck``): ``import minires`` leaves it out.
"""

from .gradcheck import gradcheck
from .report import KINDS, Failure, GradCheckError, Measurement, Report, VacuousCheckWarning

__all__ = ["KINDS", "Failure", "GradCheckError", "Measurement", "Report", "VacuousCheckWarning", "gradcheck"]
