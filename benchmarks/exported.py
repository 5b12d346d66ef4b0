"""Exported networks beside ONNX Runtime: how far apart their outputs are."""

import numpy as np

import minires as mr
from minires.export import difference, onnx_model
from minires.export.model import tensors_in

from .harness import Plan, markdown, save

BATCHES = 1, 5
GAMMA = 0.05, 0.25
ILL = "resnet50, γ = 1"


def onnx(plan: Plan) -> None:
    """Networks written as ONNX, and how far ONNX Runtime's outputs are from theirs."""
    import onnx as package
    import onnxruntime

    from tests.crosscheck.onnx_networks import NETWORKS, batch, lively  # from the repository, like this folder

    found = {}
    for name, network in {**NETWORKS, ILL: NETWORKS["resnet50"]}.items():
        if plan.quick and network.large:
            continue
        mr.manual_seed(0)
        gamma = (1.0, 1.0) if name == ILL else GAMMA
        model = lively(network.build(), batch(network, 4 if network.large else 64), gamma)
        proto = onnx_model(model, batch(network, 2), batch_dim=network.dim)
        inputs = {size: batch(network, size, seed=size) for size in BATCHES}
        apart = {size: difference(model, proto, x) for size, x in inputs.items()}
        rounding = away(model, inputs[BATCHES[-1]])
        found[name] = {
            "sample": network.sample,
            "nodes": len(proto.graph.node),
            "megabytes": proto.ByteSize() / 1e6,
            "apart": {size: d for size, (d, _) in apart.items()},
            "rounding": rounding,
            "largest": max(largest for _, largest in apart.values()),
        }
        print(name, found[name], flush=True)
    rows = [
        [
            name,
            "×".join(map(str, x["sample"])),
            str(x["nodes"]),
            f"{x['megabytes']:.3g}",
            *(f"{d:.1e}" for d in x["apart"].values()),
            f"{x['rounding']:.1e}",
            f"{x['largest']:.2g}",
        ]
        for name, x in found.items()
    ]
    head = ["network", "sample", "nodes", "MB", *(f"batch {n}" for n in BATCHES), "rounding", "largest output"]
    text = (
        f"How far the outputs of ONNX Runtime {onnxruntime.__version__} are from those of minires, at most, in float32 "
        f"and for normal inputs of batch {' and '.join(map(str, BATCHES))}. Each network was written with ONNX "
        f"{package.__version__} from an example of batch 2; its weights are random, with γ between {GAMMA[0]} and "
        f"{GAMMA[1]} except in the last row. Rounding: how far minires's float32 outputs are from its float64 ones, at "
        f"batch {BATCHES[-1]}. With γ = 1 a random network of this depth is badly conditioned, in any program."
    )
    save("onnx", plan, {"networks": found}, f"{text}\n\n{markdown(head, rows)}")


def away(model: mr.nn.Module, x: np.ndarray) -> float:
    """The largest |float32 output − float64 output|; the model is float64 afterwards."""
    with mr.no_grad():
        single = [y.numpy() for y in tensors_in(model.eval()(mr.Tensor(x)))]
        double = [y.numpy() for y in tensors_in(model.double()(mr.Tensor(x.astype(np.float64))))]
    return max(float(np.abs(a - b).max()) for a, b in zip(single, double))
