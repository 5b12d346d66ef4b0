"""What a run is: twins, options, losses and images that a checkpoint must tell apart, and what must not matter."""

import json
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from test_damage import DATA, members, meta_of, npy, packed, small, train
from test_saving import frozen

import minires as mr
from minires import models, nn, optim, random
from minires.data import Dataset, random_crop_flip
from minires.models import VARIANTS
from minires.nn import functional as F
from minires.train import Checkpoint, CheckpointError, fingerprint, fit


class Scaled(nn.Module):
    """A module of one's own, with an option, a function, and things that say what it has seen."""

    def __init__(self, scale=1.0, activation=F.relu, layers=1):
        super().__init__()
        self.scale, self.activation, self.shape = scale, activation, (2, None)
        self.layers = nn.Sequential(*(nn.Linear(4, 4) for _ in range(layers)))
        self.seen, self.last, self._calls = [], None, 0

    def forward(self, x):
        self.seen.append(len(x))
        self.last, self._calls = x, self._calls + 1
        return self.activation(self.layers(x)) * self.scale


class Other(Scaled):
    """The same under another name."""


def tied(tie):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    if tie:
        model[1].weight = model[0].weight
    return model


def frozen_layer():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model[0].requires_grad_(False)
    return model


def shared(share):
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, layer if share else nn.Linear(4, 4))


ONE = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
CONV = partial(nn.Conv2d, 2, 2, 3)
PAIRS = [
    (
        lambda: models.plain_cifar(8, 2),
        lambda: models.resnet_cifar(8, 2),
        "residual=False in the checkpoint, True here",
    ),
    (lambda: models.mlp(6, 4), lambda: models.mlp(6, 4, residual=True), "hidden.0: minires.PlainMLPBlock in the chec"),
    (lambda: models.mlp(4, 4, residual=True), lambda: models.mlp(4, 4, residual=True, scale=0.5), "scale=1.0 in the"),
    (
        lambda: ONE,
        lambda: nn.Sequential(nn.Linear(4, 4), nn.Tanh()),
        "1: minires.ReLU in the checkpoint, minires.Tanh h",
    ),
    (lambda: ONE, frozen_layer, "0: weight is frozen=None in the checkpoint, True here"),
    (
        lambda: ONE,
        lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.ReLU()),
        "2: nothing in the checkpoint, minires.R",
    ),
    (lambda: nn.Dropout(0.1), lambda: nn.Dropout(0.2), "p=0.1 in the checkpoint, 0.2 here"),
    (lambda: nn.BatchNorm2d(2), lambda: nn.BatchNorm2d(2, eps=1e-3), "eps=1e-05 in the checkpoint, 0.001 here"),
    (lambda: nn.BatchNorm2d(2), lambda: nn.BatchNorm2d(2, momentum=None), "momentum=0.1 in the checkpoint, None here"),
    (CONV, lambda: CONV(stride=2), r"stride=\(1, 1\) in the checkpoint, \(2, 2\) here"),
    (CONV, lambda: CONV(padding=1), r"padding=\(0, 0\) in the checkpoint, \(1, 1\) here"),
    (CONV, lambda: CONV(dilation=2), r"dilation=\(1, 1\) in the checkpoint"),
    (
        lambda: nn.RNN(2, 3),
        lambda: nn.RNN(2, 3, nonlinearity="relu"),
        "nonlinearity='tanh' in the checkpoint, 'relu' he",
    ),
    (lambda: nn.RNN(2, 3), lambda: models.ResidualRNN(2, 3), "minires.RNN in the checkpoint, minires.ResidualRNN here"),
    (lambda: nn.AvgPool2d(2), lambda: nn.AvgPool2d(3), "kernel_size=2 in the checkpoint, 3 here"),
    (lambda: tied(False), lambda: tied(True), "1: weight=None in the checkpoint, the same parameter as 0.weight here"),
    (lambda: shared(False), lambda: shared(True), "1: minires.Linear in the checkpoint, the same module as 0 here"),
    (Scaled, lambda: Scaled(2.0), "scale=1.0 in the checkpoint, 2.0 here"),
    (Scaled, lambda: Scaled(activation=F.tanh), "activation=minires.relu in the checkpoint, minires.tanh here"),
    (Scaled, Other, "Scaled in the checkpoint, Other here"),
]


@pytest.mark.parametrize("one, other, message", PAIRS)
def test_twins_with_the_same_names_and_shapes_are_told_apart(one, other, message, tmp_path):
    saved, here = one(), other()
    Checkpoint.take(saved).save(tmp_path / "run.npz")
    checkpoint, before = Checkpoint.load(tmp_path / "run.npz"), frozen(here)
    optimizer = type("Nothing", (), {})()  # it is not come to
    with pytest.raises(CheckpointError, match=f"of another architecture: .*{message}"):
        checkpoint.restore(here, optimizer)
    assert frozen(here) == before
    assert fingerprint.differences(checkpoint.architecture, fingerprint.architecture(one())) == []


def test_every_pair_of_published_variants_differs():
    texts = {name: json.dumps(fingerprint.architecture(v.build(8, 2, in_channels=1))) for name, v in VARIANTS.items()}
    texts["plain"] = json.dumps(fingerprint.architecture(models.plain_cifar(8, 2, in_channels=1)))
    same = [(a, b) for a in texts for b in texts if a < b and texts[a] == texts[b]]
    assert same == [("residual", "zero-gamma")]  # they differ in the weights they start from


def test_the_order_of_modules_counts():
    named = {"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)}
    one, other = nn.Sequential(named), nn.Sequential(dict(reversed(named.items())))
    (found,) = fingerprint.differences(fingerprint.architecture(one), fingerprint.architecture(other))
    assert found == "the order of the modules: , a, b in the checkpoint, , b, a here"


def test_what_a_module_has_seen_and_how_memory_is_saved_do_not_count():
    model = Scaled()
    before = fingerprint.architecture(model)
    model(mr.ones(2, 4))
    model.eval()
    assert fingerprint.architecture(model) == before
    again = fingerprint.architecture(models.resnet_cifar(8, 2, recompute_every=2))
    assert again == fingerprint.architecture(models.resnet_cifar(8, 2))


PRINT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from test_fingerprint import describe
print(describe())
"""


def describe() -> str:
    loss = nn.CrossEntropyLoss(mr.ones(10), label_smoothing=0.1)
    parts = [fingerprint.architecture(build()) for build, _, _ in PAIRS]
    functions = [F.mse_loss, loss, partial(random_crop_flip, padding=1), partial(F.cross_entropy, weight=np.ones(3))]
    return json.dumps([parts, [fingerprint.function(f) for f in functions], fingerprint.checksum(DATA)])


def test_the_text_is_the_same_in_every_process():
    command = [sys.executable, "-c", PRINT, os.path.dirname(os.path.abspath(__file__))]
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, env=environment)
    assert done.stdout.strip() == describe() and " at 0x" not in done.stdout


# ── runs ──


def with_image(k, value):
    pixels = DATA.pixels.copy()
    pixels[k, 0, 1, 1] = value
    return Dataset(pixels, DATA.labels, DATA.classes)


class Weighted:
    """A loss that is an object."""

    def __init__(self, weight):
        self.weight = weight

    def __call__(self, outputs, targets):
        return F.cross_entropy(outputs, targets) * self.weight


HALF = {"loss": Weighted(0.5)}
LABELS = Dataset(DATA.pixels, 1 - DATA.labels, DATA.classes)


@pytest.mark.parametrize(
    "there, here, message",
    [
        ({}, {"loss": F.nll_loss}, "loss was minires.cross_entropy, here minires.nll_loss"),
        ({"loss": nn.CrossEntropyLoss()}, {"loss": nn.CrossEntropyLoss(label_smoothing=0.1)}, "loss was"),
        ({"loss": nn.CrossEntropyLoss(mr.ones(2))}, {"loss": nn.CrossEntropyLoss(mr.tensor([1.0, 2.0]))}, "loss was"),
        (HALF, {"loss": Weighted(0.25)}, r"loss was Weighted\{'weight': 0.5\}, here Weighted\{'weight': 0.25\}"),
        ({}, {"augment": partial(random_crop_flip, padding=1)}, r"augment was None, here partial\(minires.random_crop"),
        ({}, {"data": with_image(7, 0.5)}, "checksum of the training examples"),
        ({}, {"data": LABELS}, "checksum of the training examples"),
        ({}, {"data": Dataset(DATA.pixels, DATA.labels, DATA.classes, (0.5,), (1.0,))}, "checksum of the training"),
        ({"test_data": DATA}, {"test_data": with_image(0, 9.0)}, "checksum of the test examples"),
    ],
)
def test_another_loss_augmentation_or_image_is_another_run(tmp_path, there, here, message):
    def go(run, **options):
        data, (model, optimizer, schedule) = options.pop("data", DATA), run
        options = {"epochs": 2, "batch_size": 4, "progress": False, "checkpoint": tmp_path / "run.npz", **options}
        return fit(model, data, optimizer, schedule=schedule, **options)

    go(small(momentum=0.9), **there)
    run = small(momentum=0.9)
    before, state = frozen(*run), random.get_state()
    with pytest.raises(CheckpointError, match=f"of another run: {message}"):
        go(run, **here)
    assert frozen(*run) == before and random.get_state() == state
    go(run, **there)  # and the same goes on


@pytest.mark.parametrize(
    "tag", [[(1, 2)], {1: "a"}, {"a": (np.float32(0.5), np.bool_(True))}], ids=["tuple", "key", "NumPy"]
)
def test_options_of_the_optimizer_that_json_changes_are_still_the_same(tmp_path, tag):
    """A tuple comes back from the file as a list, a number as a key as text."""
    options = {"batch_size": 4, "progress": False, "checkpoint": tmp_path / "run.npz"}
    for epochs in (1, 2):
        model, _, _ = small()
        history = fit(
            model, DATA, optim.SGD([{"params": model.parameters(), "tag": tag}], 0.1), epochs=epochs, **options
        )
    assert len(history.train_loss) == 2


def test_what_json_cannot_hold_is_named_before_any_training(tmp_path):
    model, _, _ = small()
    optimizer = optim.SGD([{"params": model.parameters(), "tag": np.arange(2)}], 0.1)
    with pytest.raises(TypeError, match=r"got array\(\[0, 1\]\) \(ndarray\) among the options of the optimizer"):
        fit(model, DATA, optimizer, epochs=1, batch_size=4, progress=False, checkpoint=tmp_path / "run.npz")
    assert not list(tmp_path.iterdir())


def test_a_dataset_of_ones_own_is_known_by_what_it_hands_out(tmp_path):
    class Doubled(Dataset):
        def __getitem__(self, index):
            images, labels = super().__getitem__(index)
            return images * 2, labels

    mine = Doubled(DATA.pixels, DATA.labels, DATA.classes)
    assert fingerprint.checksum(mine) != fingerprint.checksum(DATA)
    assert fingerprint.checksum(mine) == fingerprint.checksum(Doubled(DATA.pixels, DATA.labels, DATA.classes))


def test_memory_order_and_slices_are_not_part_of_the_checksum():
    other = Dataset(np.asfortranarray(DATA.pixels), DATA.labels, DATA.classes)
    assert fingerprint.checksum(other) == fingerprint.checksum(DATA)
    assert fingerprint.checksum(DATA.subset(7)) != fingerprint.checksum(DATA)


def test_a_lambda_schedule_is_known_by_the_name_of_its_function(tmp_path):
    def halved(t):
        return 0.5**t

    def kept(t):
        return 1.0

    def go(function):
        model, optimizer, _ = small()
        train((model, optimizer, optim.LambdaLR(optimizer, function)), tmp_path / "run.npz")

    go(halved)
    with pytest.raises(CheckpointError, match=r"halved.*this one has.*kept"):
        go(kept)
    go(halved)


# ── the weights alone, and what is too short ──


def test_resume_weights_begins_a_new_run_from_the_weights(tmp_path):
    path, first = tmp_path / "run.npz", small(momentum=0.9)
    train(first, path)
    weights = Checkpoint.load(path).model
    other = small(optim.Adam)  # another optimiser, loss and dropout
    other[0][2].p = 0.5
    seen = []
    options = {"resume": "weights", "loss": nn.CrossEntropyLoss(label_smoothing=0.1), "epochs": 1}
    history = train(other, path, on_step=lambda s: seen.append(s.step), **options)
    assert seen == [0, 1] and len(history.train_loss) == 1
    mine = small(optim.Adam)
    mine[0][2].p = 0.5
    mine[0].load_state_dict(weights)
    assert train(mine, tmp_path / "b.npz", **{**options, "resume": True}).step_loss == history.step_loss


def test_resume_weights_says_what_does_not_fit(tmp_path):
    path = tmp_path / "run.npz"
    with pytest.raises(FileNotFoundError):
        train(small(), path, resume="weights")
    Checkpoint.take(nn.Linear(3, 2)).save(path)
    with pytest.raises(CheckpointError, match=r"of another architecture: .* is only in"):
        train(small(), path, resume="weights")
    for options, message in [({"resume": "all"}, "expected True, False, or"), ({"resume": 2}, "got resume=2")]:
        with pytest.raises(ValueError, match=message):
            train(small(), path, **options)
    with pytest.raises(ValueError, match="without checkpoint"):
        train(small(), None, resume="weights")


def test_a_schedule_that_is_too_short_is_known_before_anything_changes(tmp_path):
    def run():
        model, optimizer, _ = small(momentum=0.9)
        return model, optimizer, optim.OneCycleLR(optimizer, 0.2, 5)

    train(run(), tmp_path / "run.npz")
    again = run()
    before, state = frozen(*again), random.get_state()
    with pytest.raises(ValueError, match="OneCycleLR: got step 6 of 5"):
        train(again, tmp_path / "run.npz", epochs=3)
    assert frozen(*again) == before and random.get_state() == state


# ── files of version 0.2.0 ──


def of_version_1(content: bytes) -> bytes:
    """The same checkpoint as 0.2.0 wrote it."""
    parts = members(content)
    meta = {k: v for k, v in meta_of(parts).items() if k not in ("members", "architecture")}
    arrays = [(name, part) for name, part in parts.items() if name not in ("meta", "sha256")]
    return packed([("meta", npy(json.dumps({**meta, "version": 1}))), *arrays])


def test_a_file_of_version_1_is_read_and_verified(tmp_path):
    path, run = tmp_path / "run.npz", small(momentum=0.9)
    train(run, path)
    expected, content = frozen(*run), of_version_1(path.read_bytes())
    path.write_bytes(content)
    fresh = small(momentum=0.9)
    Checkpoint.load(path).restore(*fresh)
    assert frozen(*fresh) == expected
    hidden = content.rindex(b"PK\x01\x02", 0, content.rindex(b"PK\x01\x02"))  # a comment length hides what follows
    longer = bytearray(content)
    longer[hidden + 33] = 1
    path.write_bytes(longer)
    with pytest.raises(CheckpointError, match="damaged"):
        Checkpoint.load(path)


def test_a_run_of_version_1_says_why_it_does_not_go_on(tmp_path):
    path = tmp_path / "run.npz"
    train(small(momentum=0.9), path)
    path.write_bytes(of_version_1(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"of minires 0\.2\.0 or before, and does not say what its network"):
        train(small(momentum=0.9), path)
    train(small(momentum=0.9), path, resume="weights")
