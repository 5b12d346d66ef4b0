"""`export_onnx`: a network, as it is in evaluation, as an ONNX file that takes any batch size."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .. import kernels
from ..arguments import described
from ..files import replacing
from ..flow.keeping import keeping
from ..nn import Module
from ..state import switch
from ..tensor import Tensor
from .forms import FORMS
from .graph import RUNS, Trace, common, sizes_of
from .writer import Writer, import_onnx

Dim = int | None | tuple[int | None, ...]


def export_onnx(model: Module, example: Any, path: str | os.PathLike, *, batch_dim: Dim = 0) -> None:
    """Write the network, in evaluation mode, to an ONNX file (``.onnx``) that takes every batch size.

    example: a floating-point Tensor or array of the shape and dtype that the model takes, or a tuple of several; its
    values do not matter. batch_dim: the axis of the batch (1 for a recurrent layer without ``batch_first``), or None
    for a fixed shape; a tuple of one for each example if they differ. All other sizes are fixed, so recurrent layers
    are written step by step, for sequences as long as the example's, and not as ONNX's RNN or LSTM.

    The file's inputs are called input, or input_0, …; its outputs output, or output_0, …; parameters and buffers are
    called as in the state dict, nodes by the module they are in. The model is left as it was. The file has ONNX's
    opset 28 and has passed its full check; it is whole or not there. In float32, ONNX Runtime's results are the model's
    up to rounding; in float64, it has no convolution, no average pooling, and no ELU, GELU, leaky ReLU or hard swish.
    NaN may come out differently: whether ONNX Runtime's MaxPool and ReduceMax return it depends on its position, ours
    always do.

    Raises ImportError if the package onnx is missing, TypeError or ValueError for an example that does not fit, and
    ValueError, naming op and module, for what has no form in ONNX (see `forms.FORMS`), or depends on the input's values
    or on the batch where no graph is built: comparisons, no_grad, detach, ``if`` in forward.
    For example: ``mr.export_onnx(mr.models.resnet_cifar(20), mr.zeros(1, 3, 32, 32), "resnet20.onnx")``
    """
    proto = onnx_model(model, example, batch_dim=batch_dim)
    with replacing(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())


def onnx_model(model: Module, example: Any, *, batch_dim: Dim = 0) -> Any:
    """What `export_onnx` writes, as an ``onnx.ModelProto`` that has passed the checker."""
    onnx = import_onnx()
    if not isinstance(model, Module):
        raise TypeError(f"export_onnx: got {described(model)} as model; expected an nn.Module")
    arrays, dims = _examples(example, batch_dim)
    names = ["input"] if len(arrays) == 1 else [f"input_{i}" for i in range(len(arrays))]
    state = [*model.named_parameters(), *model.named_buffers()]
    held = {name: value.array if isinstance(value, Tensor) else value for name, value in state}
    batches = list(_batches(arrays, dims))
    with keeping(model):
        model.eval().requires_grad_()  # frozen or not, a parameter that is computed with belongs to the graph
        (first, outputs), (second, others) = [_run(model, names, batch) for batch in batches]
    results, again = ([trace.value(y.op or y) for y in ys] for trace, ys in ((first, outputs), (second, others)))
    nodes = common(first, second, results, again)
    called = ["output"] if len(results) == 1 else [f"output_{i}" for i in range(len(results))]
    if taken := sorted(held.keys() & {*names, *called}):
        raise ValueError(f"export_onnx: {', '.join(taken)} names a parameter, and an input or output; rename it")
    where = next((i for i, dim in enumerate(dims) if dim is not None), 0)
    writer = Writer(onnx, held, names[where], dims[where])
    for name, one, two in zip(names, *batches):
        writer.declare(writer.inputs, name, sizes_of(one.shape, two.shape), one.dtype)
    outline = [(sizes_of(y.shape, z.shape), y.dtype) for y, z in zip(outputs, others)]
    writer.write(nodes, dict(zip(called, zip(results, outline))))
    kind, parameters = type(model).__name__, sum(p.numel() for p in model.parameters())
    proto = writer.proto(kind, {"model": kind, "parameters": str(parameters)})
    onnx.checker.check_model(proto, full_check=True)
    return proto


# ── running the model ───────────────────────────────────────────────────────────────────────────────────────────────


def _examples(example: Any, batch_dim: Dim) -> tuple[list[Any], list[int | None]]:
    """The arrays, and the axis of the batch in each, counted from the front."""
    examples = example if isinstance(example, tuple) else (example,)
    arrays = [x.array if isinstance(x, Tensor) else x for x in examples]
    given = batch_dim if isinstance(batch_dim, tuple) else (batch_dim,) * len(arrays)
    if len(given) != len(arrays) or not arrays:
        raise ValueError(f"export_onnx: got {len(arrays)} examples and {len(given)} batch_dims; expected one for each")
    for array, dim in zip(arrays, given):
        dtype = getattr(array, "dtype", None)
        if getattr(dtype, "kind", None) != "f":
            got = type(array).__name__ if dtype is None else f"an array of {dtype}"
            raise TypeError(f"export_onnx: got {got} as example; expected a floating-point Tensor or array")
        if not array.size or (dim is not None and not -array.ndim <= dim < array.ndim):
            raise ValueError(
                f"export_onnx: got an example of shape {array.shape} with batch_dim={dim}; expected at least one "
                "sample along that axis, or batch_dim=None for a fixed shape"
            )
    return arrays, [dim if dim is None else dim % array.ndim for array, dim in zip(arrays, given)]


def _batches(arrays: Sequence[Any], dims: Sequence[int | None]) -> Iterator[list[Any]]:
    """What the model is given in each run: first samples of the example, then large numbers of both signs.

    They lie on either side of any threshold that a model compares its input with: such a mask is another one then.
    """
    rng = np.random.default_rng(151203385)
    for run, samples in enumerate(RUNS):
        batch = []
        for array, dim in zip(arrays, dims):
            if dim is not None:
                array = array.take(np.arange(samples) % array.shape[dim], dim)
            if run:
                signs = 1 - 2 * (np.arange(array.size).reshape(array.shape) % 2)
                values = 1000 * signs * (1 + abs(rng.standard_normal(array.shape)))
                array = kernels.to_device(values.astype(array.dtype), kernels.device_of(array).name)
            batch.append(array)
        yield batch


def _run(model: Module, names: Sequence[str], batch: Sequence[Any]) -> tuple[Trace, list[Tensor]]:
    """The trace of a forward pass, and its outputs."""
    inputs = {name: Tensor(array, requires_grad=True) for name, array in zip(names, batch)}
    trace = Trace(FORMS, model, inputs)
    with switch(recorder=trace, grad_enabled=True, segment=None), np.errstate(all="ignore"):
        # not the leaves themselves, which a model may not write: x += y makes a new tensor of a clone
        outputs = list(tensors_in(model(*(x.clone() for x in inputs.values()))))
    if not outputs or not all(y.requires_grad for y in outputs):
        raise ValueError(
            "export_onnx: the model returns nothing, or something that no graph leads to: whole numbers, or what was "
            "computed under no_grad() or from detach(); expected tensors that depend on the input"
        )
    return trace, outputs


def tensors_in(result: Any) -> Iterator[Tensor]:
    """The tensors in what a model returns, in order. Raises ValueError for what is neither tensor, tuple nor list."""
    if isinstance(result, tuple | list):
        for part in result:
            yield from tensors_in(part)
    elif isinstance(result, Tensor):
        yield result
    else:
        raise ValueError(
            f"export_onnx: the model returns {described(result)}; expected tensors, or tuples or lists of them"
        )
