"""What the papers say about plain and residual networks: every experiment of the registry against its criterion.

On five seeds, or on fewer and smaller where the experiment says so (``tested``). `minires experiments NAME` measures
one in full, and ``python -m benchmarks science`` all.
"""

import pytest

from minires.experiments.registry import EXPERIMENTS

NAMES = [pytest.param(name, marks=[pytest.mark.slow] * e.slow) for name, e in EXPERIMENTS.items()]


@pytest.mark.parametrize("name", NAMES)
def test_the_statement_holds(name, request):
    experiment = EXPERIMENTS[name]
    if "c8" in experiment.data[:1]:
        request.getfixturevalue("cifar10")
    verdicts = list(experiment.verdicts(experiment.over_seeds(**experiment.tested)))
    assert verdicts
    failed = {bound: (limits, mean) for bound, limits, mean, holds in verdicts if holds == (bound in experiment.missed)}
    assert not failed, f"{experiment.statement} ({experiment.source})"
