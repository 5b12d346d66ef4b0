"""A recurrent network with a shortcut through time: what a residual block is to depth, this is to a sequence."""

from .. import nn
from ..tensor import Tensor


class ResidualRNN(nn.RNN):
    """h_t = h_{t−1} + scale·tanh(W_ih·x_t + b_ih + W_hh·h_{t−1} + b_hh): `nn.RNN`, and a shortcut around every step.

    Shapes, arguments and weights are those of `nn.RNN`, whose state dict it takes. The Jacobian of a step is
    I + scale·J in place of J. With ``scale`` 1/L, L being the length of the sequences, the sum of L branches stays as
    large as one of them; a step is then a step of Euler's method for h′ = tanh(…), the view of Chang et al. 2019 (arXiv
    1902.09689). With learned factors before both summands it is the FastRNN of Kusupati et al. 2018 (NeurIPS).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        *,
        scale: float = 1.0,
    ):
        super().__init__(input_size, hidden_size, num_layers, nonlinearity, bias, batch_first, dropout)
        self.scale = scale

    def step(self, x: Tensor, state: tuple[Tensor, ...], layer: str) -> tuple[Tensor, ...]:
        """One step: (h_{t−1},) -> (h_t,)."""
        (h,) = state
        return (h + self.scale * self.candidate(x, h, layer),)

    def extra_repr(self) -> str:
        return super().extra_repr() + (f", scale={self.scale:.4g}" if self.scale != 1 else "")
