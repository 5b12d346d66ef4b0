"""Mistakes in what goes through a mean and a variance: batch norm's terms, and its statistics."""

import numpy as np

from .case import Case, Diagnosis


def batch_norm_terms(case: Case) -> Diagnosis | None:
    """G − N is constant along axes (a mean), or proportional to the centred input (a variance), or the sum of both."""
    for axes in _statistics_axes(case.grad.ndim):
        count = case.pooled(axes)
        if count < 4:
            continue
        level = case.error.mean(axes, keepdims=True)
        centred = case.x - case.x.mean(axes, keepdims=True)
        square = (centred * centred).sum(axes, keepdims=True)
        share = (case.error * centred).sum(axes, keepdims=True) / np.where(square == 0, 1, square)
        rest = case.error - level
        normalises = _normalises(case, axes, centred)
        whose = "batch norm's" if 0 in axes and 1 not in axes else "the normalisation's"
        if np.abs(rest).max() <= case.slack:
            term = f'{whose} "- mean(dxhat)" term' if normalises else "a mean over them"
            text = f"the error is constant over axes {axes}"
            return "missing_mean_term", f"{text}: {term} is missing, wrong or not wanted"
        if np.abs(case.error - share * centred).max() <= case.slack:
            term = f'{whose} variance term "- xhat * mean(dxhat * xhat)"' if normalises else "a multiple of it"
            text = f"the error is proportional to the input, centred over axes {axes}"
            return "missing_variance_term", f"{text}: {term} is missing or has a wrong factor"
        if count > 4 and np.abs(rest - share * centred).max() <= case.slack:
            terms = f"{whose} mean and variance terms" if normalises else "what goes through a mean and a variance"
            text = f"the error is a constant plus a multiple of the centred input over axes {axes}"
            return "missing_mean_term", f"{text}: {terms} {'are both' if normalises else 'is'} missing, or wrong"
    return None


def other_statistics(case: Case) -> Diagnosis | None:
    """G = a·N + b + c·(x − μ) in every channel: batch norm's gradient, but with another mean and variance."""
    for axes in _statistics_axes(case.grad.ndim):
        centred = case.x - case.x.mean(axes, keepdims=True)
        last = tuple(range(-len(axes), 0))
        g, n, c = (
            np.moveaxis(a, axes, last).reshape(-1, case.pooled(axes)) for a in (case.grad, case.numeric, centred)
        )
        if g.shape[1] < 8 or not _normalises(case, axes, centred):
            continue
        bases = [np.stack([row, np.ones_like(row), x], axis=1) for row, x in zip(n, c)]
        fits = np.array([b @ np.linalg.lstsq(b, row, rcond=None)[0] for b, row in zip(bases, g)])
        if np.abs(g - fits).max() <= case.slack:
            text = f"a multiple of the right gradient, a constant and a multiple of the centred input over axes {axes}"
            return (
                "wrong_statistics",
                f"{text}: as if backward used another mean and variance than forward (the running ones? another ε?)",
            )
    return None


def _statistics_axes(ndim: int) -> list[tuple[int, ...]]:
    """The axes along which means are commonly taken: per channel first, then per sample, per position, all, one."""
    every = tuple(range(ndim))
    groups = [tuple(a for a in every if a != 1), every[1:], every[2:], every[-1:], every[:1], every]
    return [group for k, group in enumerate(groups) if group and group not in groups[:k]]


def _normalises(case: Case, axes: tuple[int, ...], centred: np.ndarray) -> bool:
    """Whether the input seems to be normalised over these axes, judging by its right gradient or backward's.

    A function that does not change when its input is shifted or stretched has a gradient with mean 0 and no component
    along the centred input (apart from ε). If backward's has mean 0, it is that of a batch norm in training, perhaps
    one that should be in evaluation.
    """
    for grad in (case.numeric, case.grad):
        size = np.sqrt((grad * grad).sum(axes))
        level = np.abs(grad.mean(axes))
        along = np.abs((grad * centred).sum(axes)) / np.maximum(np.sqrt((centred * centred).sum(axes)), 1e-300)
        if size.all() and (level <= 1e-4 * size).all() and (along <= 0.05 * size).all():
            return True
    return False
