"""The error for a name that PyTorch has and minires has not, which says what to do instead.

[PYTORCH.md](PYTORCH.md) lists what runs and what does not.
"""

from typing import Any

WAYS = {
    "minires.Generator": "all random numbers come from one generator: minires.manual_seed(seed)",
    "minires.accelerator": 'ask minires.cuda.is_available(), and move with x.to("gpu")',
    "minires.addcmul": "write a + value * b * c",
    "minires.amp": "there is no mixed precision; leave it out, or convert by hand with .half() and .float()",
    "minires.autocast": "there is no mixed precision; leave it out, or convert by hand with .half() and .float()",
    "minires.autograd.Function": "subclass minires.Op, whose two methods take arrays, and call minires.apply",
    "minires.autograd.functional": "Jacobians are minires.flow.jacobian; there are no second derivatives",
    "minires.autograd.gradcheck": "it is minires.testing.gradcheck",
    "minires.backends": "the kernels are minires's own, and there is nothing to set; leave the line out",
    "minires.bernoulli": "write (minires.rand(*shape) < p).float()",
    "minires.bincount": "minires.tensor(np.bincount(x.numpy(), minlength=n))",
    "minires.compile": "nothing is compiled; use the model itself",
    "minires.cuda.amp": "there is no mixed precision; leave it out, or convert by hand with .half() and .float()",
    "minires.distributed": "several processes train through MPI: minires.parallel(model, optimizer, comm)",
    "minires.jit": "nothing is compiled; leave the decorator out",
    "minires.load": 'minires.load_weights(model, "net.npz"); train.Checkpoint for a whole run',
    "minires.multinomial": "np.random.default_rng(0).choice(n, p=probabilities.numpy())",
    "minires.save": 'minires.save_weights(model, "net.npz"); train.Checkpoint for a whole run',
    "minires.tril": "minires.tensor(np.tril(x.numpy()))",
    "minires.triu": "minires.tensor(np.triu(x.numpy()))",
    "minires.utils": "batches come from minires.data.batches, recomputation is minires.checkpoint",
    "minires.nn.DataParallel": "one device computes; use the model itself",
    "minires.nn.parallel": "several processes train through MPI: minires.parallel(model, optimizer, comm)",
    "minires.nn.Embedding": "rows of a table are table[indices], where table is an nn.Parameter",
    "minires.nn.GRUCell": "an nn.GRU steps through a sequence of length 1",
    "minires.nn.LSTMCell": "an nn.LSTM steps through a sequence of length 1",
    "minires.nn.PixelShuffle": "reshape to (N, C, r, r, H, W), permute to (N, C, H, r, W, r), reshape",
    "minires.nn.functional.normalize": "write x / x.norm(dim=1, keepdim=True).clamp(min=1e-12)",
    "minires.nn.functional.softplus": "write x.relu() + (1 + (-x.abs()).exp()).log()",
    "Module.register_backward_hook": "it was never right for modules of several ops; use register_full_backward_hook",
    "Tensor.bernoulli_": "write (minires.rand(*shape) < p).float()",
    "Tensor.clamp_": "write x = x.clamp(min, max), or x.copy_(x.clamp(min, max)) under no_grad()",
    "Tensor.grad_fn": "the op that made a tensor is x.op",
    "Tensor.lerp_": "write x.mul_(1 - weight).add_(end, alpha=weight)",
    "Tensor.new_empty": "use new_zeros, or minires.zeros(shape, dtype=x.dtype)",
    "Tensor.reshape_as": "use view_as",
    "Tensor.new_tensor": "use minires.tensor(data, dtype=x.dtype, device=x.device)",
    "Tensor.scatter_": "write x[rows, columns] = values under no_grad()",
}


class NotOfferedError(NotImplementedError, AttributeError):
    """A name of PyTorch's that is not here. To ``hasattr`` it is simply a missing attribute, as it should be."""


def not_offered(owner: str, name: str, instance: Any = None) -> NotOfferedError:
    """The error to raise for ``owner.name``; Python adds what it may have been meant to be."""
    way = WAYS.get(f"{owner}.{name}") or "what there is of PyTorch's names is in minires/PYTORCH.md"
    error = NotOfferedError(f"{owner}.{name}: there is no such name here; {way}")
    error.name, error.obj = name, instance
    return error


class Absent:
    """A name that a class has not. A ``__getattr__`` would make every other name of the class slower to find."""

    def __init__(self, owner: str, name: str):
        self.owner, self.name = owner, name

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        raise not_offered(self.owner, self.name, instance)


class NotInTensor:
    """What `minires.Tensor` inherits of PyTorch's names: those in `WAYS`, whose error names the way."""

    __slots__ = ()


for _owner, _, _name in (path.rpartition(".") for path in WAYS):
    if _owner == "Tensor":
        setattr(NotInTensor, _name, Absent(_owner, _name))
