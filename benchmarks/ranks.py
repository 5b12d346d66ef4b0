"""The page ``ranks``: one training over MPI ranks, measured on this machine, and planned for larger ones."""

import math
from typing import Any

from . import bars, figures
from .harness import Plan, Program, about, alternate, interpreter, markdown, number, program, save, save_figure, spread
from .workers.common import CASES, cores

NETS = ("resnet20", "resnet56")
CHOICES = ("local", "sync")
LATENCY = 10e-6  # seconds from one rank to another, assumed in the plan
GBITS, RANKS = (10, 100), (2, 4, 8, 16, 32, 64)


def ranks(plan: Plan) -> None:
    """A step over ranks: time, efficiency, bytes, local and sync batch norm; a plan for 2 … 64 ranks."""
    if interpreter("mpi4py") is None:
        print("ranks: mpi4py is not installed: python -m pip install -e '.[mpi]'")
        return
    counts = [n for n in (1, 2, 4, 8) if n <= max(cores(), 2)]
    programs: dict[str, Program] = {}
    for net in NETS[:1] if plan.quick else NETS:
        programs[f"{net} 1"] = _program(net, 1, "local")
        for n in counts[1:]:
            programs |= {f"{net} {n} {choice}": _program(net, n, choice) for choice in CHOICES}
            programs[f"{net} share of {n}"] = _program(net, 1, "local", "--batch", CASES[net].batch // n)
    steps = alternate(programs, plan)
    gradients = {
        f"{n} {choice}": alternate({"": _program("resnet20", n, choice, mode="difference")}, Plan(1))[""]
        for n in (2, 4)
        for choice in CHOICES
    }
    results = {"steps": steps, "gradients": gradients}
    save_figure("ranks", plan, figures.ranks(steps, counts))
    save("ranks", plan, results, "\n\n".join([*page(steps, gradients, counts), about(plan, steps.values())]))


def _program(net: str, count: int, choice: str, *more: Any, mode: str = "step") -> Program:
    return program("over_ranks", net, mode, "--ranks", count, "--batch-norm", choice, *more, module="mpi4py")


def efficiency(steps: dict[str, dict], net: str, count: int, choice: str) -> float:
    """Time of one rank over ``count`` times that of as many, with the same batch in all: strong scaling."""
    return steps[f"{net} 1"]["ms"] / count / steps[f"{net} {count} {choice}"]["ms"]


def planned(
    compute_ms: float, count: int, gbit: float, gradient_bytes: float, messages: float, packets: float
) -> float:
    """The part of a step's time that is spent computing, if ``compute_ms`` of it are and nothing overlaps.

    The gradients go around a ring (2·(R − 1)/R of their bytes pass each link); of the other messages, each rank gets
    all in ⌈log₂ R⌉ rounds. A round costs `LATENCY`.
    """
    rounds = math.ceil(math.log2(count))
    seconds_per_byte = 8 / (gbit * 1e9)
    gradients = 2 * (count - 1) * (LATENCY + gradient_bytes / count * seconds_per_byte)
    others = messages * rounds * LATENCY + packets * (count - 1) * seconds_per_byte
    return compute_ms / (compute_ms + 1e3 * (gradients + others))


def page(steps: dict[str, dict], gradients: dict[str, dict], counts: list[int]) -> list[str]:
    """The page's tables."""
    nets = [net for net in NETS if f"{net} 1" in steps]
    rows, weak, plan = [], [], []
    for net in nets:
        title, batch = CASES[net].title, CASES[net].batch
        rows.append([title, "1", "", spread(steps[f"{net} 1"]), "", "", "", ""])
        for n in counts[1:]:
            share = steps[f"{net} share of {n}"]
            for choice in CHOICES:
                r = steps[f"{net} {n} {choice}"]
                part = efficiency(steps, net, n, choice)
                verdict = "met" if part >= bars.RANKS else "missed"
                rows.append([
                    title, str(n), choice, spread(r), f"{part:.2f} ({verdict}: ≥ {bars.RANKS})",
                    f"{r['gradients_sent'] / 1e6:.2f} MB", f"{r['packets_sent'] / 1e3:.1f} kB in {r['messages_sent']}",
                    f"{number(r['average_ms'])} ms",
                ])  # fmt: skip
                weak.append([
                    title, f"{batch // n} × {n}", choice, spread(share), spread(r), f"{share['ms'] / r['ms']:.2f}",
                ])  # fmt: skip
        for choice in CHOICES:
            r, compute = steps[f"{net} {counts[1]} {choice}"], steps[f"{net} 1"]["ms"]
            sent = r["gradients_sent"], r["messages_sent"], r["packets_sent"]
            for gbit in GBITS:
                for kind, ms in (("weak", lambda n, c=compute: c), ("strong", lambda n, c=compute: c / n)):
                    cells = [f"{planned(ms(n), n, gbit, *sent):.2f}" for n in RANKS]
                    plan.append([title, choice, f"{gbit} Gb/s", kind, *cells])
    table = [
        [
            n,
            choice,
            f"{r['difference']:.1%}" if r["difference"] > 1e-6 else f"{r['difference']:.0e}",
            f"{r['cosine']:.5f}",
        ]
        for (n, choice), r in ((key.split(), r) for key, r in gradients.items())
    ]
    return [
        "Strong scaling: a batch of 128 in all, one thread a rank. Efficiency: time of one rank / (ranks × time). The "
        "last column is how long averaging the gradients takes, with waiting for the other ranks.",
        markdown(
            [
                "network",
                "ranks",
                "batch norm",
                "step, median (range)",
                "efficiency",
                "gradients",
                "other messages",
                "averaging",
            ],
            rows,
        ),
        "Weak scaling: the same share for each rank; efficiency: time of one rank with its share alone / time of all.",
        markdown(["network", "batch", "batch norm", "one rank alone", "all ranks", "efficiency"], weak),
        "What batch norm's choice changes: the averaged gradient at initialisation of ResNet-20 (width 8, digits, "
        "batch 64, float64) against that of one process with the whole batch.",
        markdown(["ranks", "batch norm", "‖averaged − whole‖ / ‖whole‖", "cosine"], table),
        "**A plan, not a measurement**: the efficiency to expect of 2 to 64 machines with one rank each, from the time "
        "of one rank and the bytes above, if nothing overlaps, gradients go around a ring, and a message takes "
        f"{LATENCY * 1e6:.0f} µs. Weak: 128 images a rank; strong: 128 in all, so two images a rank at 64.",
        markdown(["network", "batch norm", "network link", "scaling", *map(str, RANKS)], plan),
    ]
