"""1,797 real handwritten digits, shipped inside the package (source and licence: DIGITS.md beside this file)."""

from __future__ import annotations

import hashlib
import io
from importlib import resources

import numpy as np

from minires.data.dataset import Dataset

SHA256 = "b2dab7b501728c22e9119ad76740b2e17c77a231e42d1e592380d90886f1a05e"  # of digits.npz


def digits(normalize: bool = True) -> tuple[Dataset, Dataset]:
    """The training and test set of 8×8 handwritten digits: 1,437 and 360 images (N, 1, 8, 8), labels 0 to 9.

    The split is fixed. The images are shuffled once and sorted by digit, and every fifth one goes to the test set, so
    that both sets hold the digits in equal shares. The file is ordered by writer, and shuffling puts every writer into
    both sets. An unshuffled split (the last 360 images as the test set) would test handwriting that was never seen in
    training, a harder task with a lower accuracy.

    Stored pixels count ink from 0 to 16. `normalize` gives (pixels − mean) / std with the mean and standard deviation
    of all training pixels, one number each (4.89 and 6.02); without it images run from 0 to 1.

    Raises ValueError or FileNotFoundError if the installed file is damaged or missing.
    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
    """
    with np.load(io.BytesIO(_read()), allow_pickle=False) as archive:
        pixels, labels = archive["images"][:, None], archive["labels"].astype(np.int64)
    # RandomState, not Generator: NumPy promises that its stream never changes (NEP 19), and so neither does the split.
    order = np.random.RandomState(0).permutation(len(labels))
    by_digit = order[np.argsort(labels[order], kind="stable")]
    in_test = np.isin(order, by_digit[::5])
    train, test = order[~in_test], order[in_test]
    mean, std = (float(pixels[train].mean()), float(pixels[train].std())) if normalize else (0.0, 16.0)
    classes = tuple("0123456789")
    return (
        Dataset(pixels[train], labels[train], classes, (mean,), (std,)),
        Dataset(pixels[test], labels[test], classes, (mean,), (std,)),
    )


def _read() -> bytes:
    """The file, after its checksum has been compared."""
    source = resources.files("minires.data").joinpath("digits.npz")
    again = "install minires again: python -m pip install --force-reinstall --no-deps minires-lab"
    try:
        content = source.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"digits: no file {source}, which belongs to the package; {again}") from None
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise ValueError(f"digits: {source} is damaged, or not the file that came with the package; {again}")
    return content
