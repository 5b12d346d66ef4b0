"""Containers: Sequential and ModuleList as lists, ModuleDict as a dict, ParameterList."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, strategies as st

import minires as mr
from minires import nn


def layers(n):
    return [nn.Linear(i + 1, 1) for i in range(n)]


EDITS = st.lists(st.tuples(st.sampled_from(["append", "insert", "pop", "del", "slice", "extend"]), st.integers(-3, 3)))


@given(kind=st.sampled_from([nn.Sequential, nn.ModuleList]), edits=EDITS)
def test_edits_are_those_of_a_list_and_the_names_stay_0_1_2(kind, edits):
    container, model = kind(), []
    for i, (edit, at) in enumerate(edits):
        new = nn.Linear(i + 1, 1)
        if edit == "append":
            assert container.append(new) is container
            model.append(new)
        elif edit == "extend":
            assert container.extend(container) is container
            model.extend(list(model)[:5])
            del container[len(model) :]
        elif edit == "slice":
            del container[at : at + 2]
            del model[at : at + 2]
        elif edit == "insert" and -len(model) <= at <= len(model):
            container.insert(at, new)
            model.insert(at, new)
        elif edit in ("pop", "del") and -len(model) <= at < len(model):
            assert container[at] is model[at]
            if edit == "pop":
                assert container.pop(at) is model.pop(at)
            else:
                del container[at], model[at]
        assert list(container) == model
    unique = dict.fromkeys(model)
    assert list(container.modules())[1:] == list(unique)
    assert list(container._places()) == [str(n) for n in range(len(model))]


def test_insert_puts_the_module_into_the_forward_pass():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(4, 1)).insert(1, nn.Linear(3, 4))
    assert model(mr.ones(1, 2)).shape == (1, 1)
    assert list(model.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias"]


def test_named_modules_are_not_renumbered_by_insert():
    model = nn.Sequential(dict(first=nn.ReLU(), second=nn.Tanh()))
    with pytest.raises(ValueError, match=r"Sequential.insert: .*named \['first', 'second'\]"):
        model.insert(0, nn.ReLU())
    assert [name for name, _ in model.append(nn.ReLU()).named_children()] == ["first", "second", "2"]


def test_module_dict_is_a_dict_of_modules():
    modules = nn.ModuleDict({"b": nn.Linear(2, 3), "a": nn.ReLU()})
    assert list(modules) == list(modules.keys()) == ["b", "a"] and len(modules) == 2
    assert "a" in modules and "c" not in modules and "training" not in modules
    assert list(modules.values()) == [m for _, m in modules.items()] == [modules["b"], modules["a"]]
    assert [name for name, _ in modules.named_parameters()] == ["b.weight", "b.bias"]
    modules.update({"c": nn.Tanh(), "b": nn.Linear(2, 5)})
    assert list(modules) == ["b", "a", "c"] and modules["b"].out_features == 5
    assert isinstance(modules.pop("a"), nn.ReLU)
    del modules["c"]
    assert list(modules) == ["b"]
    same = pickle.loads(pickle.dumps(copy.deepcopy(modules)))
    np.testing.assert_array_equal(same["b"].weight.array, modules["b"].weight.array)
    modules.clear()
    assert not len(modules) and modules.state_dict() == {}


def test_what_cannot_be_in_a_module_dict():
    modules = nn.ModuleDict()
    for key in ("training", "keys", "forward", "_kinds"):
        with pytest.raises(KeyError, match=key):
            modules[key] = nn.ReLU()
    assert modules.training is True
    with pytest.raises(KeyError):
        modules["training"]
    with pytest.raises(KeyError):
        del modules["training"]
    with pytest.raises(TypeError, match="ModuleDict: got an int for 'a'"):
        modules["a"] = 1


def test_a_list_has_empty_places_and_the_same_module_twice():
    """`for block, shortcut in zip(blocks, shortcuts)` stays in step."""
    relu = nn.ReLU()
    modules = nn.ModuleList([relu, None, relu])
    assert len(modules) == 3 and list(modules) == [relu, None, relu] and modules[1] is None and len(modules[1:]) == 2
    del modules[0]
    modules[0] = nn.Tanh()
    assert repr(modules) == "ModuleList(\n  (0): Tanh()\n  (1): ReLU()\n)"
    twice = nn.Sequential(layer := nn.Linear(2, 2), layer)
    assert len(twice) == 2 and list(twice.named_children()) == [("0", layer)] and repr(twice).count("Linear") == 2
    np.testing.assert_array_equal(twice(x := mr.ones(1, 2)), layer(layer(x)))
    calls = []
    twice.apply(lambda module: calls.append(type(module)))
    assert calls == [nn.Linear, nn.Sequential]
    assert list(nn.ModuleDict({"a": relu, "b": relu})) == ["a", "b"]
    named = nn.ModuleDict({"a": relu, "b": None})
    assert len(named) == 2 and "b" in named and named["b"] is None and list(named.children()) == [relu]


@pytest.mark.parametrize("kind", [nn.Sequential, nn.ModuleList])
def test_what_cannot_be_in_a_list(kind):
    with pytest.raises(TypeError, match=f"{kind.__name__}: got a function for '0'"):
        kind().append(layers)
    full = kind().extend(layers(2))
    before = list(full)
    with pytest.raises(TypeError, match="got an int"):
        full.insert(0, 1)
    assert list(full) == before
    with pytest.raises(IndexError, match=f"{kind.__name__}.insert: got index 3 for 2 modules"):
        kind().extend(layers(2)).insert(3, nn.ReLU())


def test_parameter_list():
    tied = nn.Parameter(np.ones(2, np.float32))
    parameters = nn.ParameterList([tied, mr.zeros(2, 3)])
    assert [(name, p.shape) for name, p in parameters.named_parameters()] == [("0", (2,)), ("1", (2, 3))]
    assert parameters[0] is tied and isinstance(parameters[1], nn.Parameter) and parameters[-1].requires_grad
    parameters += [mr.ones(1)]
    parameters.append(mr.ones(4)).extend([mr.ones(5)])
    assert [p.shape for p in parameters[2:]] == [(1,), (4,), (5,)] and len(parameters) == 5
    parameters[-1] = mr.ones(6)
    assert list(parameters.state_dict()) == ["0", "1", "2", "3", "4"] and list(parameters)[-1].shape == (6,)
    with pytest.raises(TypeError, match="ParameterList: got a float"):
        parameters.append(1.0)
    with pytest.raises(TypeError, match="extend: got a Tensor"):
        parameters.extend(mr.ones(2))
    with pytest.raises(IndexError):
        parameters[5] = mr.ones(1)


def test_parameter_list_is_shown():
    assert repr(nn.ParameterList([mr.ones(2, 3), mr.ones(1)])) == (
        "ParameterList(\n    (0): Parameter containing: [float32 of size 2x3]\n"
        "    (1): Parameter containing: [float32 of size 1]\n)"
    )
    assert repr(nn.ParameterList()) == "ParameterList()"
