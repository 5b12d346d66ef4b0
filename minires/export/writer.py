"""`Writer`: gives every value of the graph a name, and collects the protocol buffers that an ONNX file is made of."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import kernels
from ..installed import version
from .graph import Batch, Made, Named, Node, Stretched

OPSET = 28  # the newest of ONNX 1.23, and the newest that ONNX Runtime 1.32 supports officially
LIMIT = 2**31 - 1  # bytes of a protocol buffer, which an ONNX file is
INSTALL = "python -m pip install -e '.[onnx]', in the folder of the repository"


def import_onnx() -> Any:
    """The package onnx. Raises ImportError, which says how to install it, if it is missing or too old."""
    try:
        import onnx  # an optional dependency
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ImportError:
        raise ImportError(f"export_onnx: needs the package onnx, which is not installed: {INSTALL}") from None
    if onnx.defs.onnx_opset_version() < OPSET:
        raise ImportError(f"export_onnx: onnx {onnx.__version__} is too old for opset {OPSET}: {INSTALL}")
    return onnx


class Writer:
    """Gives every value a name, and collects the protocol buffers.

    held: parameters and buffers by name. batch_from: the input whose axis ``batch_dim`` is the batch.
    """

    def __init__(self, onnx: Any, held: dict[str, Any], batch_from: str, batch_dim: Any):
        self.onnx, self.held, self.batch_from, self.batch_dim = onnx, held, batch_from, batch_dim
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.between: list[Any] = []  # shapes of the values on the way
        self.initializers: dict[str, Any] = {}
        self.names = {"", *held}
        self.constants: dict[Any, str] = {}  # what a constant is -> its name
        self.made: dict[int, str] = {}  # place of a node -> the name of its value

    def write(self, nodes: Sequence[Node | None], outputs: Mapping[str, tuple[Any, Any]]) -> None:
        """Write the nodes; outputs: for the name of each output its value, and the (sizes, dtype) to declare."""
        self.names |= {*outputs, *(declared.name for declared in self.inputs)}
        for name, (value, _) in outputs.items():
            if isinstance(value, Made):
                self.made.setdefault(value.place, name)
        for place, node in enumerate(nodes):
            if node is not None:
                prefix = f"{node.scope}/{node.type}"
                inputs = [self.value(x, node.scope) for x in node.inputs]
                output = self.made.get(place)
                self.made[place] = self.node(node.type, inputs, prefix, output, **node.attributes)
                if node.shape is not None and output is None:
                    self.declare(self.between, self.made[place], node.shape, node.dtype)
        for name, (value, (sizes, dtype)) in outputs.items():
            known = self.value(value, "")
            if known != name:  # an input, a parameter, or an output twice
                self.node("Identity", [known], "/Identity", name)
            self.declare(self.outputs, name, sizes, dtype)

    def node(self, type: str, inputs: Sequence[str], prefix: str, output: Any = None, **attributes: Any) -> str:
        """Add a node, and return the name of its output: its own, unless it makes an output of the graph."""
        helper = self.onnx.helper
        attributes = {k: helper.np_dtype_to_tensor_dtype(v) if k == "to" else v for k, v in attributes.items()}
        name = self.unique(prefix)
        output = output or name
        self.nodes.append(helper.make_node(type, inputs, [output], name=name, **attributes))
        return output

    def value(self, x: Any, scope: str) -> str:
        """The name of a node's input; constants are written here, at their first use."""
        if x is None:
            return ""
        if isinstance(x, Made):
            return self.made[x.place]
        if isinstance(x, Named):
            if x.name in self.held:
                self.initializers.setdefault(x.name, kernels.to_device(self.held[x.name], "cpu"))
            return x.name
        if isinstance(x, Stretched):
            return self.node("Expand", [self.constant(x.array, scope), self.shape(x.sizes)], f"{scope}/Expand")
        return self.shape(x) if isinstance(x, tuple) else self.constant(x, scope)

    def constant(self, array: np.ndarray, scope: str) -> str:
        """The name of an array that has none; equal ones of a module are one."""
        key = scope, array.shape, array.dtype.str, array.tobytes()
        if key not in self.constants:
            self.constants[key] = self.unique(f"{scope}/constant")
            self.initializers[self.constants[key]] = array
        return self.constants[key]

    def shape(self, sizes: tuple[Any, ...]) -> str:
        """The name of a shape that depends on the batch, computed at run time."""
        if sizes not in self.constants:
            parts = [self.batch(n.times) if isinstance(n, Batch) else self.constant(np.array([n]), "") for n in sizes]
            self.constants[sizes] = self.node("Concat", parts, "/shape", axis=0)
        return self.constants[sizes]

    def batch(self, times: int) -> str:
        """The name of a multiple of the batch size, of shape (1,)."""
        key = "batch", times
        if key not in self.constants:
            if times == 1:
                axis = {"start": self.batch_dim, "end": self.batch_dim + 1}
                self.constants[key] = self.node("Shape", [self.batch_from], "/batch", **axis)
            else:
                inputs = [self.batch(1), self.constant(np.array([times]), "")]
                self.constants[key] = self.node("Mul", inputs, f"/batch*{times}")
        return self.constants[key]

    def declare(self, where: list[Any], name: str, sizes: tuple[Any, ...], dtype: Any) -> None:
        """Say a value's type and shape; N is the batch size."""
        shown = [("N" if n.times == 1 else f"{n.times}*N") if isinstance(n, Batch) else n for n in sizes]
        helper = self.onnx.helper
        where.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shown))

    def unique(self, prefix: str) -> str:
        """The prefix, or with a number behind it if it is taken."""
        name, n = prefix, 0
        while name in self.names:
            n += 1
            name = f"{prefix}_{n}"
        self.names.add(name)
        return name

    def proto(self, name: str, properties: Mapping[str, str]) -> Any:
        """The whole, with the graph's name and further metadata."""
        onnx, size = self.onnx, sum(array.nbytes for array in self.initializers.values())
        if size > LIMIT:
            raise ValueError(f"export_onnx: the weights take {size:,} bytes; an ONNX file holds {LIMIT:,} at most")
        initializers = [onnx.numpy_helper.from_array(array, called) for called, array in self.initializers.items()]
        graph = onnx.helper.make_graph(
            self.nodes, name, self.inputs, self.outputs, initializers, value_info=self.between
        )
        opsets = [onnx.helper.make_opsetid("", OPSET)]
        proto = onnx.helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=onnx.helper.find_min_ir_version_for(opsets),
            producer_name="minires",
            producer_version=version(),
        )
        onnx.helper.set_model_props(proto, properties)
        return proto
