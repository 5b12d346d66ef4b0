"""How everything here is measured: each program in its own process, alternated, medians over several rounds.

In one process the peers would disturb each other: PyTorch's worker threads spin for a while after each call and take
the second core away. So every round starts every program anew, one after the other, and the ratio of the medians is
what counts; absolute times belong to the machine named in the table.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"


def run_worker(program: str, *arguments: str) -> dict:
    """Run ``workers/<program>.py`` and return the JSON object it prints last; {} with a note if a package is absent."""
    command = [sys.executable, str(HERE / "workers" / f"{program}.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if "ModuleNotFoundError" in done.stderr:
        return {"absent": done.stderr.strip().splitlines()[-1]}
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} failed:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def alternate(programs: dict[str, Sequence[str]], rounds: int) -> dict[str, dict]:
    """Run {label: [worker, argument, …]} ``rounds`` times in turn; returns medians and the spread for each label."""
    seen: dict[str, list[dict]] = {label: [] for label in programs}
    for _ in range(rounds):
        for label, (program, *arguments) in programs.items():
            seen[label].append(run_worker(program, *arguments))
            print(".", end="", file=sys.stderr, flush=True)
    return {label: _median(results) for label, results in seen.items()}


def _median(results: list[dict]) -> dict:
    if "absent" in results[0]:
        return results[0]
    merged = dict(results[0])
    for key, value in results[0].items():
        if isinstance(value, int | float):
            values = [result[key] for result in results]
            merged[key] = statistics.median(values)
            merged[f"{key}_range"] = [min(values), max(values)]
    return merged


def machine() -> dict:
    """What the numbers depend on: processor, cores, system, Python."""
    processor = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        processor = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), processor)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": processor, "cores": cores, "system": platform.platform(), "python": platform.python_version()}


def save(name: str, results: dict, table: str) -> None:
    """Write results/<name>.json and .md, and print the table."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({"machine": machine(), **results}, indent=2) + "\n")
    (RESULTS / f"{name}.md").write_text(table + "\n")
    print("\n" + table)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
