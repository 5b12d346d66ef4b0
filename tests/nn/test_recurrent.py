"""RNN, GRU and LSTM: a loop over the definition, gradients against differences, shapes, states, and bad input."""

import numpy as np
import pytest
from differences import check_gradient
from hypothesis import given, strategies as st

import minires as mr
from minires import flow, nn

seeds = st.integers(0, 2**32 - 1)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def rnn_step(w, x, state, nonlinearity="tanh"):
    (h,) = state
    a = w["weight_ih"] @ x + w.get("bias_ih", 0) + w["weight_hh"] @ h + w.get("bias_hh", 0)
    return (np.tanh(a) if nonlinearity == "tanh" else np.maximum(a, 0),)


def lstm_step(w, x, state):
    h, c = state
    i, f, g, o = np.split(w["weight_ih"] @ x + w.get("bias_ih", 0) + w["weight_hh"] @ h + w.get("bias_hh", 0), 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_step(w, x, state):
    (h,) = state
    r, z, n = np.split(w["weight_ih"] @ x + w.get("bias_ih", 0), 3)
    from_r, from_z, from_n = np.split(w["weight_hh"] @ h + w.get("bias_hh", 0), 3)
    z = sigmoid(z + from_z)
    return ((1 - z) * np.tanh(n + sigmoid(r + from_r) * from_n) + z * h,)


def by_hand(layer, step, x, states):
    """One sequence x (L, input), one layer after the other, one step after the other."""
    weights = layer.state_dict()
    ends = []
    for l in range(layer.num_layers):
        w = {name.removesuffix(f"_l{l}"): a for name, a in weights.items() if name.endswith(f"_l{l}")}
        state, outputs = tuple(s[l] for s in states), []
        for x_t in x:
            state = step(w, x_t, state)
            outputs.append(state[0])
        x = np.array(outputs)
        ends.append(state)
    return x, [np.array(end) for end in zip(*ends)]


@given(
    seed=seeds,
    length=st.integers(1, 4),
    n=st.integers(1, 3),
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    layers=st.integers(1, 3),
    bias=st.booleans(),
    kind=st.sampled_from(["tanh", "relu", "gru", "lstm"]),
    started=st.booleans(),
)
def test_every_sequence_follows_the_definition(seed, length, n, sizes, layers, bias, kind, started):
    mr.manual_seed(seed)
    lstm = kind == "lstm"
    gated = {"lstm": (nn.LSTM, lstm_step), "gru": (nn.GRU, gru_step)}
    make, step = gated.get(kind, (nn.RNN, lambda w, x, state: rnn_step(w, x, state, kind)))
    options = {} if kind in gated else {"nonlinearity": kind}
    layer = make(*sizes, layers, bias=bias, **options).double()
    x = mr.randn(length, n, sizes[0]).double()
    starts = [mr.randn(layers, n, sizes[1]).double() * started for _ in range(1 + lstm)]
    given_starts = (tuple(starts) if lstm else starts[0]) if started else None
    output, ends = layer(x, given_starts)
    ends = ends if lstm else (ends,)
    for i in range(n):
        expected, last = by_hand(layer, step, x.numpy()[:, i], [s.numpy()[:, i] for s in starts])
        np.testing.assert_allclose(output.numpy()[:, i], expected, rtol=1e-10, atol=1e-12)
        for end, there in zip(ends, last):
            np.testing.assert_allclose(end.numpy()[:, i], there, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_gradients_of_input_start_and_weights_are_those_of_differences(name, rng):
    layer = getattr(nn, name)(3, 2, num_layers=2).double()
    names = [n for n, _ in layer.named_parameters()]

    def run(x, h, *weights):
        for n, w in zip(names, weights):
            vars(layer)[n] = w
        state = (h, h * 0.5) if name == "LSTM" else h
        output, end = layer(x, state)
        return mr.cat([output, end[1] if name == "LSTM" else end])

    weights = [p.numpy().copy() for p in layer.parameters()]
    check_gradient(run, rng.standard_normal((4, 2, 3)), rng.standard_normal((2, 2, 2)), *weights)


@pytest.mark.parametrize("layer", [nn.RNN(3, 4, 2), nn.GRU(3, 4, 2), nn.LSTM(3, 4, 2)])
def test_batch_first_and_no_batch_give_the_same_numbers(layer):
    first = type(layer)(3, 4, 2, batch_first=True)
    first.load_state_dict(layer.state_dict())
    x = mr.randn(5, 2, 3)
    output, end = layer(x)
    assert output.shape == (5, 2, 4)
    np.testing.assert_array_equal(first(x.transpose(0, 1))[0].numpy(), output.numpy().transpose(1, 0, 2))
    alone, alone_end = layer(x[:, 0])
    np.testing.assert_allclose(alone.numpy(), output.numpy()[:, 0], rtol=1e-5, atol=1e-6)
    pick = (lambda e: e[1]) if isinstance(layer, nn.LSTM) else (lambda e: e)
    assert pick(alone_end).shape == (2, 4) and pick(end).shape == pick(first(x.transpose(0, 1))[1]).shape == (2, 2, 4)


def test_a_sequence_may_be_cut_in_two():
    layer = nn.LSTM(2, 3, 2)
    x = mr.randn(6, 1, 2)
    first, middle = layer(x[:2])
    second, end = layer(x[2:], middle)
    output, end_at_once = layer(x)
    np.testing.assert_allclose(np.concatenate([first.numpy(), second.numpy()]), output.numpy(), rtol=1e-5)
    np.testing.assert_allclose(end[1].numpy(), end_at_once[1].numpy(), rtol=1e-5)


def test_weights_start_uniform_within_one_over_root_hidden_size():
    for name, p in nn.LSTM(5, 64, 2).named_parameters():
        assert p.shape[0] == 4 * 64 and 0.95 / 8 < np.abs(p.numpy()).max() <= 1 / 8, name
    assert [n for n, _ in nn.RNN(1, 1, bias=False).named_parameters()] == ["weight_ih_l0", "weight_hh_l0"]


def test_dropout_stands_between_the_layers_in_training_alone():
    layer = nn.RNN(3, 50, 2, dropout=0.5)
    x = mr.randn(4, 1, 3)
    first, second = layer(x)[0].numpy(), layer(x)[0].numpy()
    assert not np.array_equal(first, second)
    layer.eval()
    np.testing.assert_array_equal(layer(x)[0].numpy(), layer(x)[0].numpy())
    one = nn.RNN(3, 50, 1, dropout=0.5)  # there is no between
    np.testing.assert_array_equal(one(x)[0].numpy(), one(x)[0].numpy())


def test_a_recording_shows_the_gradient_of_a_weight_as_a_sum_over_time():
    layer = nn.RNN(2, 3).double()  # five shares may nearly cancel, and are summed in another order here
    with flow.recording(layer, arrays=True) as rec:
        layer(mr.randn(5, 1, 2).double())[0].sum().backward()
    shares = rec.edges(layer.weight_hh_l0)
    assert len(shares) == 5
    np.testing.assert_allclose(sum(s.grad for s in shares), layer.weight_hh_l0.grad, rtol=1e-5)


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: nn.RNN(0, 3), ValueError, r"RNN: got input_size=0; expected a whole number"),
        (lambda: nn.LSTM(2, 3, 1.5), ValueError, r"LSTM: got num_layers=1.5"),
        (lambda: nn.RNN(2, 3, nonlinearity="elu"), ValueError, r"RNN: got nonlinearity='elu'; expected \"tanh\""),
        (lambda: nn.RNN(2, 3, dropout=2), ValueError, r"RNN: got dropout=2"),
        (lambda: nn.RNN(2, 3)(mr.ones(4, 1, 5)), ValueError, r"RNN: got an input of shape \(4, 1, 5\).*input_size 2"),
        (lambda: nn.RNN(2, 3)(mr.ones(0, 1, 2)), ValueError, r"RNN: got an input of shape \(0, 1, 2\).*one step"),
        (lambda: nn.RNN(2, 3)(mr.tensor([[1, 2]])), TypeError, r"RNN: got an input of dtype int64"),
        (lambda: nn.RNN(2, 3)(mr.ones(4, 1, 2), mr.ones(1, 3)), ValueError, r"start state of shape .*\(1, 1, 3\)"),
        (
            lambda: nn.RNN(2, 3, batch_first=True)(mr.ones(4, 1, 2), mr.ones(4, 1, 3)),
            ValueError,
            r"= \(1, 4, 3\); it stays layers first",
        ),
        (lambda: nn.LSTM(2, 3)(mr.ones(4, 1, 2), mr.ones(1, 1, 3)), ValueError, r"LSTM: got a start .*Tensor.*pair"),
    ],
)
def test_bad_input_is_explained(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize(
    "layer, text",
    [
        (nn.RNN(2, 3), "RNN(2, 3)"),
        (
            nn.RNN(2, 3, 2, "relu", False, True),
            "RNN(2, 3, num_layers=2, bias=False, batch_first=True, nonlinearity=relu)",
        ),
        (nn.LSTM(2, 3, 2, dropout=0.1), "LSTM(2, 3, num_layers=2, dropout=0.1)"),
    ],
)
def test_repr_gives_the_arguments(layer, text):
    assert repr(layer) == text
