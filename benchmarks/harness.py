"""How everything here is measured: each program in its own process, alternated, medians over several rounds.

In one process the peers would disturb each other: PyTorch's worker threads spin for a while after each call and occupy
the second core. So every round starts every program anew, one after the other, and the ratio of the medians is what
counts; absolute times belong to the machine named in the table.
"""

import functools
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from minires.files import replacing

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
BEFORE = "MINIRES_BENCH_BEFORE"  # environment variable: an earlier checkout
PYTHONS = "MINIRES_BENCH_PYTHONS"  # environment variable: further interpreters in which a peer may be installed

LIBRARIES = "OPENBLAS_", "MKL_", "OMP_", "DNNL_", "ONEDNN_", "ATEN_"  # the prefixes of their settings


@dataclass(frozen=True)
class Plan:
    """How often to measure: ``rounds`` of new processes; ``quick`` for single measurements, to see that it runs.

    machine: a name, for a second machine whose results stand beside those of the first.
    """

    rounds: int = 7
    quick: bool = False
    machine: str = ""


class Program(NamedTuple):
    """A worker, its arguments, and the module that must be importable for it."""

    worker: str
    arguments: tuple[str, ...]
    module: str = "minires"
    environment: Mapping[str, str] = {}


def program(worker: str, *arguments: Any, module: str = "minires", **environment: str) -> Program:
    """``program("torch_net", "resnet20", "step", module="torch")``; keywords are environment variables."""
    return Program(worker, tuple(map(str, arguments)), module, environment)


@functools.cache
def interpreter(module: str) -> str | None:
    """The first interpreter that has the module: this one, then those in the variable, separated as in $PATH."""
    others = [p for p in os.environ.get(PYTHONS, "").split(os.pathsep) if p]
    question = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    for python in (sys.executable, *others):
        if subprocess.run([python, "-c", question], capture_output=True, check=False).returncode == 0:
            return python
    return None


def run(what: Program, quick: bool = False) -> dict[str, Any]:
    """Run one worker and return the JSON object it prints last.

    A peer that is not installed, or fails, gives ``{"absent": why}``; an error in minires is an error here.
    """
    python = interpreter(what.module)
    if python is None:
        return {"absent": f"{what.module} is not installed"}
    command = [python, str(HERE / "workers" / f"{what.worker}.py"), *what.arguments, *(["--quick"] if quick else [])]
    path = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**_usual(os.environ), "PYTHONPATH": path, **what.environment}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=900)
    except subprocess.TimeoutExpired:
        return {"absent": "gave up after 15 minutes"}
    if done.returncode and what.module == "minires":
        raise RuntimeError(f"{' '.join(command[1:])} failed:\n{done.stderr}")
    if done.returncode:
        return {"absent": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def _usual(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what a shell may have set to have the arithmetic libraries run other kernels than they would choose.

    OPENBLAS_CORETYPE=Haswell, for one, halves the products' speed where a processor knows AVX-512.
    """
    return {name: value for name, value in environment.items() if not name.startswith(LIBRARIES)}


def alternate(programs: Mapping[str, Program], plan: Plan) -> dict[str, dict]:
    """Run every program ``plan.rounds`` times in turn; returns, for each label, medians and ranges over the rounds."""
    seen: dict[str, list[dict]] = {label: [] for label in programs}
    for _ in range(plan.rounds):
        for label, what in programs.items():
            if seen[label] and "absent" in seen[label][-1]:
                continue  # it will not be there in the next round either
            seen[label].append(run(what, plan.quick))
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {label: _median(results) for label, results in seen.items()}


def _median(results: Sequence[dict]) -> dict:
    absent = next((result for result in results if "absent" in result), None)
    if absent:
        return absent
    merged = dict(results[0])
    for key, value in results[0].items():
        values = [result[key] for result in results]
        if isinstance(value, float):
            merged[key] = statistics.median(values)
            merged[f"{key}_range"] = [min(values), max(values)]
        elif key == "ms":  # a list of times, with None for what a program does not do
            merged[key] = [None if None in times else statistics.median(times) for times in zip(*values)]
    return merged


def machine() -> dict[str, Any]:
    """What the numbers depend on: processor, its vector instructions, cores, system, Python."""
    processor, flags = platform.processor(), ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        fields = dict(
            (part.strip() for part in line.split(":", 1))
            for line in cpuinfo.read_text(encoding="utf-8").splitlines()
            if ":" in line
        )
        processor, flags = fields.get("model name", processor), f" {fields.get('flags', '')} "
    vectors = next((name for name, flag in (("AVX-512", "avx512f"), ("AVX2", "avx2")) if f" {flag} " in flags), None)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": processor + (f" ({vectors})" if vectors else ""),
        "cores": cores,
        "system": platform.system(),
        "python": platform.python_version(),
    }


def about(plan: Plan, results: Iterable[dict]) -> str:
    """The sentence under every table: how it was measured, where, and with which versions."""
    m, results = machine(), list(results)
    threads = sorted({r["threads"] for r in results if "threads" in r})
    versions = sorted({r["version"] for r in results if "version" in r})
    return (
        (
            "A quick look, single measurements: do not quote. "
            if plan.quick
            else f"Medians of {plan.rounds} rounds. "
            if plan.rounds > 1
            else "One round. "
        )
        + "Each program in its own process, alternated; "
        + f"{m['processor']}, {m['cores']} cores, {m['system']}, float32, Python {m['python']}"
        + (f", {' or '.join(map(str, threads))} threads" if threads else "")
        + (f". {'; '.join(versions)}." if versions else ".")
    )


def folder(plan: Plan) -> Path:
    """``results``, or ``results/NAME`` for a second machine; a quick look goes into ``results/quick``, not kept."""
    path = RESULTS / ("quick" if plan.quick else plan.machine)
    path.mkdir(parents=True, exist_ok=True)
    return path


def save(name: str, plan: Plan, results: dict[str, Any], text: str) -> None:
    """Write <name>.json and <name>.md into the folder of results, and print the text."""
    whole = {"machine": machine(), "rounds": plan.rounds, "quick": plan.quick, **results}
    for suffix, content in ((".json", json.dumps(whole, indent=2, ensure_ascii=False)), (".md", text)):
        with replacing(folder(plan) / f"{name}{suffix}") as temporary:
            temporary.write_text(content + "\n", encoding="utf-8")
    print("\n" + text)


def load(name: str, machine: str = "") -> dict[str, Any] | None:
    """What `save` has written, or None."""
    path = RESULTS / machine / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def save_figure(name: str, plan: Plan, figure: Any) -> None:
    """Write <name>.png beside it."""
    with replacing(folder(plan) / f"{name}.png") as temporary:
        figure.savefig(temporary, dpi=120)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def spread(result: dict, key: str = "ms") -> str:
    """A time with its range: ``360 ms (352–371)``."""
    if "absent" in result:
        return f"absent: {result['absent']}"
    low, high = result[f"{key}_range"]
    return f"{number(result[key])} ms ({number(low)}–{number(high)})"


def number(value: float) -> str:
    """Three significant digits, but never a power of ten."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
