"""The targets, and whether they were reached: a measured ratio against a bar that must be met and one to aim for."""

from typing import NamedTuple


class Bar(NamedTuple):
    """Upper limits of a ratio minires / peer: ``must`` has to be met, ``aim`` would be better."""

    must: float
    aim: float

    def verdict(self, ratio: float) -> str:
        """``0.95 × · aim met (≤ 1)``, ``1.2 × · must met (≤ 1.35)`` or ``1.5 × · missed (≤ 1.35)``."""
        if ratio <= self.aim:
            return f"{ratio:.2f} × · aim met (≤ {self.aim:g})"
        return f"{ratio:.2f} × · {'must met' if ratio <= self.must else 'missed'} (≤ {self.must:g})"


STEP = {  # against PyTorch's default format
    "resnet20": Bar(1.0, 0.9),
    "resnet56": Bar(1.0, 0.9),
    "resnet18": Bar(1.25, 1.0),
    "digits56": Bar(0.95, 0.8),
}
CHANNELS_LAST = {"resnet20": Bar(1.2, 1.0), "resnet56": Bar(1.2, 1.0)}  # and against its other one
INFERENCE = {1: Bar(1.05, 0.9), 128: Bar(1.0, 0.9)}  # by batch
# a recorded step against a bare one
RECORDING = {
    "resnet20": Bar(1.25, 1.12),
    "digits56": Bar(1.4, 1.25),
    "resnet56": Bar(1.25, 1.12),
}
HOOKS = Bar(0.75, 0.6)  # a recorded step against PyTorch's with hooks
BEFORE = {"compare": Bar(0.6, 0.5), "spectrum": Bar(1.0, 0.6)}  # against an earlier checkout
MEMORY = Bar(0.8, 0.6)
NUMPY_PEERS = {  # the fastest of them
    "resnet20": Bar(1 / 8, 1 / 10),
    "resnet56": Bar(1 / 8, 1 / 10),
    "digits56": Bar(1 / 5, 1 / 6),
    "resnet18": Bar(1 / 4, 1 / 5),
}
SGEMM_MUST, SGEMM_AIM = 0.45, 0.7  # fraction of the machine's own sgemm rate reached by the ResNet-56 step
SWEEP = Bar(0.55, 0.52)  # 16 jobs on two workers against one
STRAIGHT = 0.15  # largest relative distance from the straight line
BRIDGE = 1.8  # most times the bare PyTorch step that a recorded one may take
RANKS = 0.9  # of two ranks with one thread each, against one: time of one / (2 × time of both)
