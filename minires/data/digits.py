"""1,797 real handwritten digits, shipped inside the package (source and licence: DIGITS.md beside this file)."""

from __future__ import annotations

from importlib import resources

import numpy as np

from minires.data.dataset import Dataset


def digits(normalize: bool = True) -> tuple[Dataset, Dataset]:
    """The training and test set of 8×8 handwritten digits: 1,437 and 360 images (N, 1, 8, 8), labels 0 to 9.

    The split is fixed: after one permutation of the file, every fifth image of the list sorted by digit is for the
    test, so that both sets hold the digits in equal shares. The file is ordered by writer, and so the permutation
    puts the handwriting of every writer on both sides; an unshuffled split (the last 360 as the test) would ask for
    handwriting never seen in training, a harder question with a lower accuracy.

    Stored pixels count ink from 0 to 16. `normalize` gives (pixels − mean) / std with the mean and standard deviation
    of all training pixels, one number each (4.89 and 6.02); without it images run from 0 to 1.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
    """
    source = resources.files("minires.data").joinpath("digits.npz")
    with source.open("rb") as file, np.load(file, allow_pickle=False) as archive:
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
