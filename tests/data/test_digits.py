"""The digits shipped in the package: the split, the scaling, and that they are scikit-learn's."""

import re
from importlib import resources

import numpy as np
import pytest

from minires.data import digits

ROOM = resources.files("minires.data")


def embedded():
    with ROOM.joinpath("digits.npz").open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return archive["images"], archive["labels"]


def test_shapes_and_types():
    for dataset, n in zip(digits(), (1437, 360), strict=True):
        assert len(dataset) == n
        assert dataset.images.shape == (n, 1, 8, 8) and dataset.images.dtype == np.float32
        assert dataset.labels.shape == (n,) and dataset.labels.dtype == np.int64
        assert dataset.classes == tuple("0123456789")


def test_every_image_is_on_one_side():
    images, labels = embedded()
    train, test = digits()
    rows = np.concatenate([train.pixels, test.pixels]).reshape(1797, -1)
    rows = np.column_stack([np.concatenate([train.labels, test.labels]), rows])
    expected = np.column_stack([labels, images.reshape(1797, -1)])
    assert sorted(map(bytes, rows.astype(np.uint8))) == sorted(map(bytes, expected))


def test_the_split_is_stratified_and_never_changes():
    train, test = digits()
    assert np.abs(np.bincount(train.labels) - 4 * np.bincount(test.labels)).max() <= 4
    assert train.labels[:12].tolist() == [8, 2, 6, 6, 7, 1, 9, 8, 5, 2, 6, 6]
    assert test.labels[:12].tolist() == [2, 8, 6, 0, 7, 4, 9, 1, 8, 6, 7, 0]
    assert int((train.labels * np.arange(1437)).sum()) == 4586614


def test_scaling():
    train, test = digits()
    assert abs(float(train.images.mean())) < 1e-6 and abs(float(train.images.std()) - 1) < 1e-6
    assert test.mean == train.mean and test.std == train.std
    for dataset in digits(normalize=False):
        assert (dataset.images == dataset.pixels.astype(np.float32) / 16).all()
        assert dataset.images.min() == 0 and dataset.images.max() == 1


def test_the_file_is_small_and_says_where_it_is_from():
    assert len(ROOM.joinpath("digits.npz").read_bytes()) < 150_000
    text = ROOM.joinpath("DIGITS.md").read_text(encoding="utf-8")
    for word in ("Alpaydin", "Kaynak", "UCI", "CC BY 4.0", "scikit-learn", "BSD-3"):
        assert word in text


def test_the_recipe_rebuilds_scikit_learns_images(tmp_path, monkeypatch):
    source = pytest.importorskip("sklearn.datasets", reason="scikit-learn, for development only").load_digits()
    images, labels = embedded()
    assert images.dtype == labels.dtype == np.uint8
    assert (images == source.images).all() and (labels == source.target).all()

    recipe = re.search(r"```python\n(.*?)```", ROOM.joinpath("DIGITS.md").read_text(encoding="utf-8"), re.DOTALL)
    assert recipe
    monkeypatch.chdir(tmp_path)
    exec(recipe[1], {})
    with np.load("digits.npz", allow_pickle=False) as rebuilt:
        assert sorted(rebuilt) == ["images", "labels"]
        assert (rebuilt["images"] == images).all() and (rebuilt["labels"] == labels).all()


@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "absent"])
def test_a_damaged_file_says_to_install_again(tmp_path, monkeypatch, damage):
    content = bytearray(ROOM.joinpath("digits.npz").read_bytes())
    content[len(content) // 2] ^= 1
    if damage != "absent":
        damaged = {"bit": content, "cut": content[:1000], "empty": b""}[damage]
        (tmp_path / "digits.npz").write_bytes(damaged)
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=r"^digits: .*digits\.npz.*install minires again"):
        digits()


def test_every_damage_is_noticed(tmp_path, monkeypatch):
    content = ROOM.joinpath("digits.npz").read_bytes()
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    for k in np.random.default_rng(0).integers(0, 8 * len(content), 50).tolist():
        damaged = bytearray(content)
        damaged[k // 8] ^= 1 << k % 8
        (tmp_path / "digits.npz").write_bytes(damaged)
        with pytest.raises(ValueError, match="is damaged"):
            digits()
