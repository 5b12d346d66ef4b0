"""What an experiment is: cells and their names, what is derived, when a criterion holds; and all of the registry."""

import math
import pickle

import numpy as np
import pytest

from minires import data, threads
from minires.experiments import registry, training
from minires.experiments.experiment import Cell, Experiment, above, below
from minires.experiments.registry import EXPERIMENTS


def measure(seed, variant, depth, factor=2.0):
    return {"loss": factor * depth + (variant == "plain") * seed, "threads": threads.get_num_threads()}


TRIAL = Experiment(
    "trial",
    "A statement",
    "Nobody 2030",
    measure,
    {"difference": above(0.5), "loss, residual-8": below(16.5), "elsewhere": above(0)},
    variants=("plain", "residual"),
    depths=(4, 8),
    derived={"difference": lambda found: found["loss, plain-8"] - found["loss, residual-8"]},
)


def test_there_is_a_cell_for_each_variant_and_depth_and_numbers_are_named_after_it():
    assert TRIAL.cells() == [Cell(v, d) for d in (4, 8) for v in ("plain", "residual")]
    assert TRIAL.cells(["residual"], [2]) == [Cell("residual", 2)] and TRIAL.options == {"factor": 2.0}
    names = Cell("plain", 8), Cell("plain"), Cell(None, 8), Cell()
    assert [cell.name("loss") for cell in names] == ["loss, plain-8", "loss, plain", "loss, 8", "loss"]
    assert Cell("plain", 8).name("") == "plain-8"


def test_numbers_that_need_a_cell_that_was_not_measured_are_left_out():
    found = TRIAL.over_seeds([0, 1, 2])
    assert found["difference"].tolist() == [0, 1, 2] and found["loss, plain-4"].tolist() == [8, 9, 10]
    assert "difference" not in TRIAL.over_seeds([0], variants=["plain"])
    assert TRIAL.over_seeds([0], factor=3.0)["loss, plain-4"] == [12]


def test_a_criterion_is_for_the_mean_over_seeds_and_for_what_was_measured():
    found = {"difference": [0.0, 2.0], "loss, residual-8": [16.0, 18.0]}
    holds = {name: (mean, holds) for name, _, mean, holds in TRIAL.verdicts(found)}
    assert holds == {"difference": (1, True), "loss, residual-8": (17, False)}
    ((*_, mean, holds),) = TRIAL.verdicts({"difference": [math.nan, 1.0]})
    assert math.isnan(mean) and not holds, "a number that is none passes no criterion"


@pytest.mark.parametrize("experiment", registry.LIST, ids=lambda e: e.name)
def test_the_declarations_of_the_registry_fit_together(experiment):
    assert EXPERIMENTS[experiment.name] is experiment and pickle.loads(pickle.dumps(experiment.measure))
    assert experiment.name == experiment.name.lower() and " " not in experiment.name
    assert not experiment.statement.endswith(".") and any(c.isdecimal() for c in experiment.source)
    assert experiment.bounds and all(low < high for low, high in experiment.bounds.values())
    assert set(experiment.missed) <= set(experiment.bounds) and bool(experiment.missed) <= bool(experiment.remark)
    assert set(experiment.data) <= set(training.DATA)
    assert not {"variant", "depth"} & experiment.options.keys() - ({"depth"} if not experiment.depths else set())
    second, options = experiment.second, experiment.options
    assert second.keys() <= options.keys() and not any(options[name] == value for name, value in second.items())
    assert second or "lr" not in options or options.get("steps") == 0, "what trains is tried at a second setting"
    assert set(experiment.fails) <= set(experiment.bounds) and bool(experiment.fails) <= bool(
        second and experiment.remark
    )
    assert all(np.isscalar(default) for default in experiment.options.values()), "so that --set can change it"


def test_an_unknown_experiment_is_told_which_there_are():
    with pytest.raises(ValueError, match=r"experiments: got 'nothing'; expected one of conservation, path-count"):
        registry.named("nothing")


def test_networks_of_a_seed_share_their_weights_and_data_sets_have_names():
    plain, residual, zero = (training.network(v, 8, 3, "digits") for v in ("plain", "residual", "zero-gamma"))
    for name, weight in plain.state_dict().items():
        np.testing.assert_array_equal(weight, residual.state_dict()[name])
    gamma = "layer1.0.bn2.weight"
    assert zero.state_dict()[gamma].max() == 0 < residual.state_dict()[gamma].min()
    with pytest.raises(ValueError, match="got variant='other'; expected plain, residual or zero-gamma"):
        training.network("other", 8, 0, "digits")
    with pytest.raises(ValueError, match="got 'mnist'; expected one of c8, digits"):
        training.dataset("mnist")
    assert len(training.dataset("digits").train) == len(data.digits()[0])


def test_a_training_that_diverges_counts_as_chance():
    loss = training.final_loss(training.network("plain", 8, 0, "digits"), "digits", 0, steps=8, lr=1e30)
    assert loss == training.CHANCE
