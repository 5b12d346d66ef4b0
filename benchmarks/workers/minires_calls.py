"""How many calls of C functions each kind of op makes in one training step, and how long it takes."""

from common import arguments, minires_version, report

options = arguments()

import sys  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402

import numpy as np  # noqa: E402

import minires as mr  # noqa: E402
from minires.nn import functional as F  # noqa: E402
from minires.ops import Op  # noqa: E402

mr.set_num_threads(options.threads)
mr.manual_seed(0)
case = options.case
model = mr.models.resnet_cifar(6 * case.blocks[0] + 2, in_channels=case.channels, width=case.widths[0])
optimizer = mr.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
x = mr.randn(case.batch, case.channels, case.size, case.size)
y = mr.tensor(np.arange(case.batch) % 10)
STEPS = 1 if options.quick else 30
current = [""]  # the op that is being computed
seconds: Counter[str] = Counter()
calls: Counter[str] = Counter()
ops: Counter[str] = Counter()


def watched(name, method):
    def run(*args, **kwargs):
        current[0], start = name, time.perf_counter()
        try:
            return method(*args, **kwargs)
        finally:
            seconds[name] += time.perf_counter() - start
            ops[name] += 1
            current[0] = "between the ops"

    return run


def count(frame, event, function):
    if event == "c_call":
        calls[current[0]] += 1


def step():
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    current[0] = "SGD"
    optimizer.step()


def kinds(op):
    for kind in op.__subclasses__():
        yield kind
        yield from kinds(kind)


for _ in range(2):
    step()
for kind in set(kinds(Op)):
    for way in ("forward", "backward"):
        if way in vars(kind):
            setattr(kind, way, watched(f"{kind.__name__}, {way}", getattr(kind, way)))
type(optimizer).step = watched("SGD", type(optimizer).step)
start = time.perf_counter()
for _ in range(STEPS):
    step()
whole = (time.perf_counter() - start) / STEPS
rows = {name: [ops[name] / STEPS, 1e3 * seconds[name] / STEPS] for name in seconds}
rows["between the ops"] = [0, 1e3 * (whole - sum(seconds.values()) / STEPS)]
calls.clear()
current[0] = "between the ops"
sys.setprofile(count)
step()
sys.setprofile(None)
report(
    rows={name: [*row, calls[name]] for name, row in rows.items()},
    ms=1e3 * whole,
    threads=options.threads,
    version=minires_version(),
)
