"""checkpoint: the inside is computed again for backward, and only the memory shows it."""

import gc
import tracemalloc
import weakref

import numpy as np
import pytest
from hypothesis import given, strategies as st

import minires as mr
from minires import flow, nn, random
from minires.nn import functional as F


class Net(nn.Module):
    """Convolutions, batch norms, dropout and shortcuts; ``cuts`` says which runs of blocks are checkpointed."""

    def __init__(self, cuts=(), blocks=4):
        super().__init__()
        self.stem = nn.Conv2d(2, 3, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.3))
            for _ in range(blocks)
        )
        self.cuts = cuts

    def run(self, first, last, x):
        for block in self.blocks[first:last]:
            x = x + block(x)
        return x

    def nested(self, cuts, first, last, x):
        """The blocks first … last − 1, checkpointed, and in it what further cuts say."""
        inner = [(a, b) for a, b in cuts if first <= a <= b <= last and (a, b) != (first, last)]
        while first < last:
            a, b = next(((a, b) for a, b in inner if a == first), (first, first + 1))
            run = (lambda x, a=a, b=b: self.nested(inner, a, b, x)) if (a, b) in inner else None
            x = mr.checkpoint(run, x) if run else self.run(a, b, x)
            first = max(b, first + 1)
        return x

    def forward(self, x):
        return self.nested(self.cuts, 0, len(self.blocks), self.stem(x)).mean((2, 3))


def step(cuts=(), dtype="float64", backwards=1, **options):
    """Everything that a training step leaves behind: loss, gradients, buffers, random state."""
    mr.manual_seed(3)
    model = Net(cuts, **options).to(dtype)
    x, y = mr.randn(4, 2, 5, 4).to(dtype), mr.tensor(np.arange(4) % 3)
    loss = F.cross_entropy(model(x), y)
    for i in range(backwards):
        loss.backward(retain_graph=i + 1 < backwards)
    return loss.item(), [p.grad for p in model.parameters()], list(model.buffers()), random.get_state()


def same(a, b):
    loss, grads, buffers, state = zip(a, b)
    assert loss[0] == loss[1] and state[0] == state[1]
    for p, q in [*zip(*grads), *zip(*buffers)]:
        np.testing.assert_array_equal(p, q, strict=True)


spans = st.tuples(st.integers(0, 4), st.integers(0, 4)).map(lambda ab: (min(ab), max(ab))).filter(lambda s: s[0] < s[1])


@given(cuts=st.lists(spans, unique=True, max_size=6), dtype=st.sampled_from(["float32", "float64"]))
def test_equals_the_plain_step_bit_for_bit_however_it_is_cut_and_nested(cuts, dtype):
    same(step(cuts, dtype), step((), dtype))


def test_retain_graph_allows_a_second_backward():
    cuts = [(0, 2), (0, 1), (2, 4)]
    same(step(cuts, backwards=3), step((), backwards=3))


@pytest.mark.parametrize("every", [1, 4, 9, 50])
def test_resnet_option(every):
    grads = []
    for recompute_every in (0, every):
        mr.manual_seed(0)
        model = mr.models.resnet_cifar(20, 4, recompute_every=recompute_every)
        F.cross_entropy(model(mr.randn(3, 3, 8, 8)), mr.tensor([1, 2, 3])).backward()
        grads.append({name: p.grad for name, p in model.named_parameters()} | dict(model.named_buffers()))
    for name, array in grads[0].items():
        np.testing.assert_array_equal(array, grads[1][name], err_msg=name)


def test_the_option_s_old_name_warns():
    with pytest.warns(DeprecationWarning, match="now called recompute_every") as seen:
        assert mr.models.resnet_cifar(8, 4, checkpoint_every=2).recompute_every == 2
    assert seen[0].filename == __file__  # Python shows a DeprecationWarning only where it is the caller's own
    with pytest.raises(TypeError, match="old name"):
        mr.models.resnet_cifar(8, 4, recompute_every=2, checkpoint_every=2)


def test_a_recording_and_the_path_spectrum_see_the_plain_graph():
    mr.manual_seed(0)
    x, y = mr.randn(3, 3, 8, 8), mr.tensor([1, 2, 3])
    model = mr.models.resnet_cifar(14, 4)
    plain, paths = flow.record(model, x, y), flow.path_spectrum(model, x, y, progress=False)
    model.recompute_every = 2
    again, again_paths = flow.record(model, x, y), flow.path_spectrum(model, x, y, progress=False)
    assert plain.table() == again.table() and plain.forks == again.forks
    assert [(n.name, n.norm, n.gram.tolist()) for n in plain.nodes] == [
        (n.name, n.norm, n.gram.tolist()) for n in again.nodes
    ]
    np.testing.assert_array_equal(paths.norms, again_paths.norms)


def test_several_inputs_and_outputs_options_and_what_the_function_closes_over():
    a, b, w = (mr.tensor([v, 2 * v], requires_grad=True) for v in (1.0, 2.0, 3.0))

    def function(a, number, b=None):
        return (a * w).exp() * number, {"sum": a + b * w}

    results = []
    for call in (function, lambda *args, **options: mr.checkpoint(function, *args, **options)):
        first, second = call(a, 2.0, b=b)
        results.append(mr.grad([first, second["sum"]], [a, b, w], [np.ones(2, np.float32)] * 2))
    for plain, again in zip(*results):
        np.testing.assert_array_equal(plain, again)


def test_outputs_may_be_walked_one_after_the_other():
    x = mr.tensor([0.5], requires_grad=True)
    first, second = mr.checkpoint(lambda x: (x.exp(), x.tanh()), x)
    second.backward()
    first.backward()
    assert x.grad == (1 - np.tanh(x.array) ** 2) + np.exp(x.array)


def test_accumulates_and_keeps_asked_for_gradients():
    kept = []

    def function(x):
        middle = x.exp().retain_grad()
        kept.append(middle)
        return middle.tanh()

    x = mr.tensor([0.25], requires_grad=True)
    for _ in range(2):
        mr.checkpoint(function, x).backward()
    twice = x.grad
    x.grad = None
    for _ in range(2):
        function(x).backward()
    assert twice == x.grad
    assert kept[0].grad == kept[-1].grad


def test_the_second_run_happens_once_and_leaves_no_trace():
    calls = []

    def function(x):
        calls.append(mr.rand(1).item())
        return x.exp().tanh().exp()

    x = mr.tensor([0.5], requires_grad=True)
    y = mr.checkpoint(function, x)
    other = mr.rand(1).item()
    y.backward()
    following = mr.rand(1).item()
    assert len(calls) == 2 and calls[0] == calls[1]  # the random state was replayed …
    assert len({calls[0], other, following}) == 3  # … and put back


def test_under_no_grad_the_function_just_runs():
    calls = []
    with mr.no_grad():
        y = mr.checkpoint(lambda x: calls.append(x) or x * 2, mr.tensor([1.0], requires_grad=True))
    assert y.op is None and y.item() == 2 and len(calls) == 1


def arrays_in(x):
    return x.exp().tanh().exp().tanh()


def test_memory_is_that_of_the_inputs_and_one_segment():
    def peak(call):
        x = mr.tensor(np.zeros(100_000, np.float32), requires_grad=True)
        tracemalloc.start()
        y = x
        for _ in range(8):
            y = call(arrays_in, y)
        y.backward(np.ones_like(y.array))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak / x.array.nbytes

    plain, again = peak(lambda function, x: function(x)), peak(mr.checkpoint)
    assert plain > 4 * 8 and again < 8 + 4 + 6  # arrays: 4 for each of 8 calls; 8 inputs, 4 inside one, some in flight


def test_what_is_not_needed_any_more_is_freed_without_the_garbage_collector():
    gc.disable()
    try:
        x = mr.tensor([1.0], requires_grad=True)
        y = mr.checkpoint(lambda x: mr.checkpoint(arrays_in, x), x)
        op = weakref.ref(y.op)
        del y
        assert op() is None
        y = mr.checkpoint(lambda x: mr.checkpoint(arrays_in, x), x)
        inner = weakref.ref(y.op.inputs[0])
        y.backward()
        assert inner() is None
    finally:
        gc.enable()


def test_a_function_that_does_something_else_is_found_out():
    x = mr.tensor([1.0], requires_grad=True)
    model = nn.Sequential(nn.BatchNorm1d(2))
    y = mr.checkpoint(model, mr.randn(4, 2))
    model.eval()
    with pytest.raises(RuntimeError, match=r"Sequential did something else .*<BatchNorm .*BatchNormEval"):
        y.sum().backward()
    calls = []

    def longer_and_longer(x):
        calls.append(x)
        for _ in calls:
            x = x.exp()
        return x

    with pytest.raises(RuntimeError, match=r"longer_and_longer did something else .* it made 1 ops and now 2"):
        mr.checkpoint(longer_and_longer, x).backward()
    with pytest.raises(RuntimeError, match="backward or grad was called inside the checkpointed function"):
        mr.checkpoint(lambda x: x.exp().backward(), x)
    mr.checkpoint(arrays_in, x).backward()  # and the engine still works
    assert x.grad is not None


def test_a_second_backward_says_that_the_graph_is_freed():
    x = mr.tensor([1.0], requires_grad=True)
    y = mr.checkpoint(arrays_in, x)
    y.backward()
    with pytest.raises(RuntimeError, match="already freed by an earlier backward"):
        y.backward()


def test_anomaly_detection_names_the_op():
    x = mr.tensor([-1.0], requires_grad=True)
    with (
        mr.detect_anomaly(),
        np.errstate(invalid="ignore"),
        pytest.raises(FloatingPointError, match="output of <Log"),
    ):
        mr.checkpoint(lambda x: x.log(), x)


@pytest.mark.parametrize("written", ["input", "option", "parameter"])
def test_what_was_written_since_is_noticed_though_no_op_saved_it(written):
    scale = nn.Module()
    scale.factor = nn.Parameter(mr.ones(3))
    scale.forward = lambda x, shift: F.relu((x + scale.factor + shift) * 2.0)  # of these ops, none saves its inputs
    x, shift = mr.ones(2, 3, requires_grad=True) * 1.0, mr.ones(3)
    mr.checkpoint(scale, x, shift=shift).sum().backward()
    y = mr.checkpoint(scale, x.detach(), shift=shift)
    with mr.no_grad():
        {"input": x, "option": shift, "parameter": scale.factor}[written].sub_(5.0)
    with pytest.raises(RuntimeError, match="has been written in place since, so it would compute"):
        y.sum().backward()
    scale.factor.grad = None
    mr.checkpoint(scale, x.detach(), shift=shift).sum().backward()  # earlier writes do not matter
    assert scale.factor.grad is not None
