"""The same training step in PyTorch, eager, on the CPU.  torch_step.py CASE [channels_last]"""

import os
import sys

import torch
import torch.nn.functional as F
from common import CASES, measure, report
from torch import nn


class Block(nn.Module):
    """conv–BN–ReLU–conv–BN plus the padded identity (option A), as in minires.models.ResidualBlock."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.stride, self.new = stride, outputs - inputs

    def forward(self, x):
        branch = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.new:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.new // 2, self.new - self.new // 2))
        branch += x
        return self.relu(branch)


class ResNet(nn.Module):
    """6n+2 layers in three stages."""

    def __init__(self, depth, width, channels):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        blocks, inputs = [], width
        for stage in range(3):
            for i in range((depth - 2) // 6):
                outputs = width << stage
                blocks.append(Block(inputs, outputs, 2 if i == 0 and stage else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(inputs, 10)

    def forward(self, x):
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))


depth, width, channels, size, batch = CASES[sys.argv[1]]
channels_last = "channels_last" in sys.argv
torch.set_num_threads(len(os.sched_getaffinity(0)))
torch.manual_seed(0)
model = ResNet(depth, width, channels)
x = torch.randn(batch, channels, size, size)
if channels_last:
    model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
y = torch.arange(batch) % 10
optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)


def step():
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


quick = depth < 30
report(**measure(step, 3, 9 if quick else 5), version=f"PyTorch {torch.__version__}")
