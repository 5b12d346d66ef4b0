"""A labelled set of images, and the order in which training visits it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .. import kernels
from ..arguments import array_of, at_least, described

Augment = Callable[[Any, np.random.Generator], Any]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and their labels, stored compactly and handed out in the form a network takes.

    `pixels`   (N, C, H, W), the images as stored: often uint8, a quarter of the memory of float32.
    `labels`   (N,) int64, each from 0 to len(classes) − 1.
               Both may also be given as tensors or lists.
    `classes`  the name of each class.
    `mean`, `std`  one number per channel in units of `pixels`; the network gets (pixels − mean) / std.
               Without them floating-point pixels are handed out unchanged; integer pixels need them.

    `dataset[index]` converts only the part it is asked for: `dataset[:100]` is a pair `(images, labels)` of shapes
    (100, C, H, W) and (100,), `dataset[7]` one image (C, H, W) and its label. Images are float32, or the dtype of
    `pixels` where that is floating. `dataset.to("gpu")` keeps the stored pixels there: batches are then made on
    the GPU, from indices and random draws that the CPU sends.

    Images of your own, read with Pillow from a list ``paths`` of files of equal size, and named after their folders:

        pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths]).transpose(0, 3, 1, 2)
        classes, labels = np.unique([path.parent.name for path in paths], return_inverse=True)
        own = Dataset(pixels, labels, tuple(classes.tolist()), mean=(0,) * 3, std=(255,) * 3)

    Raises ValueError for shapes, lengths, labels, mean or std that do not fit, TypeError for a wrong dtype.
    """

    pixels: Any
    labels: Any
    classes: tuple[str, ...]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("pixels", "labels"):
            given = getattr(self, name)
            array = array_of(given)
            array = np.asarray(array) if isinstance(array, list | tuple) else array
            kernels.device_of(array, "Dataset")
            object.__setattr__(self, name, array)
        pixels, labels = self.pixels, self.labels
        if pixels.ndim != 4 or 0 in pixels.shape:
            raise ValueError(
                f"Dataset: pixels must be a non-empty (N, C, H, W) array, got shape {pixels.shape}; "
                "grey images (N, H, W) become images[:, None]"
            )
        if labels.shape != (len(pixels),):
            raise ValueError(
                f"Dataset: {len(pixels)} images need labels of shape ({len(pixels)},), got {labels.shape}; "
                "one-hot labels become labels.argmax(1)"
            )
        if labels.dtype != np.int64:
            names = labels.dtype.kind in "OSU"
            way = "classes, labels = np.unique(labels, return_inverse=True)" if names else "labels.astype(np.int64)"
            raise TypeError(f"Dataset: labels must be int64, got {labels.dtype}; use {way}")
        if not hasattr(self.classes, "__len__"):
            raise TypeError(
                f"Dataset: classes must be the names of the classes, got {self.classes!r}; for numbers as names use "
                "tuple(map(str, range(10)))"
            )
        if labels.min() < 0 or labels.max() >= len(self.classes):
            raise ValueError(
                f"Dataset: labels must lie in 0..{len(self.classes) - 1} for the {len(self.classes)} classes, "
                f"got {labels.min()}..{labels.max()}; count classes from 0 and name each of them"
            )
        self._check_scale()

    def _check_scale(self) -> None:
        channels, kind = self.pixels.shape[1], self.pixels.dtype.kind
        if kind not in "uif":
            raise TypeError(f"Dataset: pixels must be integers or floating, got {self.pixels.dtype}")
        if self.mean is None and self.std is None:
            if kind != "f":
                raise TypeError(
                    f"Dataset: {self.pixels.dtype} pixels need mean and std, one number per channel "
                    f"(for 0..1 from bytes: mean=(0,) * {channels}, std=(255,) * {channels})"
                )
        elif self.mean is None or self.std is None or not np.shape(self.mean) == np.shape(self.std) == (channels,):
            raise ValueError(
                f"Dataset: mean and std go together, one number for each of the {channels} channels, "
                f"got mean={self.mean}, std={self.std}"
            )
        elif not (np.isfinite(self.mean).all() and np.isfinite(self.std).all() and min(self.std) > 0):
            raise ValueError(f"Dataset: mean must be finite and std positive, got mean={self.mean}, std={self.std}")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Dataset({len(self)} images of shape {self.pixels.shape[1:]}, {len(self.classes)} classes)"

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        take = kernels.of(self.pixels).take_images
        if self.device == "cpu":
            return take(self.pixels, index, self.mean, self.std), self.labels[index]
        chosen = np.asarray(np.arange(len(self))[index])
        images = take(self.pixels, np.atleast_1d(chosen), self.mean, self.std)
        if chosen.ndim == 0:
            return images[0], self.labels[int(chosen)]
        return images, self.labels[kernels.to_device(chosen, self.device)]

    @property
    def device(self) -> str:
        """Where pixels and labels live."""
        return kernels.device_of(self.pixels).name

    def to(self, device: str) -> Dataset:
        """The same data on another device; itself, if already there. ValueError and RuntimeError as for tensors."""
        if device == self.device:
            return self
        moved = {name: kernels.to_device(getattr(self, name), device) for name in ("pixels", "labels")}
        return dataclasses.replace(self, **moved)

    @cached_property
    def images(self) -> Any:
        """All images in the form a network takes, (N, C, H, W); made on first use and kept (CIFAR-10: 614 MB).

        `batches` and `dataset[index]` do not need it.
        """
        return self.pixels if self.mean is None else self[:][0]

    def subset(self, n: int) -> Dataset:
        """The first `n` examples, sharing memory; ValueError unless 1 <= n <= len(dataset)."""
        n = at_least("Dataset.subset", "n", n, least=1)
        if n > len(self):
            raise ValueError(f"Dataset.subset: got n = {n}, but there are {len(self)} examples; ask for fewer")
        return Dataset(self.pixels[:n], self.labels[:n], self.classes, self.mean, self.std)


def batches(
    dataset: Dataset,
    batch_size: int,
    *,
    shuffle: bool = True,
    seed: int = 0,
    epoch: int = 0,
    drop_last: bool = False,
    start: int = 0,
    augment: Augment | None = None,
    part: tuple[int, int] = (0, 1),
) -> Iterator[tuple[Any, Any]]:
    """One pass over `dataset` in pairs `(images, labels)`, (B, C, H, W) and (B,) int64, B = `batch_size`.

    The order depends only on `(seed, epoch)`, and what `augment(images, rng)` draws for a batch depends only on
    `(seed, epoch, number of the batch)`. So a run stopped after k batches continues bit for bit with `start=k`.
    The last batch is smaller where `batch_size` does not divide the number of images (if there are fewer images than
    that, it holds them all); `drop_last` leaves it out. With `part=(r, n)`, each batch is cut into n nearly equal
    parts, and only the r-th of them is handed out, counted from 0, with the images it has in the whole batch.

    Raises TypeError or ValueError for a number that is not whole or is out of range, and for a `drop_last` that leaves
    no batch. It does so when it is called, not at the first batch.
    """
    count = batch_count(dataset, batch_size, drop_last=drop_last)
    seed = at_least("batches", "seed", seed, least=0)
    epoch = at_least("batches", "epoch", epoch, least=0)
    start = at_least("batches", "start", start, least=0)
    if start > count:
        raise ValueError(
            f"batches: got start = {start}, but this epoch has {count} batches of {batch_size}; "
            "start counts batches, not images, and begins at 0 in each epoch"
        )
    if shuffle:
        # A spawn key, unlike arithmetic on the seed, keeps (seed 0, epoch 1) and (seed 1, epoch 0) unrelated.
        order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch,))).permutation(len(dataset))
    else:
        order = np.arange(len(dataset))

    number, parts = part
    if not 0 <= number < parts:
        raise ValueError(f"batches: got part = {part}; expected (r, n) with r from 0 to n − 1")

    def batch(k: int) -> tuple[Any, Any]:
        indices = order[k * batch_size : (k + 1) * batch_size]
        own = part_of(len(indices), number, parts)
        images, labels = dataset[indices if augment is not None else indices[own]]
        if augment is not None:  # it draws for all images, whatever the part
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch, k)))
            images = augment(images, rng)
            if len(images) != len(labels):
                raise ValueError(
                    f"batches: augment got {len(labels)} images and returned {len(images)}; it must keep them all"
                )
            images, labels = images[own], labels[own]
        return images, labels

    return (batch(k) for k in range(start, count))


def part_of(length: int, number: int, parts: int) -> slice:
    """Of a batch of this length, the part of this number, from 0; lengths of parts differ by one at most."""
    return slice(length * number // parts, length * (number + 1) // parts)


def batch_count(dataset: Dataset, batch_size: int, *, drop_last: bool = False) -> int:
    """How many batches `batches` yields in one epoch; the errors are those of `batches`."""
    if not isinstance(dataset, Dataset):
        raise TypeError(
            f"batches: got {described(dataset)}; expected a Dataset, such as Dataset(images, labels, classes) of "
            "arrays (N, C, H, W) and (N,)"
        )
    n, batch_size = len(dataset), at_least("batches", "batch_size", batch_size, least=1)
    if drop_last and batch_size > n:
        raise ValueError(
            f"batches: got batch_size = {batch_size} with drop_last, which leaves no batch of {n} images; "
            f"use a batch size up to {n} or drop_last=False"
        )
    return n // batch_size if drop_last else -(-n // batch_size)
