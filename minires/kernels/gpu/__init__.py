"""The kernels in CUDA C, launched through CuPy on a GPU, or by our own runner on the CPU.

The `.cu` files are the kernels, one for each family of ops; `load` compiles them, `launch` has what a launch needs, and
a Python module of the same name as each family computes sizes, grid and workspace. Same names, arguments and results as
`minires.kernels.cpu`, with a `launch.Device` in front: ``table(device)`` gives them for one device.
"""

import functools
from collections.abc import Callable

from .launch import Device


def table(device: Device, names: tuple[str, ...]) -> dict[str, Callable]:
    """The kernels of these names, for the arrays of one device."""
    # Here, because a device may never be asked for, and `import minires` need not wait for it.
    from . import augment, batchnorm, conv, elementwise, linear, loss, pool, reduce

    families = conv, batchnorm, elementwise, pool, linear, loss, reduce, augment
    found = {name: function for family in families for name, function in vars(family).items()}
    return {name: functools.partial(found[name], device) for name in names}
