"""The checker must reject every broken backward, and accept every correct one."""

import numpy as np
import pytest
from testing import generated, mutation_table
from testing.awkward import RIGHT, alarms
from testing.correct import CORRECT
from testing.mutants import MAIN, NOT_WRONG
from testing.mutants_held_out_again import HELD_OUT_AGAIN
from testing.mutants_heldout import HELD_OUT
from testing.mutants_subtle import SUBTLE

from minires.testing import KINDS, gradcheck

EVERY = [*MAIN, *HELD_OUT, *SUBTLE]


def _name(case):
    return case.name


def _accept(case, seeds):
    for seed in seeds:
        f, inputs, options = case.build(np.random.default_rng(seed))
        gradcheck(f, *inputs, seed=seed, **options)


@pytest.mark.parametrize("case", CORRECT, ids=_name)
def test_correct_is_accepted(case):
    _accept(case, range(1 if case.slow else 3))


@pytest.mark.parametrize("kind", RIGHT, ids=_name)
def test_right_code_on_awkward_inputs_is_accepted(kind):
    assert alarms(kind, range(1)) == {}


@pytest.mark.parametrize("mutant", EVERY, ids=_name)
def test_mutant_is_rejected_and_named(mutant):
    verdict = mutation_table.judge(mutant, [1000])
    assert not verdict.accepted
    assert verdict.named == 1, f"said {dict(verdict.said)}: {verdict.words}"


def test_second_held_out_set_is_rejected_and_named():
    verdicts = [mutation_table.judge(mutant, [1000]) for mutant in HELD_OUT_AGAIN]
    assert not [v.mutant.name for v in verdicts if v.accepted]
    assert np.mean([v.named for v in verdicts]) >= 0.95


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_generated_mutants_are_named(capsys):
    said = generated.verdicts()
    wrong = said.total() - said["accepted"]
    assert wrong > 250 and said["partly_wrong"] <= 0.05 * wrong


def test_mutants_are_enough_and_their_kinds_known():
    assert len(MAIN) >= 40 and len(RIGHT) >= 50 and len({m.name for m in EVERY}) == len(EVERY)
    assert {kind for m in [*EVERY, *HELD_OUT_AGAIN] for kind in m.kinds} <= set(KINDS)


def test_walk_that_is_right_is_accepted():
    assert gradcheck(NOT_WRONG.f, *NOT_WRONG.arrays(np.random.default_rng(0)), **NOT_WRONG.options)


@pytest.mark.thorough
@pytest.mark.parametrize("case", CORRECT, ids=_name)
def test_correct_is_accepted_on_200_seeds(case):
    _accept(case, range(200))


@pytest.mark.thorough
@pytest.mark.parametrize("kind", RIGHT, ids=_name)
def test_right_code_on_awkward_inputs_is_accepted_on_30_seeds(kind):
    assert alarms(kind, range(30)) == {}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("mutants", "least"),
    [(MAIN, 0.95), (HELD_OUT, 0.95), (HELD_OUT_AGAIN, 0.95), (SUBTLE, 0.95)],
    ids=["main", "held-out", "second held-out", "subtle"],
)
def test_mutants_on_50_seeds(mutants, least):
    verdicts = [mutation_table.judge(mutant, range(50)) for mutant in mutants]
    assert not [v.mutant.name for v in verdicts if v.accepted]
    assert np.mean([v.named for v in verdicts]) >= least
