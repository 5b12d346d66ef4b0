"""The page ``paper``: the convolution kernels' machine code, and what a GPU would take for them, without a GPU."""

import os
from pathlib import Path
from typing import Any

from .harness import BEFORE, Plan, markdown, program, run, save

HEADER = (
    *("layer", "of it", "kernel", "instructions", "multiply-adds", "cycles per instruction", "divisions"),
    *("loads of 4 bytes", "copies of 16 bytes (of 4)", "registers", "spills", "blocks", "predicted"),
)


def paper(plan: Plan) -> None:
    """Instructions of the convolutions' loops and predicted times, beside an earlier checkout if --before names one."""
    earlier = os.environ.get(BEFORE)
    results: dict[str, Any] = {"now": run(program("minires_paper"), plan.quick)}
    if earlier:
        there = str(Path(earlier).resolve())
        results = {"earlier": run(program("minires_paper", PYTHONPATH=there), plan.quick), **results}
    loops = [
        [title, kind, *cells(found["kernels"][title][kind], when if earlier else "")]
        for title, kinds in results["now"]["kernels"].items()
        for kind in kinds
        for when, found in results.items()
    ]
    networks = [
        [
            f"{name}, all convolutions of a step, batch 128",
            *(f"{found['steps'][name]:.2f} ms" for found in results.values()),
            f"{results['now']['tiles_at_no_cost'][name]:.2f} ms",
        ]
        for name in results["now"]["steps"]
    ]
    networks += [
        [
            f"{name}, the whole step in a CUDA graph, batch 128",
            *(f"{found['steps'][name] + found['rest'][name]:.2f} ms" for found in results.values()),
            "",
        ]
        for name in results["now"]["rest"]
    ]
    text = (
        "**Predicted, never measured.** The loop with most multiply-adds of each kernel, as NVRTC compiles it for "
        "sm_90, counted from the machine code.\n\n"
        f"{markdown(HEADER, loops)}\n\n{markdown(['predicted', *results, 'if tiles came at no cost'], networks)}\n\n"
        "The prediction is a model for comparing kernels (`benchmarks/workers/minires_paper.py`), not a measurement: "
        "132 multiprocessors at 1.755 GHz issue one instruction a cycle and scheduler, with as many blocks side by "
        "side as registers and shared memory allow; or a warp's own stalls take longer, or bringing the tiles from the "
        "second-level cache at 5.5 TB/s; and 1.5 µs for each launch. Waiting for memory and bank conflicts are left "
        "out, and so is the first-level cache. The last column leaves out the second-level cache, too: a tile with its "
        "halo, which serves all taps of a 3×3 kernel, could gain no more than that. All else in a step moves each of "
        "its arrays once a launch, at 3.35 TB/s, and takes 1.5 µs a node. "
        f"{'; '.join(dict.fromkeys(found['version'] for found in results.values()))}."
    )
    save("paper", plan, results, text)


def cells(kernel: dict, when: str) -> list[str]:
    """A row of the table."""
    operation = "hmma" if kernel["hmma"] else "ffma"
    return [
        f"`{kernel['kernel']}`" + (f", {when}" if when else ""),
        str(kernel["loop"]),
        f"{kernel[operation]} {operation.upper()}, {100 * kernel[operation] / kernel['loop']:.0f} %",
        f"{kernel['stalls'] / kernel['loop']:.2f}",
        str(kernel["divisions"]),
        str(kernel["loads32"]),
        f"{kernel['copies128']} ({kernel['copies32']})",
        str(kernel["registers"]),
        str(kernel["spills"]),
        str(kernel["blocks"]),
        f"{kernel['microseconds']:.1f} µs",
    ]
