"""The same in PyTorch, eager, on the CPU; ``--channels-last`` for its other memory format.

``--recording`` records a step: by minires's bridge (norms, arrays), or by PyTorch's own hooks.
"""

from common import arguments, blocks, measure, report

options = arguments()
case = options.case

import contextlib  # noqa: E402

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402
from torch_hooks import Hooks  # noqa: E402


class Block(nn.Module):
    """conv–BN–ReLU–conv–BN and a shortcut: the padded identity (option A), or projected (B)."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu, self.after_sum = nn.ReLU(inplace=True), nn.ReLU(inplace=True)
        self.stride, self.new = stride, outputs - inputs
        if self.new and case.stem == "imagenet":
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def shortcut(self, x):
        if not self.new:
            return x
        if case.stem == "imagenet":
            return self.downsample(x)
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.new // 2, self.new - self.new // 2))

    def forward(self, x):
        branch = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        branch += self.shortcut(x)
        return self.after_sum(branch)


def stem():
    width = case.widths[0]
    if case.stem == "cifar":
        return [nn.Conv2d(case.channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return [
        nn.Conv2d(case.channels, width, 7, 2, 3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    ]


torch.set_num_threads(options.threads)
torch.manual_seed(0)
model = nn.Sequential(
    *stem(),
    *[Block(*block) for block in blocks(case)],
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(case.widths[-1], case.classes),
)
x = torch.randn(case.batch, case.channels, case.size, case.size)
if options.channels_last:
    model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
y = torch.arange(case.batch) % 10
optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)


def recording():
    """Watches a step, if that was asked for."""
    if not options.recording:
        return contextlib.nullcontext()
    from minires.flow import torch as flow_torch  # the bare step does without minires

    return flow_torch.recording(model, arrays=options.recording == "arrays")


def step():
    optimizer.zero_grad()
    if options.recording == "hooks":
        with Hooks(model) as hooks:
            loss = F.cross_entropy(model(x), y)
            hooks.watch(loss)
            loss.backward()
        hooks.numbers()
    else:
        with recording():
            loss = F.cross_entropy(model(x), y)
            loss.backward()
    optimizer.step()
    return loss.item()


@torch.inference_mode()
def inference():
    return model(x)


model.train(options.mode == "step")
report(**measure(step if options.mode == "step" else inference, options), version=f"PyTorch {torch.__version__}")
