"""Networks for other programs: `export_onnx` writes a file that ONNX Runtime and others run.

`forms` says how each op is written in ONNX, `graph` what two runs have in common, `model` makes the file of it.
"""

from .check import difference
from .forms import FORMS
from .graph import NoForm, Shape
from .model import export_onnx, onnx_model

__all__ = ["FORMS", "NoForm", "Shape", "difference", "export_onnx", "onnx_model"]
