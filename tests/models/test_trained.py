"""The networks that come trained: as accurate as they say, small, and trained by the command that is named."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minires as mr
from benchmarks import trained as command
from minires import data, models, random
from minires.models.trained import FOLDER, NETWORKS, Network
from minires.train import evaluate

DIGITS = [name for name, network in NETWORKS.items() if network.data == "digits"]


@pytest.mark.parametrize("name", DIGITS)
def test_a_network_is_as_accurate_as_it_says(name):
    model = models.trained(name)
    network = NETWORKS[name]
    assert not any(module.training for module in model.modules())
    assert model.residual == network.residual == name.startswith("residual")
    assert len(model.blocks()) == (network.depth - 2) // 2
    assert evaluate(model, data.digits()[1]).accuracy == pytest.approx(network.accuracy, abs=0.003)  # an image or so


@pytest.mark.slow
def test_the_cifar_network_is_as_accurate_as_it_says():
    try:
        _, test = data.cifar10()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    accuracy = evaluate(models.trained("residual-20-cifar10"), test).accuracy
    assert accuracy == pytest.approx(NETWORKS["residual-20-cifar10"].accuracy, abs=0.001)


def test_the_cifar_network_takes_its_images():
    with mr.no_grad():
        assert models.trained("residual-20-cifar10")(mr.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_all_files_together_are_small_and_none_is_left_over():
    files = list(Path(FOLDER).glob("*.npz"))
    assert sorted(path.stem for path in files) == sorted(NETWORKS)
    assert sum(path.stat().st_size for path in files) <= 4_000_000


def test_every_number_is_finite_and_float32():
    for name in NETWORKS:
        for key, array in models.trained(name).state_dict().items():
            assert np.isfinite(array).all(), (name, key)
            assert array.dtype == (np.int64 if key.endswith("num_batches_tracked") else np.float32)


def test_no_random_number_is_drawn():
    mr.manual_seed(5)
    before = random.get_state()
    first = models.trained("plain-20")
    assert random.get_state() == before
    assert first is not models.trained("plain-20")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="trained: got 'resnet-56'; expected one of plain-20, residual-20, plain-56"):
        models.trained("resnet-56")


def test_a_missing_file_says_what_to_do(monkeypatch):
    monkeypatch.setitem(NETWORKS, "plain-8", Network(8, False, "digits", 2, 1, 0.0))
    with pytest.raises(FileNotFoundError, match=r"plain-8\.npz") as caught:
        models.trained("plain-8")
    assert "install minires again" in caught.value.__notes__[0]


# ── the command ──

SHORT = Network(8, True, "digits", 2, 1, 0.0)


def states(name, **options):
    model, accuracy, _ = command.fit(name, SHORT, **options)
    return accuracy, {key: array.tobytes() for key, array in model.state_dict().items()}


def test_training_again_gives_the_same_bits(threads, tmp_path):
    threads(1)
    first = states("a")
    assert states("b", checkpoints=tmp_path) == first
    assert states("b", checkpoints=tmp_path) == first  # from its checkpoint, which is complete
    assert [path.name for path in tmp_path.iterdir()] == ["b.checkpoint.npz"]


def test_the_command_writes_the_file(tmp_path):
    code = (
        "import sys; from benchmarks import trained; from minires.models.trained import NETWORKS, Network; "
        "NETWORKS['plain-20'] = Network(8, False, 'digits', 2, 1, 0.0); trained.main()"
    )
    run = [sys.executable, "-c", code, "plain-20", "--out", str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, check=True, cwd=Path(command.__file__).parents[1])
    assert done.stdout.startswith("plain-20: test accuracy 0.")
    model = models.plain_cifar(8, 2, in_channels=1)
    assert mr.load_weights(model, tmp_path / "plain-20.npz") == ([], [])


def test_the_command_names_what_it_knows():
    run = [sys.executable, "-m", "benchmarks.trained", "resnet-56"]
    done = subprocess.run(run, capture_output=True, text=True, check=False, cwd=Path(command.__file__).parents[1])
    assert done.returncode == 2 and "got resnet-56; expected some of plain-20, residual-20" in done.stderr


@pytest.mark.slow
def test_the_shipped_network_is_what_the_command_trains(threads):
    """On another processor the bits differ, and then the paths of two trainings; where they agree is the accuracy."""
    threads(1)
    _, accuracy, _ = command.fit("residual-20", NETWORKS["residual-20"])
    assert accuracy == pytest.approx(NETWORKS["residual-20"].accuracy, abs=0.02)
