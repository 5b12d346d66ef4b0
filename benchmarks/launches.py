"""The page ``launches``: what a training step asks of a GPU's host, counted without a GPU."""

import os
from pathlib import Path

from .harness import BEFORE, Plan, about, alternate, markdown, program, save, spread


def launches(plan: Plan) -> None:
    """What a step of ResNet-20 asks of a GPU's host: nodes of its CUDA graph, arguments, values read, Python's time."""
    programs, earlier = {"now": program("minires_launches")}, os.environ.get(BEFORE)
    if earlier:
        programs = {"earlier": program("minires_launches", PYTHONPATH=str(Path(earlier).resolve())), **programs}
    measured = alternate(programs, plan)
    everything = list(measured.values())
    rows = [
        ["nodes of a graphed step", *(str(r["nodes"]) for r in everything)],
        ["… launches of kernels", *(str(r["launches"]) for r in everything)],
        ["… calls of the array library", *(str(r["library"]) for r in everything)],
        ["arguments of an eager step's launches", *(f"{r['arguments']:,}" for r in everything)],
        ["values read back in an eager step", *(str(r["reads"]) for r in everything)],
        ["Python of an eager step, launches replaced by nothing", *(spread(r) for r in everything)],
        ["… at its fastest", *(spread(r, "least") for r in everything)],
        ["batch norm forward: bytes loaded for each byte of its input", *(f"{r['bytes'][0]:.1f}" for r in everything)],
        ["batch norm backward: bytes loaded for each byte of its input", *(f"{r['bytes'][2]:.1f}" for r in everything)],
    ]
    rows += [
        [
            f"batch norm, addition and ReLU {way}, {kind}: bytes loaded and stored for each byte of their input",
            *(" and ".join(f"{b:.1f}" for b in r["block_bytes"][kind][first : first + 2]) for r in everything),
        ]
        for kind in ("eager", "graphed")
        for first, way in ((0, "forward"), (2, "backward"))
    ]
    kernels = sorted({name for r in everything for name in r["by_kernel"]}, key=lambda name: _order(name, everything))
    each = [[f"`{name}`", *(str(r["by_kernel"].get(name, 0)) for r in everything)] for name in kernels]
    calls = sorted({name for r in everything for name in r["by_call"]}, key=lambda name: _order(name, everything))
    each += [[f"`{name}`, library", *(str(r["by_call"].get(name, 0)) for r in everything)] for name in calls]
    text = "\n\n".join([
        markdown(["ResNet-20", *programs], rows),
        "Counted on cuda-on-cpu with a batch of 128 images; Python's time (of the processor) with one of four. Five of "
        "the library's calls come before or after the graph: the batch, the settings, loss and accuracy.",
        markdown(["node", *programs], each),
        about(plan, everything),
    ])  # fmt: skip
    save("launches", plan, measured, text)


def _order(name: str, results: list[dict]) -> tuple[int, str]:
    return -max(r[by].get(name, 0) for r in results for by in ("by_kernel", "by_call")), name
