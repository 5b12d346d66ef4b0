"""`Elementwise`: the methods of a Tensor that compute each entry from one of its own. Names are PyTorch's."""

import numpy as np

from .ops import activation, arithmetic, elementwise


class Elementwise:
    """The part of `minires.Tensor` that is defined here."""

    __slots__ = ()

    def neg(self):
        """−x."""
        return self._run(arithmetic.Neg, self)

    def exp(self):
        """eˣ."""
        return self._run(elementwise.Exp, self)

    def log(self):
        """Natural logarithm."""
        return self._run(elementwise.Log, self)

    def log1p(self):
        """log(1 + x), exact for small x."""
        return self._run(elementwise.Log1p, self)

    def sqrt(self):
        """Square root; its derivative at 0 is infinite."""
        return self._run(elementwise.Sqrt, self)

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
        return self._run(elementwise.Abs, self)

    def relu(self):
        """max(x, 0); the derivative at 0 is 0."""
        return self._run(activation.ReLU, self)

    def sigmoid(self):
        """1/(1 + e⁻ˣ)."""
        return self._run(activation.Sigmoid, self)

    def tanh(self):
        """tanh x."""
        return self._run(activation.Tanh, self)

    # constant between jumps: the gradient is 0
    def sign(self):
        """−1, 0 or 1."""
        return self._run(elementwise.Sign, self)

    def floor(self):
        """The largest whole number that is not above x."""
        return self._run(elementwise.Floor, self)

    def ceil(self):
        """The smallest whole number that is not below x."""
        return self._run(elementwise.Ceil, self)

    def round(self, *, decimals=0):
        """The nearest number of so many decimals; of two, the one whose last digit is even."""
        if not isinstance(decimals, int | np.integer):
            raise TypeError(f"round: got decimals={decimals!r:.60}; expected a whole number")
        return self._run(elementwise.Round, self, decimals=int(decimals))

    # truth values, without a gradient
    def isnan(self):
        """Where x is NaN."""
        return self.wrap(np.isnan(self.array))

    def isinf(self):
        """Where x is infinite."""
        return self.wrap(np.isinf(self.array))

    def isfinite(self):
        """Where x is neither NaN nor infinite."""
        return self.wrap(np.isfinite(self.array))

    def logical_not(self):
        """Where x is 0."""
        return self.wrap(np.logical_not(self.array))
