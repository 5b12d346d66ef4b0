"""Elementwise functions y = f(x); the docstring of each gives f, then its derivative."""

import numpy as np

from .op import Elementwise


class Exp(Elementwise):
    """eˣ: its own derivative."""

    fractional = True

    def forward(self, x):
        self.y = np.exp(x)
        return self.y

    def backward(self, grad_output):
        return grad_output * self.y


class Log(Elementwise):
    """The natural logarithm: 1/x."""

    fractional = True

    def forward(self, x):
        self.x = x
        return np.log(x)

    def backward(self, grad_output):
        return grad_output / self.x


class Log1p(Elementwise):
    """log(1 + x), exact for small x: 1/(1 + x)."""

    fractional = True

    def forward(self, x):
        self.x = x
        return np.log1p(x)

    def backward(self, grad_output):
        return grad_output / (1 + self.x)


class Flat(Elementwise):
    """Base of the functions that are constant between their jumps: the gradient is 0 everywhere, as in PyTorch."""

    def backward(self, grad_output):
        return np.zeros_like(grad_output)


class Sign(Flat):
    """−1, 0 or 1; 0 at NaN."""

    def forward(self, x):
        return x.copy() if x.dtype.kind == "b" else np.where(x == x, np.sign(x), np.zeros_like(x))


class Floor(Flat):
    """The largest whole number that is not above x."""

    kinds = "fui"

    def forward(self, x):
        return np.floor(x) if x.dtype.kind == "f" else x.copy()


class Ceil(Flat):
    """The smallest whole number that is not below x."""

    kinds = "fui"

    def forward(self, x):
        return np.ceil(x) if x.dtype.kind == "f" else x.copy()


class Round(Flat):
    """The nearest number of so many decimals; of two, the one whose last digit is even."""

    kinds = "fui"

    def forward(self, x, decimals=0):
        self.decimals = decimals
        return np.round(x, decimals)


class Sqrt(Elementwise):
    """√x: 1 / (2√x)."""

    fractional = True

    def forward(self, x):
        self.y = np.sqrt(x)
        return self.y

    def backward(self, grad_output):
        return grad_output / (2 * self.y)


class Abs(Elementwise):
    """|x|: the sign of x, and 0 at the kink and at NaN."""

    kinds = "fui"

    def forward(self, x):
        self.x = x
        return np.abs(x)

    def backward(self, grad_output):
        return grad_output * np.where(np.isnan(self.x), np.zeros_like(self.x), np.sign(self.x))


class Clamp(Elementwise):
    """min(max(x, low), high): the gradient goes to the one whose value it is, at a tie to x (PyTorch's convention)."""

    def forward(self, x, low, high):
        if low is None and high is None:
            raise ValueError("clamp: got neither min nor max; give at least one of them")
        lo, hi = -np.inf if low is None else low, np.inf if high is None else high
        inside = (lo <= x) & (x <= hi)
        below = (x < lo) & (lo < hi) if self.needs[1] else None
        above = (x > hi) | (hi < lo) if self.needs[2] else None
        self.chosen = inside, below, above
        return np.clip(x, low, high)

    def backward(self, grad_output):
        nothing = np.zeros_like(grad_output)
        return tuple(
            [np.where(chosen, grad_output, nothing) if need else None for chosen, need in zip(self.chosen, self.needs)]
        )


class Maximum(Elementwise):
    """max(a, b), elementwise: the gradient goes to the larger, half to each at a tie (as in PyTorch)."""

    def forward(self, a, b):
        self.a, self.b = a, b
        return np.maximum(a, b)

    def backward(self, grad_output):
        return split_at_ties(grad_output, self.a, self.b)


class Minimum(Elementwise):
    """min(a, b), elementwise: the gradient goes to the smaller, half to each at a tie (as in PyTorch)."""

    def forward(self, a, b):
        self.a, self.b = a, b
        return np.minimum(a, b)

    def backward(self, grad_output):
        return split_at_ties(grad_output, -self.a, -self.b)


class Where(Elementwise):
    """a where the condition holds, else b: the gradient goes to the one chosen."""

    def forward(self, condition, a, b):
        self.condition = condition
        return np.where(condition, a, b)

    def backward(self, grad_output):
        zero = np.zeros_like(grad_output)
        return None, np.where(self.condition, grad_output, zero), np.where(self.condition, zero, grad_output)


def split_at_ties(grad_output, a, b):
    """Give the gradient to the larger of a and b, half to each where they are equal, and all to both at a NaN."""
    share = np.where(a == b, grad_output / 2, grad_output)
    nothing = np.zeros_like(grad_output)
    return np.where(a < b, nothing, share), np.where(b < a, nothing, share)
