"""The dataset's promises, and the order of batches: complete, reproducible, resumable."""

import dataclasses
import subprocess
import sys
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, strategies as st

import minires as mr
from minires.data import Dataset, batch_count, batches, random_crop_flip


def numbered(n: int) -> Dataset:
    """n images of 2×2 pixels, each filled with its own number."""
    pixels = np.broadcast_to(np.arange(n, dtype=np.float32)[:, None, None, None], (n, 1, 2, 2)).copy()
    return Dataset(pixels, np.arange(n) % 3, ("a", "b", "c"))


def visited(*arguments, **options) -> list[list[int]]:
    return [images[:, 0, 0, 0].astype(int).tolist() for images, _ in batches(*arguments, **options)]


counts = st.integers(1, 60)
small = st.integers(1, 70)
seeds = st.integers(0, 2**40)


# Batches


@given(counts, small, seeds, seeds, st.booleans())
def test_every_image_once_with_its_label(n, batch_size, seed, epoch, shuffle):
    dataset = numbered(n)
    seen = []
    for images, labels in batches(dataset, batch_size, shuffle=shuffle, seed=seed, epoch=epoch):
        assert len(images) == len(labels)
        numbers = images[:, 0, 0, 0].astype(int)
        assert (labels == numbers % 3).all() and labels.dtype == np.int64
        seen.append(numbers.tolist())
    assert sorted(chain(*seen)) == list(range(n))
    assert [len(batch) for batch in seen[:-1]] == [batch_size] * (len(seen) - 1)
    assert len(seen) == batch_count(dataset, batch_size)
    if not shuffle:
        assert list(chain(*seen)) == list(range(n))


@given(counts, small, seeds, seeds)
def test_the_order_depends_on_seed_and_epoch_alone(n, batch_size, seed, epoch):
    dataset = numbered(n)
    first = visited(dataset, batch_size, seed=seed, epoch=epoch)
    np.random.seed(0)  # noqa: NPY002  (the global state is not looked at)
    assert visited(dataset, batch_size, seed=seed, epoch=epoch) == first
    whole = visited(dataset, n, seed=seed, epoch=epoch)[0]
    assert list(chain(*first)) == whole  # nor does the batch size change it


def test_epochs_and_seeds_differ():
    orders = [tuple(visited(numbered(50), 50, seed=s, epoch=e)[0]) for s in range(10) for e in range(10)]
    assert len(set(orders)) == 100


@given(counts, small, seeds, st.data())
def test_start_skips_batches(n, batch_size, seed, data):
    dataset = numbered(n)
    options = {"seed": seed, "epoch": 3, "augment": random_crop_flip}
    whole = list(batches(dataset, batch_size, **options))
    start = data.draw(st.integers(0, len(whole)))
    rest = list(batches(dataset, batch_size, start=start, **options))
    assert len(rest) == len(whole) - start
    for (images, labels), (other_images, other_labels) in zip(rest, whole[start:], strict=True):
        assert images.tobytes() == other_images.tobytes() and labels.tobytes() == other_labels.tobytes()


def test_another_process_gives_the_same_order():
    code = (
        "import numpy as np; from minires.data import *; "
        "d = Dataset(np.arange(20, dtype=np.float32).reshape(20, 1, 1, 1), np.zeros(20, np.int64), ('a',)); "
        "print([i.ravel().astype(int).tolist() for i, _ in batches(d, 6, seed=5, epoch=2, start=1)])"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip() == str(visited(numbered(20), 6, seed=5, epoch=2, start=1))


@given(counts, st.integers(1, 60))
def test_drop_last(n, batch_size):
    dataset = numbered(n)
    if batch_size > n:
        with pytest.raises(ValueError, match=f"batch_size = {batch_size} with drop_last, .* no batch of {n} images"):
            batches(dataset, batch_size, drop_last=True)
        return
    assert visited(dataset, batch_size, drop_last=True) == visited(dataset, batch_size)[: n // batch_size]
    assert batch_count(dataset, batch_size, drop_last=True) == n // batch_size


def test_augment_draws_afresh_for_each_batch_and_epoch():
    drawn = []

    def note(images, rng):
        drawn.append(int(rng.integers(2**62)))
        return images

    for epoch in range(3):
        list(batches(numbered(20), 5, seed=1, epoch=epoch, augment=note))
    assert len(set(drawn)) == 12


def test_batches_do_not_share_memory_with_the_dataset():
    dataset = numbered(6)
    for images, labels in batches(dataset, 3, shuffle=False):
        assert not np.shares_memory(images, dataset.pixels) and not np.shares_memory(labels, dataset.labels)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batches: batch_size must be at least 1, got 0"),
        ({"batch_size": -3}, ValueError, "batch_size must be at least 1, got -3"),
        ({"batch_size": 2.0}, TypeError, r"batch_size must be a whole number, got 2\.0"),
        ({"batch_size": None}, TypeError, "batch_size must be a whole number, got None"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"epoch": -1}, ValueError, "epoch must be at least 0, got -1"),
        ({"start": -1}, ValueError, "start must be at least 0, got -1"),
        ({"start": 4}, ValueError, "got start = 4, but this epoch has 3 batches of 4"),
        ({"start": 3, "drop_last": True}, ValueError, "got start = 3, but this epoch has 2 batches"),
    ],
)
def test_bad_arguments_are_refused_at_once(options, error, message):
    with pytest.raises(error, match=message):
        batches(numbered(10), **{"batch_size": 4} | options)


def test_augment_must_keep_all_images():
    with pytest.raises(ValueError, match="augment got 4 images and returned 2; it must keep them all"):
        next(batches(numbered(10), 4, augment=lambda images, rng: images[:2]))


# Dataset


def bytes_dataset(n: int = 4) -> Dataset:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 3, 2, 2), np.uint8)
    return Dataset(pixels, np.zeros(n, np.int64), ("a",), mean=(1.0, 2.0, 3.0), std=(10.0, 20.0, 30.0))


def test_bytes_are_scaled_per_channel_however_they_are_asked_for():
    dataset = bytes_dataset()
    expected = np.stack([(dataset.pixels[:, c] - np.float32(c + 1)) / np.float32(10 * c + 10) for c in range(3)], 1)
    assert dataset.images.dtype == np.float32
    assert (dataset.images == expected).all()
    assert dataset.images is dataset.images
    for index in (slice(1, 3), [3, 0], np.array([True, False, False, True]), 2, -1):
        images, labels = dataset[index]
        assert images.dtype == np.float32
        assert (images == expected[index]).all() and (labels == dataset.labels[index]).all()
    images, _ = next(batches(dataset, 4, shuffle=False))
    assert (images == expected).all()


def test_double_precision_stays():
    dataset = bytes_dataset()
    doubled = dataclasses.replace(dataset, pixels=dataset.pixels.astype(np.float64))
    assert doubled.images.dtype == np.float64
    np.testing.assert_allclose(doubled.images, dataset.images, rtol=1e-6)


def test_floating_images_are_handed_out_as_they_are():
    dataset = numbered(3)
    assert dataset.images is dataset.pixels


def test_subset_and_length():
    dataset = bytes_dataset(5)
    part = dataset.subset(2)
    assert (len(dataset), len(part)) == (5, 2)
    assert (part.images == dataset.images[:2]).all() and np.shares_memory(part.pixels, dataset.pixels)
    assert part.classes == dataset.classes
    for n in (0, -1, 6):
        with pytest.raises(ValueError, match=rf"Dataset\.subset: .*{n}"):
            dataset.subset(n)
    with pytest.raises(TypeError, match="whole number"):
        dataset.subset(2.5)


def test_a_dataset_is_frozen_and_short_to_print():
    with pytest.raises(dataclasses.FrozenInstanceError):
        numbered(3).labels = None
    assert repr(numbered(3)) == "Dataset(3 images of shape (1, 2, 2), 3 classes)"


IMAGES, LABELS = np.zeros((4, 3, 2, 2), np.float32), np.zeros(4, np.int64)
BYTES = IMAGES.astype(np.uint8)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((IMAGES[0], LABELS), ValueError, r"non-empty \(N, C, H, W\) array, got shape \(3, 2, 2\)"),
        ((IMAGES[:0], LABELS[:0]), ValueError, r"non-empty .*got shape \(0, 3, 2, 2\)"),
        ((IMAGES, LABELS[:3]), ValueError, r"4 images need labels of shape \(4,\), got \(3,\)"),
        ((IMAGES, np.zeros((4, 2), np.int64)), ValueError, r"got \(4, 2\); one-hot"),
        ((IMAGES, LABELS.astype(np.uint8)), TypeError, r"labels must be int64, got uint8; use labels\.astype"),
        ((IMAGES, LABELS.astype(float)), TypeError, "labels must be int64, got float64"),
        ((IMAGES, LABELS.astype(str)), TypeError, r"labels must be int64, got .*; use classes, labels = np\.unique"),
        ((IMAGES, LABELS + 2), ValueError, r"labels must lie in 0\.\.1 for the 2 classes, got 2\.\.2"),
        ((IMAGES, LABELS - 1), ValueError, r"got -1\.\.-1"),
        ((BYTES, LABELS), TypeError, "uint8 pixels need mean and std"),
        ((IMAGES.astype(complex), LABELS), TypeError, "integers or floating, got complex128"),
        ((BYTES, LABELS, (0.0,) * 3), ValueError, "mean and std go together"),
        ((BYTES, LABELS, 0, 255), ValueError, r"one number for each of the 3 channels, got mean=0, std=255"),
        ((BYTES, LABELS, (0.0,), (1.0,)), ValueError, "one number for each of the 3 channels"),
        ((BYTES, LABELS, (0.0,) * 3, (1.0, 0.0, 1.0)), ValueError, "std positive"),
        ((BYTES, LABELS, (0.0, np.nan, 0.0), (1.0,) * 3), ValueError, "mean must be finite"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, error, message):
    images, labels, *scale = arguments
    with pytest.raises(error, match=message):
        Dataset(images, labels, ("a", "b"), *scale)


def test_a_number_of_classes_is_no_names():
    with pytest.raises(TypeError, match=r"Dataset: classes must be the names of the classes, got 2; for numbers"):
        Dataset(IMAGES, LABELS, 2)


def test_what_is_no_dataset_is_named():
    images, labels = np.zeros((4, 1, 8, 8), np.float32), np.zeros(4, np.int64)
    with pytest.raises(TypeError, match=r"batches: got a tuple; expected a Dataset, such as Dataset\("):
        batches((images, labels), 2)


def test_tensors_and_lists_become_arrays():
    pixels, labels = np.zeros((2, 1, 1, 1), np.float32), np.array([0, 1])
    for images in ((mr.tensor(pixels), mr.tensor(labels)), (pixels.tolist(), labels.tolist())):
        made = Dataset(*images, ("a", "b"))
        assert type(made.pixels) is type(made.labels) is np.ndarray and made.labels.dtype == np.int64
        assert made.pixels.shape == pixels.shape
    with pytest.raises(TypeError, match="Dataset: got a str; expected"):
        Dataset("images", labels, ("a", "b"))
