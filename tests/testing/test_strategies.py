"""The strategies: legal calls run and have right gradients, illegal ones raise."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from minires.testing import gradcheck, strategies

ROOT = Path(__file__).parents[2]


@pytest.mark.filterwarnings("ignore::minires.testing.VacuousCheckWarning")
@given(strategies.legal_calls())
@settings(max_examples=100)
def test_legal_calls_have_right_gradients(call):
    assert np.isfinite(call().array).all()
    gradcheck(call.of, *call.arrays)


@given(strategies.illegal_calls())
@settings(max_examples=200)
def test_illegal_calls_raise(call):
    with pytest.raises((ValueError, TypeError, IndexError)):
        pytest.fail(f"{call.what}: gave a result of shape {call().shape}")


def test_without_hypothesis_the_error_says_what_to_install():
    code = "import sys; sys.modules['hypothesis'] = None; import minires.testing.strategies"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode and "python -m pip install -e '.[test]'" in done.stderr
