"""A training step (forward, backward, SGD) or inference of a ResNet in minires."""

from common import arguments, flops, measure, minires_version, report

options = arguments()
case = options.case

import contextlib  # noqa: E402

import numpy as np  # noqa: E402

import minires as mr  # noqa: E402
from minires import flow, optim  # noqa: E402
from minires.models import ResidualBlock, ResNet  # noqa: E402
from minires.nn import functional as F  # noqa: E402

mr.set_num_threads(options.threads)
mr.manual_seed(0)
model = ResNet(
    ResidualBlock,
    case.blocks,
    case.widths,
    stem=case.stem,
    in_channels=case.channels,
    num_classes=case.classes,
    shortcut="A" if case.stem == "cifar" else "B",
    recompute_every=options.recompute_every,
)
optimizer = optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
x = mr.randn(case.batch, case.channels, case.size, case.size)
y = mr.tensor(np.arange(case.batch) % 10)


def step():
    optimizer.zero_grad()
    record = flow.recording(model, arrays=options.recording == "arrays") if options.recording else None
    with record or contextlib.nullcontext():
        loss = F.cross_entropy(model(x), y)
        loss.backward()
    optimizer.step()
    return loss.item()


@mr.no_grad()
def inference():
    return model(x)


model.train(options.mode == "step")
report(
    **measure(step if options.mode == "step" else inference, options),
    gflop=flops(case, options.mode) / 1e9,
    version=minires_version(),
)
