"""What gradcheck says about every mutant, as a table: ``PYTHONPATH=.:tests python -m testing.mutation_table``.

Writes tests/testing/mutations.md. ``--seeds`` (50) seeds for each mutant.
"""

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from testing.mutants import MAIN
from testing.mutants_held_out_again import HELD_OUT_AGAIN
from testing.mutants_heldout import HELD_OUT
from testing.mutants_subtle import SUBTLE
from testing.subjects import Mutant

from minires.testing import gradcheck

PAGE = Path(__file__).with_name("mutations.md")


@dataclass
class Verdict:
    """What was said about one mutant: how often each kind ("accepted" among them), and once in words."""

    mutant: Mutant
    said: Counter
    words: str
    seconds: float

    @property
    def accepted(self) -> int:
        """Seeds on which the wrong gradient passed."""
        return self.said["accepted"]

    @property
    def named(self) -> float:
        """Share of seeds with a right diagnosis."""
        return sum(self.said[kind] for kind in self.mutant.kinds) / self.said.total()


def judge(mutant: Mutant, seeds: Sequence[int]) -> Verdict:
    """Check a mutant on these seeds, each with different inputs."""
    said: Counter = Counter()
    words = ""
    started = time.perf_counter()
    for seed in seeds:
        arrays = mutant.arrays(np.random.default_rng(seed))
        options = {"only": mutant.input, **mutant.options}
        report = gradcheck(mutant.f, *arrays, seed=seed, raise_on_failure=False, **options)
        found = [failure for failure in report.failures if failure.input == mutant.input]
        said[found[0].kind if found else "accepted"] += 1
        words = words or (found[0].likely if found else "")
    return Verdict(mutant, said, words, (time.perf_counter() - started) / len(seeds))


def table(title: str, verdicts: Sequence[Verdict], seeds: int) -> str:
    """The verdicts on one set as Markdown."""
    rejected = sum(v.said.total() - v.accepted for v in verdicts)
    named = np.mean([v.named for v in verdicts])
    right = sum(v.named == 1 for v in verdicts)
    lines = [
        f"## {title}",
        "",
        f"{len(verdicts)} mutants, {seeds} seeds each: {rejected} of {len(verdicts) * seeds} checks rejected; "
        f"{named:.1%} of the diagnoses right ({right} mutants on every seed).",
        "",
        "| Mutant | Right diagnosis | Said (seeds) | In words, on the first seed |",
        "|---|---|---|---|",
    ]
    for v in verdicts:
        said = ", ".join(f"{kind} ({count})" for kind, count in v.said.most_common())
        words = v.words.replace("|", "\\|")
        lines.append(f"| {v.mutant.name} | {' or '.join(v.mutant.kinds)} | {said} | {words} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=50)
    seeds = parser.parse_args(arguments).seeds
    parts = [
        "# The checker, checked by mutation\n\nWritten by `PYTHONPATH=.:tests python -m testing.mutation_table`. Each "
        "row is a backward function that is wrong in one known way.\nThe mutants of the held-out sets were "
        "written before the code that makes the diagnoses."
    ]
    sets = ("Main", MAIN), ("Held-out", HELD_OUT), ("Second held-out", HELD_OUT_AGAIN), ("Subtle", SUBTLE)
    for title, mutants in [(f"{name} set", found) for name, found in sets]:
        parts.append(table(title, [judge(mutant, range(seeds)) for mutant in mutants], seeds))
        print(parts[-1].splitlines()[2])
    PAGE.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
