"""The page ``ops``: every kernel alone, forward and backward, next to PyTorch's and to what the machine allows.

The roofline of a call is the time that its multiplications would take at the machine's sgemm rate, or that reading and
writing every operand once would take at its copy bandwidth, whichever is longer. Operands that fit a cache may be
faster than that.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from . import figures
from .harness import Plan, about, alternate, interpreter, markdown, number, program, save, save_figure
from .step import CHANNELS_LAST, PYTORCH, title

NETS = ("resnet20", "resnet56", "resnet18", "resnet50")
SAME_SHAPES = {"resnet56": "resnet20"}  # counted anew, and not measured again


def ops(plan: Plan) -> None:
    """Every kernel of ResNet-20/56/18/50, forward and backward, against PyTorch and the roofline."""
    nets: dict[str, Any] = {}
    measured: dict[str, dict[str, dict]] = {}
    everything, pages = [], []
    for net in NETS[:1] if plan.quick else NETS:
        if net in SAME_SHAPES:
            measured[net] = recounted(measured[SAME_SHAPES[net]], calls_of(net))
        else:
            measured[net] = measure(net, plan)
            everything += measured[net].values()
        nets[net] = combined(measured[net])
        pages.append(f"## {title(net)}\n\n{page(nets[net])}")
    save_figure("ops", plan, figures.kernels({title(net): calls for net, calls in nets.items()}))
    roofline = measured[NETS[0]]["roofline"]
    intro = (
        f"Roofline: {roofline['sgemm_gflops']:.0f} GFLOP/s of sgemm (2048³, NumPy), {roofline['copy_gbs']:.0f} GB/s of "
        f"copying (read + write, 256 MB), on {roofline['threads']} threads, in the rounds of ResNet-20; every network "
        "has its own from its own rounds. A kernel's roofline is the longer of its "
        "arithmetic at the one and its operands, each once, at the other; over 100 % means that operands stayed in a "
        "cache, or that Winograd multiplied less. "
        "Calls: in one training step; calls of one kind with the same shapes are measured once "
        "(and ResNet-56 has the shapes of ResNet-20)."
    )
    text = "\n\n".join([intro, *pages, about(plan, everything)])
    save("ops", plan, {"roofline": roofline, "nets": nets}, text)


def measure(net: str, plan: Plan) -> dict[str, dict]:
    """{program: what its worker says}; ``ms`` is a list, for the calls in minires's order, of medians over rounds."""
    watched, calls = program("minires_ops", net, "step"), calls_of(net)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "calls.json")
        path.write_text(json.dumps(calls), encoding="utf-8")
        programs = {"minires": watched, "roofline": program("roofline")}
        if interpreter("torch"):
            programs[PYTORCH] = program("torch_ops", path, module="torch")
            programs[CHANNELS_LAST] = program("torch_ops", path, "--channels-last", module="torch")
        return alternate(programs, plan)


def calls_of(net: str) -> list[dict[str, Any]]:
    """The kernels' calls in one training step."""
    return alternate({"minires": program("minires_ops", net, "step")}, Plan(1, True))["minires"]["calls"]


def recounted(measured: dict[str, dict], calls: list[dict[str, Any]]) -> dict[str, dict]:
    """What `measure` found for these calls in another net, where they occurred in another number and order."""
    places = {_which(call): i for i, call in enumerate(measured["minires"]["calls"])}
    order = [places[_which(call)] for call in calls]
    found = {label: {**r, "ms": [r["ms"][i] for i in order]} if "ms" in r else r for label, r in measured.items()}
    found["minires"]["calls"] = calls
    return found


def _which(call: dict[str, Any]) -> str:
    return json.dumps([call["kernel"], call["arguments"], call["keywords"]])


def combined(measured: dict[str, dict]) -> list[dict[str, Any]]:
    """One entry for each call: minires's own, with PyTorch's times and the roofline's."""
    roofline, found = measured["roofline"], []
    for i, call in enumerate(measured["minires"]["calls"]):
        at_sgemm = call["flops"] / roofline["sgemm_gflops"] / 1e6
        at_bandwidth = call["bytes"] / roofline["copy_gbs"] / 1e6
        entry = {
            **call,
            "ms": measured["minires"]["ms"][i],
            "roofline_ms": max(at_sgemm, at_bandwidth),
            "bound": "sgemm",
        }
        if at_bandwidth > at_sgemm:
            entry["bound"] = "copy"
        for label in (PYTORCH, CHANNELS_LAST):
            entry[label] = measured[label]["ms"][i] if label in measured and "ms" in measured[label] else None
        found.append(entry)
    return found


def page(calls: list[dict[str, Any]]) -> str:
    """A table, the kernels that take most of the step first, and their sum."""
    rows = []
    total = sum(call["count"] * call["ms"] for call in calls)
    for call in sorted(calls, key=lambda call: -call["count"] * call["ms"]):
        peer, other = call[PYTORCH], call[CHANNELS_LAST]
        rows.append(
            [
                f"`{call['kernel']}`",
                shapes(call),
                str(call["count"]),
                f"{number(call['ms'])} ms",
                "—" if peer is None else f"{number(peer)} / {number(other)} ms",
                "—" if peer is None else f"{call['ms'] / peer:.2f} ×",
                f"{number(call['roofline_ms'])} ms ({call['bound']})",
                f"{call['roofline_ms'] / call['ms']:.0%}",
                f"{call['count'] * call['ms'] / total:.1%}",
            ]
        )
    header = ["kernel", "shapes", "calls", "minires", "PyTorch NCHW / channels_last", "minires / PyTorch NCHW"]
    header += ["roofline", "reached", "share of the kernels' time"]
    ideal = sum(call["count"] * call["roofline_ms"] for call in calls)
    known = [call for call in calls if call[PYTORCH] is not None]
    ours, theirs = (sum(call["count"] * call[key] for call in known) for key in ("ms", PYTORCH))
    sums = f"All calls of a step: {number(total)} ms; at the roofline {number(ideal)} ms ({ideal / total:.0%})"
    if known:
        sums += f". Of those that PyTorch has too: minires {number(ours)} ms, PyTorch NCHW {number(theirs)} ms"
    return f"{markdown(header, rows)}\n\n{sums}."


def shapes(call: dict[str, Any]) -> str:
    """``128×16×32×32, 16×16×3×3, stride 2``."""
    arrays = [a for a in call["arguments"] if isinstance(a, dict) and len(a["shape"]) > 1]
    text = ", ".join("×".join(map(str, a["shape"])) for a in arrays)
    if call["kernel"].startswith("conv2d"):
        after = sum(isinstance(a, dict) or a is None for a in call["arguments"])
        text += f", stride {call['arguments'][after][0]}"
    return text
