"""The settings of the running code: what `switch` sets, for whom, and that everything is put back."""

import asyncio
import threading

import numpy as np
import pytest
from hypothesis import given, strategies as st

import minires as mr
from minires import nn
from minires.state import State, current, scope, switch


def grads_on():
    return current().grad_enabled


def builds_a_graph():
    return (mr.ones(1, requires_grad=True) * 2).requires_grad


# ── with blocks ──


def test_one_object_may_be_used_again_and_inside_itself():
    off = mr.no_grad()
    for _ in range(2):
        with off:
            assert not builds_a_graph()
            with off:
                assert not builds_a_graph()
            assert not builds_a_graph()
        assert builds_a_graph()


def test_the_inner_setting_holds_inside_and_the_outer_one_again_behind_it():
    with mr.no_grad():
        with switch(grad_enabled=True):
            assert builds_a_graph()
        assert not builds_a_graph()


@given(st.lists(st.integers(0, 3), max_size=12))
def test_switches_that_end_in_any_order_leave_what_those_still_on_say(steps):
    """Each number turns a switch on, or off if it is on; the latest of those on decides."""
    switches = [switch(grad_enabled=False), switch(anomaly=True), switch(grad_enabled=True), switch(anomaly=False)]
    on = []
    for i in steps:
        if i in on:
            switches[i].__exit__(None, None, None)
            on.remove(i)
        else:
            switches[i].__enter__()
            on.append(i)
        expected = {"grad_enabled": True, "anomaly": False}
        for j in on:
            expected |= switches[j].settings
        assert (current().grad_enabled, current().anomaly) == tuple(expected.values())
    for i in on:
        switches[i].__exit__(None, None, None)
    assert current() == State()


def test_a_setting_that_does_not_exist_is_an_error_and_changes_nothing():
    with pytest.raises((ValueError, TypeError), match="grad_enable"), switch(grad_enable=False):  # by Python version
        pass
    assert current() == State()


# ── decorated functions ──


def test_the_decorator_works_with_and_without_brackets():
    @mr.no_grad
    def bare(x):
        return x * 2

    @mr.no_grad()
    def called(x):
        return x * 2

    assert not bare(mr.ones(1, requires_grad=True)).requires_grad
    assert not called(x=mr.ones(1, requires_grad=True)).requires_grad
    assert builds_a_graph()


def test_a_decorated_function_may_call_itself_and_run_in_several_threads():
    meet = threading.Barrier(2, timeout=10)
    seen = []

    @mr.no_grad()
    def run(depth):
        if depth:
            run(depth - 1)
        else:
            meet.wait()
        seen.append(grads_on())

    def work():
        run(3)
        seen.append(not grads_on())

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [False] * 10


@mr.no_grad()
def counting(seen):
    """Notes whether a graph is built in its body, and what is sent to it or thrown into it."""
    try:
        for i in range(3):
            seen.append(builds_a_graph())
            try:
                seen.append((yield i))
            except KeyError as error:
                seen.append(error.args[0])
            seen.append(builds_a_graph())
        return "end"
    finally:
        seen.append(builds_a_graph())


def test_a_decorated_generator_builds_no_graph_in_its_body_and_the_caller_does():
    seen = []
    for _ in counting(seen):
        assert builds_a_graph()
    assert seen == [False, None, False] * 3 + [False] and builds_a_graph()


def test_a_decorated_generator_can_be_sent_to_thrown_into_closed_and_returns_its_value():
    seen = []
    running = counting(seen)
    assert next(running) == 0 and running.send("hello") == 1 and running.throw(KeyError("oh")) == 2
    assert builds_a_graph()
    with pytest.raises(StopIteration) as end:
        next(running)
    assert end.value.value == "end"
    assert seen == [False, "hello", False, False, "oh", False, False, None, False, False]

    seen.clear()
    running = counting(seen)
    next(running)
    running.close()
    assert seen == [False, False] and builds_a_graph()

    running = counting(seen)
    next(running)
    with pytest.raises(ValueError, match="mine"):
        running.throw(ValueError("mine"))
    assert builds_a_graph()


def test_a_generator_inherits_what_its_caller_sets_meanwhile():
    @switch(anomaly=True)
    def watched():
        while True:
            yield current()[:2]

    running = watched()
    assert next(running) == (True, True)
    with mr.no_grad():
        assert next(running) == (False, True)
        assert current()[:2] == (False, False)
    assert next(running) == (True, True)


def test_decorators_of_generators_can_be_stacked():
    @mr.no_grad()
    @mr.detect_anomaly()
    def both():
        yield current()[:2]

    assert list(both()) == [(False, True)] and current() == State()


def test_a_decorated_coroutine_keeps_its_setting_across_await():
    seen = []

    @mr.no_grad()
    async def evaluate(name):
        for _ in range(3):
            seen.append((name, builds_a_graph()))
            await asyncio.sleep(0)
        return name

    async def main():
        task = asyncio.create_task(evaluate("task"))
        for _ in range(3):
            seen.append(("main", builds_a_graph()))
            await asyncio.sleep(0)
        result = await evaluate("awaited"), await task
        return (*result, builds_a_graph())

    assert asyncio.run(main()) == ("awaited", "task", True)
    assert set(seen) == {("main", True), ("task", False), ("awaited", False)} and len(seen) == 9


async def an_async_generator():
    yield 1


@pytest.mark.parametrize("thing", [nn.Linear, an_async_generator, "name"])
def test_what_cannot_be_decorated_is_named(thing):
    with pytest.raises(TypeError, match=r"switch: got .* to decorate; it takes functions, generators and coroutines"):
        mr.no_grad()(thing)


# ── tasks and threads ──


def test_one_tasks_settings_do_not_reach_another_across_await():
    """Two tasks in one thread: one evaluates without a graph, the other trains meanwhile."""
    seen = []

    class Watches(mr.Recorder):
        def forward(self, op, inputs, output):
            seen.append(op.name)

    async def evaluates():
        with mr.no_grad(), switch(recorder=Watches()):
            for _ in range(3):
                await asyncio.sleep(0)
                assert not builds_a_graph()

    async def records():
        with switch(recorder=Watches()):
            for _ in range(3):
                await asyncio.sleep(0)
                mr.ones(1, requires_grad=True).exp()

    async def trains():
        for _ in range(4):
            x = mr.tensor([2.0], requires_grad=True)
            loss = (x * x).sum()
            await asyncio.sleep(0)
            loss.backward()
            assert x.grad.tolist() == [4]

    async def main():
        await asyncio.gather(evaluates(), records(), trains())

    asyncio.run(main())
    assert seen == ["Exp"] * 3 and current() == State()


def test_a_task_starts_with_the_settings_of_the_code_that_made_it():
    async def child():
        await asyncio.sleep(0)
        return grads_on()

    async def main():
        with mr.no_grad():
            task = asyncio.create_task(child())
        assert grads_on()
        return await task

    assert asyncio.run(main()) is False


def test_one_object_in_two_tasks_that_overlap():
    off = mr.no_grad()

    async def task(outer):
        with switch(grad_enabled=outer):
            with off:
                await asyncio.sleep(0)
                assert not grads_on()
            await asyncio.sleep(0)
            assert grads_on() is outer

    async def main():
        await asyncio.gather(task(True), task(False), task(True))
        assert grads_on()

    asyncio.run(main())


def test_a_block_that_ends_in_another_context_changes_nothing_there():
    """As a fixture's may: the loop closes an asynchronous generator in a context of its own."""

    async def fixture():
        with mr.no_grad():
            yield

    async def main():
        running = fixture()
        await asyncio.create_task(anext_of(running))
        assert grads_on()
        await running.aclose()
        assert current() == State()

    async def anext_of(generator):
        return await anext(generator)

    asyncio.run(main())


def test_an_asynchronous_generator_that_another_task_closes_leaves_nothing_behind():
    """As the event loop closes one whose caller has lost interest."""

    async def evaluating():
        with mr.no_grad():
            yield 1

    async def main():
        running = evaluating()
        await anext(running)
        assert not grads_on()  # its body runs in the context of its caller
        await asyncio.create_task(running.aclose())
        assert grads_on() and current() == State()

    asyncio.run(main())


def test_a_task_made_inside_a_block_keeps_its_settings_and_one_made_behind_it_has_none():
    async def child():
        seen = [grads_on()]
        await asyncio.sleep(0)
        return [*seen, grads_on()]

    async def main():
        with mr.no_grad():
            inside = asyncio.create_task(child())
            await asyncio.sleep(0)
        behind = asyncio.create_task(child())
        return await inside, await behind

    assert asyncio.run(main()) == ([False, False], [True, True])


def test_the_scope_of_an_op_is_its_own_tasks_module():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())

    async def run():
        await asyncio.sleep(0)
        y = model(mr.tensor(np.ones((1, 2), np.float32)))
        return y.op.scope, scope.get()

    async def main():
        return await asyncio.gather(run(), run())

    assert asyncio.run(main()) == [("1", "")] * 2


# ── PyTorch's other names ──


def test_enable_grad_and_inference_mode():
    with mr.no_grad(), mr.enable_grad():
        assert builds_a_graph()
    with mr.inference_mode():
        assert not builds_a_graph()
    with mr.inference_mode(False):
        assert builds_a_graph()
    for decorated in (mr.inference_mode(builds_a_graph), mr.inference_mode()(builds_a_graph)):
        assert not decorated()
    with mr.no_grad():
        assert mr.enable_grad(builds_a_graph)()


def test_set_grad_enabled_holds_in_a_block():
    for mode in (True, False):
        with mr.set_grad_enabled(mode):
            assert builds_a_graph() == mode
        assert builds_a_graph()


def test_set_grad_enabled_holds_from_now_on():
    with switch():
        for _ in range(3):
            mr.set_grad_enabled(False)
        assert not builds_a_graph() and len(current().uses) == 2  # they do not pile up
        with mr.enable_grad():
            assert builds_a_graph()
        assert not builds_a_graph()
        mr.set_grad_enabled(True)
        assert builds_a_graph()


def test_set_grad_enabled_in_a_block_ends_with_it():
    with mr.no_grad():
        mr.set_grad_enabled(True)
        assert builds_a_graph()
        mr.set_grad_enabled(False)
    assert builds_a_graph() and current() == State()


def test_set_grad_enabled_as_a_decorator_is_in_force_only_when_the_function_runs():
    off = mr.set_grad_enabled(False)(builds_a_graph)
    assert builds_a_graph()
    assert not off() and builds_a_graph() and not off()
