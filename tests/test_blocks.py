"""An interrupt at every place where one may come, one after the other: nothing stays on, and nothing is half put back.

Those places are the beginning of a Python function and the return from a call (`minires.threads`), which are also where
Python calls a profiler. So here a profiler raises the exception. Its traceback is kept, as a notebook keeps it.
"""

import contextlib
import gc
import itertools
import sys
import weakref

import numpy as np
import pytest

import minires as mr
from minires import flow, kernels, nn, random, recompute
from minires.blocks import contextmanager
from minires.flow.inside import passages
from minires.nn import module as nn_module
from minires.state import State, current, scope, switch
from minires.train.loop import _mode


def interrupted_everywhere(run):
    """Call ``run`` again and again, each time interrupted one place later; yield each exception, while it is alive."""
    for place in itertools.count(1):
        seen = 0

        def interrupt(frame, event, arg):
            nonlocal seen
            if event in ("call", "c_return"):
                seen += 1
                if seen == place:  # noqa: B023 (called in this pass of the loop)
                    raise KeyboardInterrupt

        try:
            sys.setprofile(interrupt)
            run()
            sys.setprofile(None)
        except KeyboardInterrupt as error:
            sys.setprofile(None)
            yield error
        if seen < place:
            assert place > 10, "there was nothing to interrupt"
            return


# ── settings ──


def in_a_block():
    with mr.no_grad():
        pass


def in_a_failing_block():
    with contextlib.suppress(ZeroDivisionError), mr.no_grad():
        _ = 1 / 0


def in_a_return():
    with mr.no_grad(), switch(anomaly=True):
        return current()


def in_blocks_of_one_object():
    off = mr.no_grad()
    with off, off:
        pass
    with off:
        pass


def in_a_recording():
    with flow.recording() as recording:
        assert current().recorder is recording


def in_decorated_functions():
    mr.no_grad()(current)()
    list(mr.no_grad()(lambda: (yield current()))())


def in_set_grad_enabled():
    with mr.detect_anomaly():
        mr.set_grad_enabled(False)
        with mr.set_grad_enabled(True):
            pass


def in_kernels():
    with mr.exact(), kernels.allow_tf32():
        pass


BLOCKS = [
    in_a_block,
    in_a_failing_block,
    in_a_return,
    in_blocks_of_one_object,
    in_a_recording,
    in_decorated_functions,
    in_set_grad_enabled,
    in_kernels,
]


@pytest.mark.parametrize("run", BLOCKS)
def test_no_setting_stays_on(run):
    for error in interrupted_everywhere(run):
        assert current() == State(), f"it stayed on after {error}"


@pytest.mark.parametrize("run", BLOCKS)
def test_settings_around_it_stay_on(run):
    with switch(recomputing=True):
        for error in interrupted_everywhere(run):
            assert current().recomputing and len(current().uses) == 1, f"it went off after {error}"
    assert current() == State()


def test_a_block_that_was_interrupted_works_again():
    off = mr.no_grad()

    def run():
        with off:
            pass

    for error in interrupted_everywhere(run):
        with off:
            assert not current().grad_enabled, error
        off.__enter__()
        assert not current().grad_enabled
        off.__exit__(None, None, None)
        assert current() == State()


def test_a_recording_goes_with_its_block():
    with flow.recording() as recording:
        gone = weakref.ref(recording)
        del recording
        assert current().recorder is gone()
    gc.disable()
    try:
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("order", ["enter, exit", "exit, enter"])
def test_a_with_statement_may_get_exit_first_as_in_python_3_14(order):
    off = mr.no_grad()
    if order == "enter, exit":
        enter, leave = off.__enter__, off.__exit__
    else:
        leave, enter = off.__exit__, off.__enter__
    enter()
    assert not current().grad_enabled
    leave(None, None, None)
    assert current() == State()
    leave(None, None, None)  # has ended before
    enter()
    del leave
    assert not current().grad_enabled  # by hand: the callable of another block has nothing to do with it
    off.__exit__(None, None, None)
    assert current() == State()


def test_an_exit_stack_takes_switches():
    with contextlib.ExitStack() as stack:
        recording = stack.enter_context(flow.recording())
        stack.enter_context(mr.no_grad())
        assert current().recorder is recording and not current().grad_enabled
        gc.collect()
        assert current().recorder is recording
    assert current() == State()


# ── what else is put back ──


def test_the_name_of_the_running_module():
    model = nn.Sequential(nn.ReLU())
    x = mr.ones(2)
    for error in interrupted_everywhere(lambda: model(x)):
        assert scope.get() == "" and nn_module._running.names is None, error


def test_recomputation():
    layer, x = nn.Linear(2, 2), mr.ones(1, 2)
    before = random.get_state()

    def run():
        recompute.checkpoint(layer, x).sum().backward()

    for error in interrupted_everywhere(run):
        assert current() == State() and scope.get() == "" and random.get_state() == before, error


def test_what_a_probe_changed():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))
    model.seen = [mr.ones(1)]
    weight = model[0].weight.array.copy()
    state = random.get_state()

    def run():
        with flow.keeping(model):
            model.eval()
            model.extra = 1
            model.seen.clear()
            model[0].weight.array[...] = 0
            random.manual_seed(3)

    for error in interrupted_everywhere(run):
        assert model.training and model[0].training and not hasattr(model, "extra") and len(model.seen) == 1, error
        assert random.get_state() == state
        np.testing.assert_array_equal(model[0].weight.array, weight)


def test_replaced_kernels_and_modes():
    model, relu = nn.Sequential(nn.ReLU()), kernels.of(np.ones(1)).relu

    def run():
        with kernels.use(relu=np.abs), _mode(model, False):
            pass

    for error in interrupted_everywhere(run):
        assert kernels.of(np.ones(1)).relu is relu and model.training and model[0].training, error


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Python drops one raised in a finaliser
def test_hooks_of_a_probe():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())

    def run():
        with passages({"0": model[0]}):
            nn.summary(model, (2,))

    for error in interrupted_everywhere(run):
        assert not any(module._hooks for module in model.modules()) and model.training, error


# ── contextmanager ──


@contextmanager
def block(log, value=None):
    try:
        log.append("in")
        yield value
    finally:
        log.append("out")


def test_a_generator_is_a_block():
    log = []
    with block(log, 3) as value:
        assert value == 3 and log == ["in"]
    with pytest.raises(ZeroDivisionError), block(log):
        _ = 1 / 0
    with contextlib.ExitStack() as stack:
        assert stack.enter_context(block(log, 4)) == 4
        gc.collect()
        assert log == ["in", "out", "in", "out", "in"]
    assert log == ["in", "out"] * 3 and block.__name__ == "block"


def test_its_end_is_never_left_out():
    log = []

    def run():
        with block(log):
            pass

    for error in interrupted_everywhere(run):
        assert log in ([], ["in", "out"]), error
        log.clear()
