"""Augmentation against slow versions written as loops."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minires.data import average_pool, random_crop_flip

sizes = st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7))
dtypes = st.sampled_from([np.uint8, np.float32, np.float64])


def random_images(shape, dtype):
    return np.random.default_rng(1).integers(0, 256, shape).astype(dtype)


def crop_flip_loop(images, rng, padding, flip):
    n, _, height, width = images.shape
    top, left = rng.integers(0, 2 * padding + 1, size=(2, n))
    mirrored = rng.random(n) < 0.5 if flip else np.zeros(n, bool)
    out = np.zeros_like(images)
    for i, c, y, x in np.ndindex(out.shape):
        row, column = y + top[i] - padding, (width - 1 - x if mirrored[i] else x) + left[i] - padding
        if 0 <= row < height and 0 <= column < width:
            out[i, c, y, x] = images[i, c, row, column]
    return out


@given(sizes, dtypes, st.integers(0, 5), st.booleans(), st.integers(0, 2**32))
def test_crop_flip_equals_the_loop(shape, dtype, padding, flip, seed):
    images = random_images(shape, dtype)
    before = images.copy()
    out = random_crop_flip(images, np.random.default_rng(seed), padding, flip)
    assert (out == crop_flip_loop(images, np.random.default_rng(seed), padding, flip)).all()
    assert out.dtype == images.dtype and out.shape == images.shape
    assert out.flags.c_contiguous and not np.shares_memory(out, images)
    assert (images == before).all()


def test_crop_flip_reaches_every_place_evenly():
    n, padding = 40_500, 1
    images = np.zeros((n, 1, 3, 3), np.float32)
    images[:, 0, 1, 0] = 1  # off the centre, so that a mirror image shows
    places = random_crop_flip(images, np.random.default_rng(0), padding).sum(0)[0] / n
    # From column 0 a shift by −1, 0, 1 leads out, to 0, to 1; mirrored to 2, 1 and out. Six ways, three rows.
    assert np.abs(places - np.array([[1, 2, 1]] * 3) / 18).max() < 0.005


def test_without_padding_and_flip_nothing_changes():
    images = random_images((3, 2, 4, 4), np.uint8)
    assert (random_crop_flip(images, np.random.default_rng(0), padding=0, flip=False) == images).all()


def test_one_image_is_not_a_batch():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"random_crop_flip: images must be \(N, C, H, W\), got shape \(3, 8, 8\)"):
        random_crop_flip(np.zeros((3, 8, 8)), rng)
    with pytest.raises(ValueError, match="random_crop_flip: padding must be at least 0, got -1"):
        random_crop_flip(np.zeros((1, 3, 8, 8)), rng, padding=-1)
    with pytest.raises(TypeError, match=r"random_crop_flip: padding must be a whole number, got 1\.5"):
        random_crop_flip(np.zeros((1, 3, 8, 8)), rng, padding=1.5)
    with pytest.raises(TypeError, match="average_pool: got a list; expected an array of images"):
        average_pool([[1.0, 2.0]], 2)
    with pytest.raises(TypeError, match=r"average_pool: factor must be a whole number, got 2\.0"):
        average_pool(np.zeros((1, 3, 8, 8)), 2.0)
    with pytest.raises(ValueError, match=r"average_pool: images must be \(N, C, H, W\)"):
        average_pool(np.zeros((8, 8)), 2)


@given(sizes, st.integers(1, 4), dtypes)
def test_average_pool_equals_the_loop(shape, factor, dtype):
    n, channels, height, width = shape
    images = random_images((n, channels, height * factor, width * factor), dtype)
    pooled = average_pool(images, factor)
    assert pooled.shape == shape
    assert pooled.dtype == (np.float32 if dtype is np.uint8 else dtype)
    for i, c, y, x in np.ndindex(shape):
        square = images[i, c, y * factor : (y + 1) * factor, x * factor : (x + 1) * factor]
        assert pooled[i, c, y, x] == pytest.approx(square.astype(float).mean(), rel=1e-5)


@pytest.mark.parametrize("factor", [0, -1, 3, 16])
def test_average_pool_must_divide(factor):
    said = f"got factor = {factor} for images of 8×8" if factor > 0 else f"factor must be at least 1, got {factor}"
    with pytest.raises(ValueError, match=said):
        average_pool(np.zeros((1, 1, 8, 8)), factor)


def test_averages_of_float16_are_not_summed_in_it():
    assert average_pool(np.full((1, 1, 32, 32), 255, np.float16), 32).tolist() == [[[[255.0]]]]
