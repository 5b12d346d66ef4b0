"""One training step of a CIFAR ResNet in minires: forward, backward, SGD.  minires_step.py CASE [norms|arrays]"""

import contextlib
import sys

import numpy as np
from common import CASES, measure, report

import minires as mr
from minires import flow, optim
from minires.nn import functional as F

depth, width, channels, size, batch = CASES[sys.argv[1]]
mode = sys.argv[2] if len(sys.argv) > 2 else "plain"
mr.manual_seed(0)
model = mr.models.resnet_cifar(depth, width, in_channels=channels)
optimizer = optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
x = mr.randn(batch, channels, size, size)
y = mr.tensor(np.arange(batch) % 10)


def step():
    optimizer.zero_grad()
    recording = contextlib.nullcontext() if mode == "plain" else flow.recording(model, arrays=mode == "arrays")
    with recording:
        loss = F.cross_entropy(model(x), y)
        loss.backward()
    optimizer.step()
    return loss.item()


quick = depth < 30
report(**measure(step, 3, 9 if quick else 5), version=f"minires {mr.__version__}, NumPy {np.__version__}")
