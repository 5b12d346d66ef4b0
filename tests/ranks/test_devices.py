"""Over ranks on other devices: the CUDA kernels on the CPU, with MPI; and NCCL's calls against CuPy's signatures."""

import inspect

import pytest

from minires import cuda_on_cpu
from minires.ranks import wire


@pytest.mark.slow
@pytest.mark.skipif(not cuda_on_cpu.available(), reason="no g++")
def test_the_cuda_kernels_train_over_ranks_as_one_process_does(over):
    over(
        2,
        """
        x, y = digits[:9]
        x = x.astype(np.float64)
        one = flow.record(network()[0], x, y)
        model, optimizer = network()
        optimizer = optim.SGD(model.to("cuda-on-cpu").parameters(), lr=0.1)
        with mr.parallel(model, optimizer, comm, "sync") as ranks:
            images, labels = ranks.share(x, y)
            several = flow.record(model, images, labels)
            images, labels = (mr.tensor(a).to("cuda-on-cpu") for a in (images, labels))
            F.cross_entropy(model(images.to(np.float64)), labels).backward()
            assert all(p.grad.device == "cuda-on-cpu" for p in model.parameters())
            optimizer.step()
            ranks.check_equal_weights()
        for mine, whole in zip(several.nodes, one.nodes, strict=True):
            assert mine.name == whole.name
            close(mine.norm, whole.norm, 1e-11)
        """,
        timeout=300,
    )


class Calls:
    """Checks each call against the method of this name in CuPy's NCCL backend."""

    def __init__(self, backend):
        self.backend, self.made = backend, []

    def __getattr__(self, name):
        def call(*arguments):
            inspect.signature(getattr(self.backend, name)).bind(self, *arguments)
            self.made.append(name)

        return call


def test_what_nccl_is_asked_is_what_cupy_offers(monkeypatch):
    """CuPy imports without a GPU; here its arrays are NumPy's, which claim to be on one."""
    distributed = pytest.importorskip("cupyx.distributed")
    import numpy as np

    inspect.signature(distributed.init_process_group).bind(4, 0, use_mpi=True)
    own = wire.Wire.__new__(wire.Wire)
    own.size, own._nccl = 3, Calls(distributed.NCCLBackend)
    own.meet = lambda *arguments: (np.ones(3), None)
    gpu = type("Device", (), {"name": "gpu", "is_cpu": False})
    monkeypatch.setattr(wire.kernels, "device_of", lambda array: gpu)
    _, found = own.gather("a mean", np.zeros(5), 1, False)
    assert found.shape == (3, 5) and found.flags.c_contiguous
    own.sum(np.zeros(4), "gradients")
    own.broadcast(np.asfortranarray(np.zeros((2, 3))))
    assert own._nccl.made == ["all_gather", "all_reduce", "broadcast"]
