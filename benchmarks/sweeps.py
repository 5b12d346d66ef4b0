"""The page ``sweeps``: how much faster two workers are than one, for 16 small jobs."""

from . import bars
from .harness import Plan, about, alternate, markdown, program, save, spread

WORKERS = 1, 2


def sweeps(plan: Plan) -> None:
    """16 jobs (20 layers, an epoch on the digits) by one and by two workers, of processes and of MPI."""
    kinds = {"processes": "minires", "mpi": "mpi4py"}
    programs = {
        f"{kind}, {workers}": program("minires_sweep", kind, workers, module=module)
        for kind, module in kinds.items()
        for workers in WORKERS
    }
    measured = alternate(programs, plan)
    table = []
    for label, result in measured.items():
        kind, workers = label.split(", ")
        one = measured[f"{kind}, 1"]
        cells = [kind, workers, spread(result), "", "", ""]
        if "absent" not in result:
            cells[3] = f"{result['start']:.0f} ms" if "start" in result else ""
            cells[4] = f"{result['work']:.2f} s"
            if result is not one:
                ratio = result["ms"] / one["ms"]
                cells[5] = f"{ratio:.2f} ×"
                if "start" in result:
                    whole = (result["ms"] + result["start"]) / (one["ms"] + one["start"])
                    cells[5] = f"{bars.SWEEP.verdict(ratio)}; with their start {whole:.2f} ×"
        table.append(cells)
    header = ["workers of", "how many", "median (range)", "their start before", "work in all jobs", "two / one"]
    remark = (
        "The time of `processes` is from where the workers are ready to the last result, and their start is beside it; "
        "that of MPI is the whole command's, with `mpiexec`, imports, table and figure."
    )
    text = f"{markdown(header, table)}\n\n{remark}\n\n{about(plan, measured.values())}"
    save("sweeps", plan, {"measured": measured}, text)
