"""What is said of a wrong result."""

import numpy as np
import pytest

from minires.coursework.judge import judge
from minires.coursework.learner import Wrong


def said_of(got, right):
    with pytest.raises(Wrong) as raised:
        judge("f", got, right)
    return str(raised.value)


def test_how_many_entries_are_wrong_is_said_once_and_then_what_they_have_in_common():
    rng = np.random.default_rng(0)
    right, noise = rng.standard_normal((4, 3)), rng.standard_normal((4, 3))
    row, everywhere = right.copy(), right + noise
    row[1] += noise[1]
    for got, count, likely in (
        (row, 3, "all at indices [1] of axis 0"),
        (everywhere, 12, "no known mistake explains it"),
    ):
        text = said_of(got, right)
        assert (
            text.startswith(f"f: {count} of 12 entries are wrong; the worst, [")
            and text.count("entries are wrong") == 1
        )
        assert text.endswith(f"\n    likely: {likely}")
