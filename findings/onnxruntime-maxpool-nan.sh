#!/usr/bin/env bash
# ONNX Runtime 1.32.0: whether MaxPool returns a NaN of its window depends on where the NaN stands. Of the four places in
# a 2×2 window that holds 4, 3, 2, 1, only the last gives NaN; at the other three the result is the largest of the other
# numbers. ReduceMax over one axis gives NaN only for a NaN in the first place. Max and Relu return NaN, always.
# ONNX's text for these operators does not mention NaN. One would have guessed one answer for each operator, whatever the
# place: PyTorch 2.13's max_pool2d and amax, and NumPy's max, return NaN for all four.
#
# Fails if the answers of an operator become the same for all places.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy
"$work/venv/bin/python" - <<'PY'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

NUMBERS = np.array([4, 3, 2, 1], np.float32)


def run(operator, inputs, shape, **attributes):
    names = [f"x{i}" for i in range(len(inputs))]
    described = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for name, x in zip(names, inputs)
    ]
    node = helper.make_node(operator, names, ["y"], **attributes)
    graph = helper.make_graph([node], "g", described, [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 28)], ir_version=14)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip(names, inputs)))[0]


answers = {"MaxPool": [], "ReduceMax": [], "Max": []}
for place in range(4):
    x = NUMBERS.copy()
    x[place] = np.nan
    answers["MaxPool"].append(run("MaxPool", [x.reshape(1, 1, 2, 2)], [1, 1, 1, 1], kernel_shape=[2, 2]).item())
    answers["ReduceMax"].append(run("ReduceMax", [x, np.array([0])], [], keepdims=0).item())
    answers["Max"].append(run("Max", [x, np.zeros(4, np.float32)], [4])[place].item())
print("onnxruntime", onnxruntime.__version__, "onnx", onnx.__version__, "NaN at place 0, 1, 2, 3:", answers)
assert all(np.isnan(answers["Max"]))
for operator in ("MaxPool", "ReduceMax"):
    assert len({bool(np.isnan(y)) for y in answers[operator]}) == 2, answers
PY
