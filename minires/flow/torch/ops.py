"""PyTorch's graph in minires's words: the names of its nodes, the order of their inputs, what stands for a weight."""

import re
from typing import Any

import torch

# Nodes whose names differ from those of minires's ops; of the others, "Backward0" is cut off.
NAMES = {
    "Addmm": "Linear",
    "AvgPool2D": "AvgPool2d",
    "AdaptiveAvgPool2D": "AdaptiveAvgPool2d",
    "Bmm": "MatMul",
    "ConstantPadNd": "Pad",
    "CudnnBatchNorm": "BatchNorm",
    "Gelu": "GELU",
    "MaxPool2DWithIndices": "MaxPool2d",
    "MiopenBatchNorm": "BatchNorm",
    "Mm": "MatMul",
    "NativeBatchNorm": "BatchNorm",
    "NativeGroupNorm": "GroupNorm",
    "NativeLayerNorm": "LayerNorm",
    "Relu": "ReLU",
    "ReshapeAlias": "Reshape",
    "Select": "Index",
    "Silu": "SiLU",
    "Slice": "Index",
    "T": "Permute",
    "ToCopy": "Cast",
    "Transpose": "Permute",
    "UnsafeView": "Reshape",
    "View": "Reshape",
}
REARRANGING = {"Expand", "Permute", "Reshape", "Squeeze", "Unsqueeze", "Clone"}  # their output has the same mean, …
ADDMM = (2, 0, 1)  # b + x @ W has the inputs b, x, W; minires's order is x, W, b
ROLES = ("input", "weight", "bias")
WITH_WEIGHTS = {"Linear", "Conv1d", "Conv2d", "Conv3d", "BatchNorm", "LayerNorm", "GroupNorm"}
ON_THE_WAY = ("TBackward0", "ToCopyBackward0")  # between a weight and the op that uses it: W.t() and, in autocast, half


def own_name(node: Any) -> str:
    """PyTorch's name for a node of the graph. Those made in C++ alone, as torch.jit's, have a type without a name."""
    own = type(node).__name__
    return node.name().rpartition("::")[2] if own == "CppFunction" else own


def name(node: Any, ndim: int = 4) -> str:
    """minires's name for a node of the graph whose output has ``ndim`` axes: "Conv2d" for ConvolutionBackward0."""
    own = re.sub(r"Backward\d*$", "", own_name(node))
    return f"Conv{ndim - 2}d" if own == "Convolution" else NAMES.get(own, own)


def slots(node: Any) -> tuple[int, ...] | range:
    """For each input of a node, in PyTorch's order, its place in minires's."""
    return ADDMM if type(node).__name__ == "AddmmBackward0" else range(len(node.next_functions))


def role(op: str, slot: int, parameter: bool) -> str:
    """What a leaf tensor without a name is to the op that used it first."""
    if op in WITH_WEIGHTS and slot < len(ROLES):
        return ROLES[slot]
    return f"{'parameter' if parameter else 'input'} {slot + 1}"


def is_leaf(node: Any) -> bool:
    """Whether a node of the graph stands for a leaf tensor."""
    return type(node).__name__ == "AccumulateGrad"


def source_of(node: Any) -> tuple[Any, bool]:
    """The node whose gradient an edge to this node is, and whether it comes transposed: see `leaf_behind`."""
    return leaf_behind(node) or (node, False)


def leaf_behind(node: Any) -> tuple[Any, bool] | None:
    """The parameter that a node merely transposes or casts, as (its own node, whether transposed); None for others."""
    if type(node).__name__ not in ON_THE_WAY:
        return None
    transposed = False
    while type(node).__name__ in ON_THE_WAY:
        transposed ^= type(node).__name__ == "TBackward0"
        node = node.next_functions[0][0]
    return (node, transposed) if is_leaf(node) and isinstance(node.variable, torch.nn.Parameter) else None
