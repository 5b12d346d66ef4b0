"""Two pictures of a gradient check: how fast the Taylor remainder falls, and where a gradient is wrong.

matplotlib is imported when a picture is asked for.
"""

from typing import Any

import numpy as np

from .gradcheck import prepare
from .numeric import EPS, unit_of
from .report import Failure

RIGHT, WRONG, LINE, NOISE = "#007BC0", "#CD4A00", "#757575", "#BBBBBB"  # Okabe & Ito, and greys
MARKERS = "osD^vP*X"


def taylor(f: Any, *inputs: Any, seed: int = 0, only: Any = None, **options: Any) -> Any:
    """The Taylor remainder |φ(h) − φ(0) − h·⟨g, d⟩| against the step h, for every gradient g: a matplotlib Figure.

    φ(h) = ⟨grad_output, f(x + h·d)⟩ along a normal direction d. Where g is right the remainder falls with slope 2 until
    it meets the noise floor ε·|f|; where it is wrong, with slope 1. Arguments are those of `gradcheck`; h in units of
    the input's root mean square. Raises as `gradcheck` does for arguments that cannot be checked.
    """
    from matplotlib.figure import Figure

    steps = 10.0 ** np.arange(-9, 0.01, 0.25)
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    ax = figure.subplots()
    check = prepare(f, *inputs, seed=seed, only=only, **options)
    tops, floors = [], []
    with check.subject.borrowed():
        point = check.at(check.arrays)
        point.differentiate()
        for count, i in enumerate(check.subject.chosen):
            grad, name = point.grads[i], check.subject.names[i]
            if grad is None or np.shape(grad) != check.arrays[i].shape:
                continue
            direction = point.directions_of(i)[0]
            phi = point.along(i, direction)
            unit, slope = unit_of(check.arrays[i]), float((grad * direction).sum())
            remainder = np.array([abs(phi(h * unit) - h * unit * slope) for h in steps])
            floor = 4 * EPS * point.size_of(i)
            shown = np.maximum(remainder, floor / 30)
            order = observed_order(steps, remainder, 30 * floor)
            right = order is None or order > 1.5
            text = (
                f"{name}: " + ("no curvature" if order is None else f"slope {order:.2f}") + ("" if right else ", wrong")
            )
            style: dict[str, Any] = dict(color=RIGHT if right else WRONG, ls="-" if right else "--")
            ax.loglog(steps, shown, marker=MARKERS[count % len(MARKERS)], ms=4, lw=1.2, label=_plain(text), **style)
            tops.append(shown[-5])  # at h = 0.1
            floors.append(floor)
    if tops:
        _guides(ax, steps, max(tops), max(floors))
    ax.set_xlabel("step h (in units of the input's root mean square)")
    ax.set_ylabel("Taylor remainder  |φ(h) − φ(0) − h·⟨g, d⟩|")
    title = _plain(f"{check.subject.name}: with the right gradient the remainder falls as h²")
    ax.set_title(title, fontsize=11)
    ax.legend(frameon=False, fontsize=9, loc="upper left")
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def observed_order(steps: np.ndarray, remainder: np.ndarray, floor: float) -> float | None:
    """Slope of log remainder against log h, where h is small and it is above the noise (None if it never is)."""
    use = (remainder > floor) & (steps <= 0.02)
    if use.sum() < 3:
        return None
    return float(np.polyfit(np.log(steps[use]), np.log(remainder[use]), 1)[0])


def _guides(ax: Any, steps: np.ndarray, top: float, floor: float) -> None:
    """Lines of slope 2 and 1 above the data, and the noise floor."""
    ends = ax.get_ylim()
    for slope, style in ((2, ":"), (1, "-.")):
        line = 4 * top * (steps / 0.1) ** slope
        visible = line > floor / 3
        ax.loglog(steps[visible], line[visible], color=LINE, ls=style, lw=1)
        at = np.flatnonzero(visible)[int(0.3 * visible.sum())]
        ax.annotate(
            f"slope {slope}", (steps[at], line[at]), xytext=(-4, 4), textcoords="offset points",
            color=LINE, fontsize=9, ha="right",
        )  # fmt: skip
    ax.axhspan(floor / 1e3, floor, color=NOISE, alpha=0.35, lw=0)
    ax.text(steps[-1], floor * 0.7, "noise floor ε·|f|", color="#555555", fontsize=9, ha="right", va="top")
    ax.set_ylim(floor / 100, max(ends[1], 40 * top))
    ax.set_xlim(steps[0] / 1.5, steps[-1] * 1.5)


def error_map(failure: Failure) -> Any:
    """Backward's gradient, the numeric one and their difference side by side: a matplotlib Figure.

    A gradient (N, C, H, W) is laid out as N rows and C columns of images; other shapes as one image. The third map
    shows |difference| divided by the largest numeric entry, light grey where the gradient is right. Raises ValueError
    for a failure whose gradients were not computed.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    if failure.grad is None or failure.numeric_grad is None:
        raise ValueError(f"error_map: this failure ({failure.kind}) holds no two gradients to compare")
    grad, numeric = np.asarray(failure.grad), np.asarray(failure.numeric_grad)
    largest = float(np.abs(numeric).max()) or 1.0
    error = np.abs(grad - numeric) / largest
    error = np.where(np.isfinite(error), np.minimum(error, 1e6), 1e6)
    figure = Figure(figsize=(10.5, 4.2), layout="constrained")
    axes = figure.subplots(1, 3)
    limit = max(largest, float(np.percentile(np.abs(grad[np.isfinite(grad)]), 98)) if np.isfinite(grad).any() else 0)
    for ax, array, title in zip(axes, (grad, numeric), ("backward", "numeric (right)")):
        drawn = ax.imshow(tiled(array), cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="equal")
        ax.set_title(title, fontsize=10)
    figure.colorbar(drawn, ax=axes[:2], shrink=0.7, location="bottom", label="gradient")
    axes[2].imshow(0 * tiled(error), cmap="Greys", vmin=-0.1, vmax=1, aspect="equal")  # light grey: right
    wrong = tiled(np.where(error > 1e-6, error, np.nan))
    drawn = axes[2].imshow(wrong, cmap="magma_r", norm=LogNorm(1e-6, max(1.0, np.nanmax(wrong))), aspect="equal")
    axes[2].set_title(f"difference: {int((error > 1e-6).sum())} of {error.size} wrong", fontsize=10)
    figure.colorbar(drawn, ax=axes[2], shrink=0.9, location="bottom", label="|difference| / largest numeric entry")
    for ax in axes:
        _label(ax, grad.shape)
    who = failure.input if isinstance(failure.input, str) else f"input {failure.input}"
    figure.suptitle(_plain(f"{who}, {grad.shape}: {failure.kind.replace('_', ' ')}"), fontsize=11)
    return figure


def tiled(array: np.ndarray) -> np.ndarray:
    """An array as one image: (N, C, H, W) as N × C images with a gap (NaN) between them, others flattened to 2 axes."""
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4:
        return array.reshape(array.shape[0] if array.ndim > 1 else 1, -1)
    n, c, h, w = array.shape
    image = np.full((n, h + 1, c, w + 1), np.nan)
    image[:, :h, :, :w] = array.transpose(0, 2, 1, 3)
    return image.reshape(n * (h + 1), c * (w + 1))[:-1, :-1]


def _plain(text: str) -> str:
    """Text in which matplotlib shows every $ as it is: two of them would make a formula of what is between."""
    return text.replace("$", r"\$")


def _label(ax: Any, shape: tuple[int, ...]) -> None:
    """Label the ticks that count the first two axes."""
    sizes = (1, *shape) if len(shape) == 3 else shape
    if len(sizes) == 4:
        n, c, h, w = sizes
        ax.set_xticks([k * (w + 1) + (w - 1) / 2 for k in range(c)], map(str, range(c)))
        ax.set_yticks([k * (h + 1) + (h - 1) / 2 for k in range(n)], map(str, range(n)))
        ax.set_xlabel("axis 1" if len(shape) == 4 else "axis 0", fontsize=9)
        ax.set_ylabel("axis 0" if len(shape) == 4 else "", fontsize=9)
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
    else:
        ax.locator_params(integer=True, nbins=6)
        if len(shape) < 2:
            ax.set_yticks([])
