"""Counts how the calls of PyTorch's and ONNX's databases come out, as Markdown on standard output.

    python tests/crosscheck/count.py [--why]

--why: below each row, an example of each kind of outcome but agreement.
"""

import argparse
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path


def databases() -> Iterator[tuple[str, list, Callable]]:
    """(database, cells, function from a cell to its verdicts)."""
    from crosscheck import test_module_db, test_onnx, test_opinfo, test_optim_db

    yield "OpInfo", test_opinfo.CELLS, test_opinfo.verdicts
    yield "module_db", test_module_db.CELLS, test_module_db.verdicts
    yield "optim_db", test_optim_db.CELLS, test_optim_db.verdicts
    yield "schedules", test_optim_db.SCHEDULE_CELLS, test_optim_db.schedule_verdicts
    yield "ONNX", test_onnx.CELLS, test_onnx.verdicts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--why", action="store_true", help="an example of each kind of outcome but agreement")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from crosscheck.outcomes import AGREES, OUTCOMES

    def row(name, counts):
        print(f"| {name} |", " | ".join(str(counts[outcome] or "") for outcome in OUTCOMES), "|")

    for database, cells, verdicts in databases():
        print(f"\n## {database}\n\n| | {' | '.join(OUTCOMES)} |\n|---|{'--:|' * len(OUTCOMES)}")
        total: Counter = Counter()
        for cell in cells:
            found = list(verdicts(cell))
            counts = Counter(verdict.outcome for verdict in found)
            total += counts
            row(cell, counts)
            kinds = {(v.outcome, re.sub(r"[-\d.]+(e[+-]\d+)?", "#", v.why)): v for v in found if v.outcome != AGREES}
            for verdict in kinds.values() if options.why else ():
                print(f"<!-- {verdict.outcome}: {verdict.why} — {verdict.case} -->")
        row(f"**{database}**", total)


if __name__ == "__main__":
    main()
