"""BLAS is held to one thread by whoever asks, and gets its threads back; if it cannot be held, that is said."""

import threading
import warnings

import numpy as np
import pytest
import threadpoolctl
from processes import run_python

from minires import blas
from minires.blas import one_blas_thread
from minires.threads import parallel


@pytest.fixture(autouse=True)
def two_blas_threads():
    """Otherwise there would be nothing to hold where the tests run in several processes."""
    one_blas_thread(int)  # BLAS's libraries are known from here on
    with threadpoolctl.threadpool_limits(2, "blas"):
        yield


def test_it_calls_a_function_and_returns_what_that_returns():
    assert one_blas_thread(divmod, 7, 2) == (3, 1)


def test_any_thread_holds_blas_and_gives_it_back():
    """Also after another thread did so before (threadpoolctl 3.8's own setter hears one thread only).

    What NumPy's library itself says counts, and not what we remember.
    """
    found = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
    own = [library for library in found if "numpy" in library.filepath] or found  # SciPy's may have been loaded since
    before, inside = [library.num_threads for library in own], []

    def look():
        inside.append([library.num_threads for library in own])

    for _ in range(2):
        user = threading.Thread(target=one_blas_thread, args=(look,))
        user.start()
        user.join()
        one_blas_thread(look)
    assert before == [2] * len(before) and len(before) >= 1
    assert inside == [[1] * len(before)] * 4
    assert [library.num_threads for library in own] == before


def test_users_may_overlap_and_nest(threads):
    threads(2)
    before = blas.threads()
    assert {n for run in parallel(lambda run: blas.threads(), range(2)) for n in run} == {1}
    assert blas.threads() == before
    assert set(one_blas_thread(lambda: [one_blas_thread(blas.threads), blas.threads()][1])) == {1}
    assert blas.threads() == before

    entered, leave = threading.Event(), threading.Event()
    other = threading.Thread(target=one_blas_thread, args=(lambda: (entered.set(), leave.wait(20)),))
    other.start()
    assert entered.wait(20)
    one_blas_thread(int)
    assert set(blas.threads()) == {1}  # the other one is still inside
    leave.set()
    other.join()
    assert blas.threads() == before


def test_an_error_gives_blas_its_threads_back(threads):
    threads(2)
    before = blas.threads()
    with pytest.raises(ZeroDivisionError):
        one_blas_thread(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        parallel(lambda run: 1 / 0, range(2))
    assert blas.threads() == before


def test_a_new_limit_is_what_comes_back():
    for count in (3, 2, 1, 4):
        with threadpoolctl.threadpool_limits(count, "blas"):
            one_blas_thread(int)
            assert set(blas.threads()) == {count}


WARNED = """
import os, warnings
import numpy as np
import threadpoolctl
from minires import blas
{change}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(3):
        blas.one_blas_thread(np.ones, 3)
print([str(w.message) for w in caught])
"""


@pytest.mark.parametrize(
    ("change", "warned"),
    [
        ("", False),
        ("blas._find = list", True),
        ("blas._get_and_set = lambda library: (lambda: 2, lambda n: None)", True),
    ],
    ids=["held", "none found", "setting has no effect"],
)
def test_it_warns_once_if_blas_cannot_be_held(change, warned, monkeypatch):
    """As with threadpoolctl up to 3.4, which does not find the OpenBLAS of NumPy 2's wheels."""
    for variable in blas.VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    found = eval(run_python(WARNED.format(change=change)))
    assert len(found) == warned and all("BLAS cannot be held to one thread" in text for text in found)
    assert eval(run_python("import os; os.environ['OPENBLAS_NUM_THREADS'] = '1'" + WARNED.format(change=change))) == []


def test_a_warning_made_an_error_leaves_nothing_held(monkeypatch):
    monkeypatch.setattr(blas, "_libraries", None)
    monkeypatch.setattr(blas, "_find", list)
    for variable in blas.VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match="cannot be held"):
            one_blas_thread(np.ones, 3)
    assert not blas._users and not blas._held
    assert one_blas_thread(divmod, 7, 2) == (3, 1)  # and only once
