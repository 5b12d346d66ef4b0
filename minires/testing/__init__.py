"""Testing: a gradient checker that names the bug.

``gradcheck(f, x, w)`` compares every gradient with differences, and where one is wrong, says what it looks like.
"""

from .gradcheck import gradcheck
from .report import KINDS, Failure, GradCheckError, Measurement, Report, VacuousCheckWarning

__all__ = ["KINDS", "Failure", "GradCheckError", "Measurement", "Report", "VacuousCheckWarning", "gradcheck"]
