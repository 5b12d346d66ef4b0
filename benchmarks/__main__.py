"""``python -m benchmarks``: measure minires next to its peers; tables and figures go to ``benchmarks/results``."""

import argparse
import os
import time

from .alarms import alarms
from .before import before
from .bridge import bridge
from .checks import checks
from .claims import claims
from .exported import onnx
from .harness import BEFORE, PYTHONS, Plan
from .kernels import ops
from .launches import launches
from .paper import paper
from .ranks import ranks
from .readme import readme
from .recording import calls, recording
from .scaling import scaling
from .science import science
from .step import depth1202, engine, inference, memory, peers, step
from .sweeps import sweeps
from .tune import tune

PAGES = {
    page.__name__: page
    for page in (
        *(step, inference, memory, peers, ops, scaling, ranks, paper, launches),
        *(
            depth1202,
            recording,
            calls,
            bridge,
            engine,
            checks,
            alarms,
            onnx,
            science,
            claims,
            sweeps,
            tune,
            before,
            readme,
        ),
    )
}
LONG = ("depth1202", "alarms", "science", "claims", "tune")  # minutes in every case; --quick runs them only by name
NEVER_UNASKED = ("paper", "tune", "before", "readme")


def main() -> None:
    """Parse the command line and run the benchmarks that were named."""
    lines = "\n".join(f"  {name:<10} {page.__doc__}" for name, page in PAGES.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"{__doc__}\n\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="A peer that is not installed is named as absent. Peers that need a Python or NumPy of their time may "
        f"live in another environment: --python PATH, or the variable {PYTHONS}.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        choices=[[], *PAGES],
        help="what to measure (default: all but paper, tune, before and readme)",
    )
    parser.add_argument("--rounds", type=int, default=7, help="new processes for each number (default 7)")
    parser.add_argument("--quick", action="store_true", help="one round of single measurements, just to see it run")
    parser.add_argument("--machine", default="", help="a second machine's name: its results get a folder of their own")
    parser.add_argument("--python", action="append", default=[], help="another interpreter in which peers may be found")
    parser.add_argument("--before", help="an earlier checkout, for the pages before, paper and launches")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error(f"--rounds {arguments.rounds}: expected at least 1")
    os.environ[PYTHONS] = os.pathsep.join([*arguments.python, os.environ.get(PYTHONS, "")])
    if arguments.before:
        os.environ[BEFORE] = arguments.before
    plan = Plan(1, True) if arguments.quick else Plan(arguments.rounds, machine=arguments.machine)
    unasked = [n for n in PAGES if n not in NEVER_UNASKED and not (plan.quick and n in LONG)]
    for name in arguments.names or unasked:
        start = time.perf_counter()
        PAGES[name](plan)
        print(f"[{name}: {time.perf_counter() - start:.0f} s]\n")


if __name__ == "__main__":
    main()
