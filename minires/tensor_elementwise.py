"""`Elementwise`: the methods of a Tensor that compute each entry from one of its own. Names are PyTorch's."""

import numpy as np

from .ops import activation, arithmetic, elementwise


class Elementwise:
    """The part of `minires.Tensor` that is defined here."""

    __slots__ = ()

    def neg(self):
        """−x."""
        return self._apply(arithmetic.Neg)

    def exp(self):
        """eˣ."""
        return self._apply(elementwise.Exp)

    def log(self):
        """Natural logarithm."""
        return self._apply(elementwise.Log)

    def log1p(self):
        """log(1 + x), exact for small x."""
        return self._apply(elementwise.Log1p)

    def sqrt(self):
        """Square root; its derivative at 0 is infinite."""
        return self._apply(elementwise.Sqrt)

    def rsqrt(self):
        """1/√x."""
        return 1 / self.sqrt()

    def square(self):
        """x²."""
        return self**2

    def reciprocal(self):
        """1/x."""
        return 1 / self

    def abs(self):
        """|x|; the derivative at 0 is 0."""
        return self._apply(elementwise.Abs)

    def relu(self):
        """max(x, 0); the derivative at 0 is 0."""
        return self._apply(activation.ReLU)

    def sigmoid(self):
        """1/(1 + e⁻ˣ)."""
        return self._apply(activation.Sigmoid)

    def tanh(self):
        """tanh x."""
        return self._apply(activation.Tanh)

    # constant between jumps: the gradient is 0
    def sign(self):
        """−1, 0 or 1."""
        return self._apply(elementwise.Sign)

    def floor(self):
        """The largest whole number that is not above x."""
        return self._apply(elementwise.Floor)

    def ceil(self):
        """The smallest whole number that is not below x."""
        return self._apply(elementwise.Ceil)

    def round(self, *, decimals=0):
        """The nearest number of so many decimals; of two, the one whose last digit is even."""
        if not isinstance(decimals, int | np.integer):
            raise TypeError(f"round: got decimals={decimals!r:.60}; expected a whole number")
        return self._apply(elementwise.Round, decimals=int(decimals))

    # truth values, without a gradient
    def isnan(self):
        """Where x is NaN."""
        return self._constant(np.isnan(self.data))

    def isinf(self):
        """Where x is infinite."""
        return self._constant(np.isinf(self.data))

    def isfinite(self):
        """Where x is neither NaN nor infinite."""
        return self._constant(np.isfinite(self.data))

    def logical_not(self):
        """Where x is 0."""
        return self._constant(np.logical_not(self.data))
