"""Module: names, order, modes, state dicts, and what happens to attributes."""

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.nn import functional as F


class Pair(nn.Module):
    """Two layers, and its own parameter and buffer."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(mr.ones(3))
        self.register_buffer("offset", np.zeros(3, np.float32))
        self.first = nn.Conv2d(3, 4, 3)
        self.rest = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1, bias=False))

    def forward(self, x):
        return self.rest(self.first(x))


NAMES = ["scale", "first.weight", "first.bias", "rest.0.weight", "rest.0.bias", "rest.2.weight"]
BUFFERS = ["offset", "rest.0.running_mean", "rest.0.running_var", "rest.0.num_batches_tracked"]


class Child(nn.Module):
    """It knows its parent."""

    def __init__(self, parent):
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.parent = parent


def test_a_module_inside_itself_is_named():
    parent = Pair()
    parent.child = Child(parent)
    for walk in (parent.state_dict, lambda: parent.load_state_dict({}), parent.child.state_dict):
        with pytest.raises(ValueError, match=r"child.*a module inside itself.*self\.(parent|child) = \[module\]"):
            walk()
    with pytest.raises(ValueError, match=r"Pair: child\.parent is the network itself \(Pair\)"):
        parent.state_dict()
    assert len(list(parent.parameters())) == len(NAMES) + 2  # each module once: no cycle is met
    parent.child.parent = None
    parent.child.above = [parent]  # as the error says
    assert "child.fc.weight" in parent.state_dict()
    parent.again = parent.child  # twice, but not inside itself
    assert "again.fc.weight" in parent.state_dict()
    parent.rest.add_module("3", parent.rest)
    with pytest.raises(ValueError, match=r"Pair: rest\.3 is rest itself \(Sequential\)"):
        parent.state_dict()


def values(model):
    return {name: array.copy() for name, array in model.state_dict().items()}


def assert_same(before, after):
    assert list(before) == list(after)
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


# ── names and order ──


def test_parameters_come_in_order_of_assignment_with_dotted_names():
    model = Pair()
    assert [name for name, _ in model.named_parameters()] == NAMES
    assert [name for name, _ in model.named_parameters("net")][:2] == ["net.scale", "net.first.weight"]
    assert [p.shape for p in model.parameters()] == [(3,), (4, 3, 3, 3), (4,), (4,), (4,), (2, 4, 1, 1)]


def test_buffers_are_found_apart_from_parameters():
    model = Pair()
    assert [name for name, _ in model.named_buffers()] == BUFFERS
    assert len(list(model.buffers())) == 4


def test_without_recurse_a_module_names_only_its_own():
    model = Pair()
    assert [name for name, _ in model.named_parameters(recurse=False)] == ["scale"]
    assert [name for name, _ in model.named_buffers("net", recurse=False)] == ["net.offset"]
    assert len(list(model.rest.parameters(recurse=False))) == len(list(model.rest.buffers(recurse=False))) == 0


def test_a_submodule_by_its_name():
    net = nn.Sequential(nn.Sequential(nn.Linear(2, 2)), nn.ReLU())
    assert net.get_submodule("") is net and net.get_submodule("0.0") is net[0][0]
    with pytest.raises(AttributeError, match=r"get_submodule: got '0.1', which Sequential has not \(nearest: 0"):
        net.get_submodule("0.1")


def test_a_memory_format_changes_nothing():
    net = nn.Conv2d(1, 2, 3)
    assert net.to(memory_format=mr.channels_last) is net
    assert net.to("cpu", mr.float64, memory_format=mr.channels_last).weight.dtype == mr.float64
    with pytest.raises(TypeError, match="to: got memory_format='nhwc'"):
        net.to(memory_format="nhwc")


def test_named_modules_and_children():
    model = Pair()
    assert [name for name, _ in model.named_modules()] == ["", "first", "rest", "rest.0", "rest.1", "rest.2"]
    assert [name for name, _ in model.named_children()] == ["first", "rest"]
    assert [type(m).__name__ for m in model.rest.children()] == ["BatchNorm2d", "ReLU", "Conv2d"]
    assert next(model.modules()) is model


def test_a_shared_module_counts_once_and_is_saved_under_each_name():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(2, 2)
            self.b = self.a

    model = Tied()
    assert [name for name, _ in model.named_parameters()] == ["a.weight", "a.bias"]
    assert [name for name, _ in model.named_modules()] == ["", "a"]
    assert [name for name, _ in model.named_modules(remove_duplicate=False)] == ["", "a", "b"]
    assert list(model.state_dict()) == ["a.weight", "a.bias", "b.weight", "b.bias"]
    model.load_state_dict(model.state_dict())


def test_a_tied_parameter_counts_once_and_survives_a_round_trip():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
            self.decoder.weight = self.encoder.weight

    model = Tied()
    assert len(list(model.parameters())) == 1
    state = model.state_dict()
    assert list(state) == ["encoder.weight", "decoder.weight"]
    model.load_state_dict(state)


# ── attributes ──


def test_reassigning_a_parameter_replaces_it_in_place_of_the_old_one():
    model = Pair()
    model.scale = nn.Parameter(mr.zeros(5))
    assert [name for name, _ in model.named_parameters()] == NAMES
    assert model.scale.shape == (5,)


def test_replacing_a_child_replaces_its_parameters():
    model = Pair()
    model.first = nn.Identity()
    assert [name for name, _ in model.named_children()] == ["first", "rest"]
    assert "first.weight" not in dict(model.named_parameters())


def test_a_name_moves_between_kinds():
    model = Pair()
    model.offset = nn.Parameter(mr.ones(3))
    assert "offset" in dict(model.named_parameters())
    assert "offset" not in dict(model.named_buffers())


def test_deleting_an_attribute_forgets_the_parameter():
    model = Pair()
    del model.scale
    assert not hasattr(model, "scale")
    assert [name for name, _ in model.named_parameters()] == NAMES[1:]
    with pytest.raises(AttributeError, match="Pair has no attribute 'scale'"):
        del model.scale


def test_a_method_cannot_be_replaced_by_a_child_or_parameter():
    for name in ("forward", "float"):
        with pytest.raises(KeyError, match=f"'{name}', which is a method"):
            setattr(nn.Module(), name, nn.ReLU())
    with pytest.raises(KeyError, match="'parameters', which is a method"):
        nn.Module().register_buffer("parameters", np.zeros(1))


def test_a_shallow_copy_takes_nothing_from_the_module():
    layer = nn.Linear(2, 2)
    other = copy.copy(layer)
    other.extra = nn.Parameter(mr.zeros(1))
    del other.bias
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    assert [name for name, _ in other.named_parameters()] == ["weight", "extra"]


def test_none_keeps_the_name_and_removes_the_parameter():
    model = Pair()
    model.first.bias = None
    assert model.first.bias is None
    assert "first.bias" not in model.state_dict()
    model.first = None
    assert [name for name, _ in model.named_children()] == ["rest"]


def test_a_plain_tensor_does_not_silently_replace_a_parameter():
    with pytest.raises(TypeError, match=r"Linear: got a Tensor for 'weight', which holds an nn.Parameter; assign"):
        nn.Linear(2, 2).weight = mr.ones(2, 2)
    with pytest.raises(TypeError, match=r"Pair: got an int for 'first', which holds an nn.Module"):
        Pair().first = 3
    with pytest.raises(TypeError, match=r"Pair: got a str for 'offset', which holds an array"):
        Pair().offset = "zero"


def test_parameters_need_super_init_first():
    class Forgetful(nn.Module):
        def __init__(self):
            self.conv = nn.Conv2d(1, 1, 1)

    with pytest.raises(AttributeError, match=r"Forgetful: call super\(\).__init__\(\) before assigning 'conv'"):
        Forgetful()


def test_plain_attributes_may_come_before_super_init():
    class Early(nn.Module):
        def __init__(self):
            self.width = 4
            super().__init__()

    assert Early().width == 4


def test_an_unknown_attribute_names_class_and_attribute():
    with pytest.raises(AttributeError, match="'Pair' object has no attribute 'wieght'"):
        Pair().wieght  # noqa: B018


def test_dir_lists_parameters_buffers_and_children():
    assert {"scale", "offset", "first", "forward"} <= set(dir(Pair()))


def test_registering_takes_the_place_of_an_attribute():
    module = nn.Module()
    module.mean = None
    module.register_buffer("mean", np.ones(2, np.float32))
    np.testing.assert_array_equal(module.mean, [1, 1])
    module.register_parameter("bias", None)
    assert module.bias is None
    with pytest.raises(KeyError, match=r"Module: got the name 'a\.b'; a name is not empty and contains no dot"):
        module.add_module("a.b", nn.ReLU())


def test_a_buffer_may_be_a_tensor():
    module = nn.Module()
    module.register_buffer("mean", mr.zeros(2))
    module.load_state_dict({"mean": np.array([1, 2])})
    np.testing.assert_array_equal(module.mean.numpy(), [1, 2])
    assert module.double().mean.dtype == np.float64


# ── calling ──


def test_a_module_without_forward_says_so():
    with pytest.raises(TypeError, match="Module: a module must define forward"):
        nn.Module()(mr.ones(1))


def test_ops_carry_the_dotted_name_of_their_module_as_scope():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(2, 2), nn.ReLU()) for _ in range(2)])

        def forward(self, x):
            scopes = []
            for block in self.blocks:
                x = block(x)
                scopes.append(x.op.scope)
            direct = self.blocks[0][0](x)  # a grandchild called past its parent
            own = direct * 2
            return [*scopes, direct.op.scope, own.op.scope]

    net = Net()
    assert net(mr.ones(1, 2)) == ["blocks.0.1", "blocks.1.1", "blocks.0.0", ""]
    assert (mr.ones(2, requires_grad=True) * 2).op.scope == ""


def test_an_anomaly_names_its_module_where_there_is_no_graph():
    model = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Linear(2, 1)))
    nn.init.constant_(model[1][0].weight, np.inf)
    with mr.no_grad(), mr.detect_anomaly(), pytest.raises(FloatingPointError, match=r"in 1\.0"):
        model(mr.ones(1, 2))


def test_scope_is_restored_after_an_error():
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="linear"):
        model(mr.ones(1, 3))
    assert (mr.ones(2, requires_grad=True) * 2).op.scope == ""
    assert model(mr.ones(1, 2)).op.scope == "0"


def test_keyword_arguments_reach_forward():
    class Scale(nn.Module):
        def forward(self, x, by=1):
            return x * by

    assert Scale()(mr.ones(1), by=3).item() == 3


# ── modes, types, gradients ──


def test_a_child_may_define_train():
    """Frozen batch norm, as detection networks have it."""

    class Frozen(nn.Sequential):
        def train(self, mode=True):
            super().train(mode)
            self[0].eval()
            return self

    model = nn.Sequential(Frozen(nn.BatchNorm1d(2), nn.Dropout()), nn.ReLU())
    assert [m.training for m in model.train().modules()] == [True, True, False, True, True]
    assert not any(m.training for m in model.eval().modules())


@pytest.mark.parametrize(
    "keep",
    [
        lambda m: m.register_buffer("a", np.ones(1)), lambda m: m.register_parameter("a", None),
        lambda m: m.add_module("a", None), lambda m: setattr(m, "a", nn.ReLU()),
    ],
)  # fmt: skip
def test_what_a_module_keeps_comes_after_super_init(keep):
    class Early(nn.Module):
        def __init__(self):
            keep(self)

    with pytest.raises(AttributeError, match=r"Early: call super\(\).__init__\(\) before assigning 'a'"):
        Early()


def test_train_and_eval_reach_every_module():
    model = Pair()
    assert model.training
    assert model.eval() is model
    assert not any(m.training for m in model.modules())
    model.rest.train()
    assert not model.training
    assert model.rest[0].training


def test_apply_visits_children_first():
    visited = []
    model = Pair()
    assert model.apply(lambda m: visited.append(type(m).__name__)) is model
    assert visited == ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "Sequential", "Pair"]


def test_to_converts_parameters_gradients_and_floating_buffers_in_place():
    model = Pair()
    weight = model.first.weight
    F.mse_loss(model(mr.randn(2, 3, 5, 5)), mr.zeros(2, 2, 3, 3)).backward()
    assert model.to(mr.float64) is model
    assert model.first.weight is weight
    assert weight.dtype == weight.grad.dtype == np.float64
    assert model.rest[0].running_mean.dtype == np.float64
    assert model.rest[0].num_batches_tracked.dtype == np.int64
    assert model.float().first.weight.dtype == np.float32
    assert model.to("cpu") is model


def test_to_refuses_whole_numbers_and_unknown_places():
    with pytest.raises(TypeError, match=r"to: got .*int64.*floating point"):
        Pair().to(np.int64)
    with pytest.raises(ValueError, match=r"to: got 'moon'; expected a dtype .* cpu"):
        Pair().to("moon")


def test_zero_grad_and_freezing():
    model = nn.Linear(2, 1)
    model(mr.ones(1, 2)).sum().backward()
    model.zero_grad(set_to_none=False)
    np.testing.assert_array_equal(model.weight.grad, np.zeros((1, 2)))
    model.zero_grad()
    assert model.weight.grad is None
    model.requires_grad_(False)
    assert not model(mr.ones(1, 2)).requires_grad


# ── state dicts ──


def test_state_dict_holds_copies_in_order():
    model = Pair()
    state = model.state_dict()
    assert list(state) == [
        "scale", "offset", "first.weight", "first.bias", "rest.0.weight", "rest.0.bias", "rest.0.running_mean",
        "rest.0.running_var", "rest.0.num_batches_tracked", "rest.2.weight",
    ]  # fmt: skip
    state["scale"][...] = 7
    np.testing.assert_array_equal(model.scale.numpy(), np.ones(3))


def test_a_state_dict_round_trip_makes_two_models_equal():
    source, target = Pair(), Pair()
    source(mr.randn(2, 3, 5, 5))
    held = target.first.weight
    result = target.load_state_dict(source.state_dict())
    assert result == ([], [])
    assert_same(values(source), values(target))
    assert target.first.weight is held


def test_loading_keeps_the_dtype_of_the_module():
    model = nn.Linear(2, 2)
    model.load_state_dict({name: array.astype(np.float64) for name, array in model.state_dict().items()})
    assert model.weight.dtype == np.float32


def test_missing_and_unexpected_names_are_an_error_and_change_nothing():
    model = Pair()
    before = values(model)
    state = {name: array + 1 for name, array in before.items()}
    state["head.weight"] = state.pop("first.weight")
    message = r"load_state_dict: missing first\.weight; unexpected head\.weight.*strict=False"
    with pytest.raises(KeyError, match=message):
        model.load_state_dict(state)
    assert_same(before, values(model))


@pytest.mark.parametrize("missing, unexpected", [(["scale"], []), ([], ["head"])])
def test_either_missing_or_unexpected_names_are_enough(missing, unexpected):
    state = {name: array for name, array in Pair().state_dict().items() if name not in missing}
    with pytest.raises(KeyError, match=rf"missing {''.join(missing) or 'nothing'}; unexpected {''.join(unexpected)}"):
        Pair().load_state_dict({**state, **dict.fromkeys(unexpected, 0)})


@pytest.mark.parametrize("strict", [True, False])
def test_a_state_without_the_number_of_batches_loads_and_keeps_the_number(strict):
    """States saved before PyTorch counted the batches have none; the layer's own stays."""
    model, other = Pair(), Pair()
    model.rest[0].num_batches_tracked += 5
    state = {name: array + 1 for name, array in other.state_dict().items() if "num_batches" not in name}
    assert model.load_state_dict(state, strict) == ([], [])
    assert model.rest[0].num_batches_tracked == 5
    np.testing.assert_array_equal(model.rest[0].running_mean, [1, 1, 1, 1])
    norm = nn.BatchNorm1d(2)
    assert norm.load_state_dict({"weight": np.ones(2)}, strict=False).missing_keys == [
        "bias",
        "running_mean",
        "running_var",
    ]


def test_a_long_list_of_missing_names_is_cut():
    with pytest.raises(KeyError, match=r"missing scale, .*, … \(9 in all\); unexpected nothing"):
        Pair().load_state_dict({})


def test_not_strict_loads_what_fits_and_reports_the_rest():
    model = Pair()
    missing, unexpected = model.load_state_dict({"scale": np.full(3, 5.0), "head.weight": np.ones(1)}, strict=False)
    np.testing.assert_array_equal(model.scale.numpy(), [5, 5, 5])
    assert missing == [name for name in list(model.state_dict())[1:] if name != "rest.0.num_batches_tracked"]
    assert unexpected == ["head.weight"]


@pytest.mark.parametrize("strict", [True, False])
def test_a_wrong_shape_is_an_error_and_changes_nothing(strict):
    model = Pair()
    before = values(model)
    state = {name: array + 1 for name, array in before.items()}
    state["rest.2.weight"] = np.ones((3, 4, 1, 1))
    message = r"load_state_dict: got rest\.2\.weight of shape \(3, 4, 1, 1\), but Pair has \(2, 4, 1, 1\)"
    with pytest.raises(ValueError, match=message):
        model.load_state_dict(state, strict=strict)
    assert_same(before, values(model))


def test_a_transposed_weight_does_not_fit():
    with pytest.raises(ValueError, match=r"load_state_dict: got weight of shape \(3, 2\), but Linear has \(2, 3\)"):
        nn.Linear(3, 2, bias=False).load_state_dict({"weight": np.ones((3, 2))})


def test_a_state_that_is_no_dict_of_numbers():
    with pytest.raises(TypeError, match="load_state_dict: got a str; expected a dict"):
        Pair().load_state_dict("weights.npz")
    model = nn.Linear(1, 1, bias=False)
    with pytest.raises(ValueError, match=r"load_state_dict: got weight, a ndarray of dtype <U1; expected numbers"):
        model.load_state_dict({"weight": np.array([["x"]])})


def test_models_can_be_copied_and_pickled():
    model = Pair()
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_same(values(model), values(twin))
        twin.first.weight.array[...] = 0
    assert model.first.weight.array.any()


# ── containers and looks ──


def test_repr_shows_the_tree():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.Sequential(), nn.ReLU())
    assert repr(model).splitlines() == [
        "Sequential(",
        "  (0): Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)",
        "  (1): Sequential()",
        "  (2): ReLU()",
        ")",
    ]


def test_sequential_runs_in_order_and_behaves_like_a_list():
    double, flat = nn.Linear(2, 2), nn.Flatten()
    model = nn.Sequential(flat, double)
    assert len(model) == 2
    assert list(model) == [flat, double]
    assert model[-1] is double
    assert list(model[:1]) == [flat]
    model.append(nn.ReLU())
    model[0] = nn.Identity()
    assert [type(m).__name__ for m in model] == ["Identity", "Linear", "ReLU"]
    x = mr.randn(1, 2)
    np.testing.assert_array_equal(model(x).numpy(), double(x).relu().numpy())


def test_an_empty_sequential_is_the_identity():
    x = mr.ones(2)
    assert nn.Sequential()(x) is x


def test_sequential_takes_names():
    model = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 1, 1), act=nn.ReLU()))
    assert [name for name, _ in model.named_parameters()] == ["conv.weight", "conv.bias"]
    assert model.act is model[1]


def test_sequential_refuses_a_list():
    with pytest.raises(TypeError, match=r"Sequential: got a list, expected modules; unpack the list: Sequential\(\*"):
        nn.Sequential([nn.ReLU()])


def test_append_goes_behind_an_empty_place_too():
    model = nn.Sequential(nn.ReLU(), nn.Tanh(), nn.Sigmoid())
    model.add_module("1", None)
    model.append(nn.Identity())
    assert [name for name, _ in model.named_children()] == ["0", "2", "3"]


def test_module_list_registers_its_modules():
    layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    layers.append(nn.Linear(2, 1))
    assert len(layers) == 4
    assert [name for name, _ in layers.named_parameters()][-1] == "3.bias"
    assert len(layers[1:3]) == 2
    assert layers[1:3][0] is layers[1]
    with pytest.raises(TypeError, match="ModuleList: a module must define forward"):
        layers(mr.ones(1, 2))


def test_what_cannot_be_converted_leaves_everything_as_it_was():
    layer = nn.BatchNorm1d(2)
    layer(mr.ones(3, 2) * mr.tensor([[1.0], [2.0], [4.0]])).sum().backward()
    before = {name: p.grad for name, p in layer.named_parameters()}
    with pytest.raises(TypeError, match="stay floating point"):
        layer.to(np.int64)
    assert {name: p.grad for name, p in layer.named_parameters()} == before
    assert layer.weight.dtype == layer.running_mean.dtype == np.float32


def test_what_is_no_parameter_or_array_is_not_registered():
    module = nn.Module()
    with pytest.raises(TypeError, match=r"got a Tensor for 'w'; expected an nn\.Parameter"):
        module.register_parameter("w", mr.ones(2))
    with pytest.raises(TypeError, match="got an int for 'n'; expected an array"):
        module.register_buffer("n", 3)
    assert module.state_dict() == {}
