"""How people write PyTorch: idioms from public code, each in a few lines of our own, with where it was seen.

A line ``### title | repository file`` begins an idiom. Its lines find what `setting` returns, and leave their result in
``out``; `run_idioms` runs them.
"""

import re
from typing import NamedTuple


class Idiom(NamedTuple):
    """title: what it does. source: repository and file. code: the lines."""

    title: str
    source: str
    code: str


def idioms(text: str) -> list[Idiom]:
    """The idioms of a section."""
    return [
        Idiom(*found) for found in re.findall(r"^### ([^|\n]*) \| ([^\n]*)\n(.*?)\n*(?=^###|\Z)", text, re.M | re.S)
    ]


def setting(torch) -> dict:
    """What the lines find: images x, labels y, logits, a small model, its loss and optimiser, three batches.

    ``fixed(module)`` gives a module weights that are the same in both libraries.
    """

    def fixed(module):
        with torch.no_grad():
            for i, p in enumerate(module.parameters()):
                p.copy_(torch.tensor([((7 * j + 3 * i) % 11 - 5) / 10 for j in range(p.numel())]).view(p.shape))
        return module

    def numbers(*shape):
        count = 1
        for n in shape:
            count *= n
        return torch.tensor([((37 * j) % 101 - 50) / 25 for j in range(count)]).view(*shape)

    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 5),
    )  # fmt: skip
    return {
        "torch": torch, "nn": nn, "F": nn.functional, "optim": torch.optim, "fixed": fixed, "numbers": numbers,
        "x": numbers(4, 3, 8, 8), "y": torch.tensor([0, 3, 1, 4]), "logits": numbers(4, 5), "model": fixed(model),
        "criterion": nn.CrossEntropyLoss(), "optimizer": torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        "loader": [(numbers(4, 3, 8, 8) + i, torch.tensor([0, 1, 2, 3 + i % 2])) for i in range(3)],
    }  # fmt: skip


BLOCKS = r"""
### basic block, functions in forward | kuangliu/pytorch-cifar models/resnet.py
class Block(nn.Module):
    expansion = 1

    def __init__(self, cin, cout, stride=1):
        super(Block, self).__init__()
        self.conv1 = nn.Conv2d(cin, cout, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.shortcut = nn.Sequential()
        if stride != 1 or cin != self.expansion * cout:
            self.shortcut = nn.Sequential(
                nn.Conv2d(cin, self.expansion * cout, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        h = F.relu(self.bn1(self.conv1(x)))
        h = self.bn2(self.conv2(h))
        h += self.shortcut(x)
        return F.relu(h)

block = fixed(Block(3, 6, 2))
out = block(x)

### basic block, in-place ReLU, identity kept first | pytorch/vision torchvision/models/resnet.py
class Block(nn.Module):
    def __init__(self, planes, downsample=None, norm_layer=None):
        super().__init__()
        if norm_layer is None:
            norm_layer = nn.BatchNorm2d
        self.conv, self.bn = nn.Conv2d(3, planes, 3, padding=1, bias=False), norm_layer(planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x):
        identity = x
        h = self.bn(self.conv(self.relu(x.clone())))
        if self.downsample is not None:
            identity = self.downsample(x)
        h += identity
        return self.relu(h)

block = fixed(Block(5, nn.Conv2d(3, 5, 1)))
out = block(x)

### a stage of blocks by _make_layer | pytorch/vision torchvision/models/resnet.py
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.planes = 3
        self.layer1 = self._make_layer(4, 2, stride=1)
        self.layer2 = self._make_layer(6, 2, stride=2)

    def _make_layer(self, planes, count, stride):
        layers = []
        for s in [stride] + [1] * (count - 1):
            layers.append(nn.Conv2d(self.planes, planes, 3, s, 1))
            self.planes = planes
        return nn.Sequential(*layers)

    def forward(self, x):
        return self.layer2(self.layer1(x))

net = fixed(Net())
out = net(x)

### shortcut of option A: strided, padded with zero channels | akamaster/pytorch_resnet_cifar10 resnet.py
class LambdaLayer(nn.Module):
    def __init__(self, function):
        super(LambdaLayer, self).__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)

planes = 12
shortcut = LambdaLayer(lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, planes // 4, planes // 4), "constant", 0))
out = shortcut(x)

### pre-activation block, shortcut from the activated input | kuangliu/pytorch-cifar models/preact_resnet.py
class PreAct(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn, self.conv = nn.BatchNorm2d(3), nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False)
        self.shortcut = nn.Sequential(nn.Conv2d(3, 6, kernel_size=1, stride=2, bias=False))

    def forward(self, x):
        h = F.relu(self.bn(x))
        shortcut = self.shortcut(h) if hasattr(self, 'shortcut') else x
        h = self.conv(h)
        h += shortcut
        return h

block = fixed(PreAct())
out = block(x)

### squeeze and excitation with view | weiaicunzai/pytorch-cifar100 models/senet.py
se = fixed(nn.Sequential(nn.Linear(3, 2), nn.ReLU(inplace=True), nn.Linear(2, 3), nn.Sigmoid()))
s = F.adaptive_avg_pool2d(x, 1)
s = s.view(s.size(0), -1)
s = se(s).view(x.size(0), x.size(1), 1, 1)
out = x * s.expand_as(x) + x

### squeeze and excitation with 1×1 convolutions | pytorch/vision torchvision/ops/misc.py
fc1, fc2 = fixed(torch.nn.Conv2d(3, 2, 1)), fixed(torch.nn.Conv2d(2, 3, 1))
gate = torch.nn.Hardsigmoid()
scale = gate(fc2(F.relu(fc1(torch.nn.AdaptiveAvgPool2d(1)(x)))))
out = scale * x

### squeeze and excitation by mean over (2, 3) | huggingface/pytorch-image-models timm/layers/squeeze_excite.py
fc = fixed(nn.Conv2d(3, 3, 1))
out = x * fc(x.mean((2, 3), keepdim=True)).sigmoid()

### efficient channel attention with Conv1d | huggingface/pytorch-image-models timm/layers/eca.py
conv = fixed(nn.Conv1d(1, 1, kernel_size=3, padding=1, bias=False))
a = x.mean((2, 3)).view(x.shape[0], 1, -1)
a = conv(a).sigmoid().view(x.shape[0], -1, 1, 1)
out = x * a.expand_as(x)

### spatial attention from mean and max over channels | huggingface/pytorch-image-models timm/layers/cbam.py
conv = fixed(nn.Conv2d(2, 1, 3, padding=1))
a = conv(torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1))
out = x * a.sigmoid()

### layer scale: a learned factor per channel | huggingface/pytorch-image-models timm/layers/layer_scale.py
class LayerScale2d(nn.Module):
    def __init__(self, dim, start=1e-1):
        super().__init__()
        self.gamma = nn.Parameter(start * torch.ones(dim))

    def forward(self, x):
        return x * self.gamma.view(1, -1, 1, 1)

scale = LayerScale2d(3)
out = x + scale(x)

### layer scale with torch.empty and init.constant_ | huggingface/pytorch-image-models timm/layers/layer_scale.py
gamma = nn.Parameter(torch.empty(3))
torch.nn.init.constant_(gamma, 0.1)
out = x * gamma.view(1, -1, 1, 1)

### stochastic depth by new_empty and bernoulli_ | huggingface/pytorch-image-models timm/layers/drop.py
keep = 1.0
mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
out = x * mask.div_(keep)

### stochastic depth by rand and floor | huggingface/pytorch-image-models timm/layers/drop.py
keep = 1.0
mask = keep + torch.rand((x.shape[0], 1, 1, 1), dtype=x.dtype, device=x.device)
out = x.div(keep) * mask.floor()

### linear rule of survival rates | huggingface/pytorch-image-models timm/layers/drop.py
out = [r.item() for r in torch.linspace(0, 0.2, 5)]

### channel shuffle by view and permute | kuangliu/pytorch-cifar models/shufflenetv2.py
x = x[:, :2]
n, c, h, w = x.size()
out = x.view(n, 2, c // 2, h, w).permute(0, 2, 1, 3, 4).reshape(n, c, h, w)

### channel shuffle by transpose and contiguous | weiaicunzai/pytorch-cifar100 models/shufflenet.py
n, c, h, w = x.data.size()
z = x.view(n, 3, c // 3, h, w).transpose(1, 2).contiguous()
out = z.view(n, -1, h, w)

### split the channels, work on one half | pytorch/vision torchvision/models/shufflenetv2.py
half = fixed(nn.Conv2d(2, 2, 3, padding=1, groups=2))
a, b = torch.cat((x, x[:, :1]), dim=1).chunk(2, dim=1)
out = torch.cat((a, half(b)), dim=1)

### dense connection: cat of all features | pytorch/vision torchvision/models/densenet.py
layers = nn.ModuleList([fixed(nn.Conv2d(3 + 2 * i, 2, 3, padding=1)) for i in range(3)])
features = [x]
for layer in layers:
    features.append(layer(torch.cat(features, 1)))
out = torch.cat(features, 1)

### add on some channels, concatenate the others | kuangliu/pytorch-cifar models/dpn.py
a, b, d = x, x * 2, 2
out = torch.cat([a[:, :d, :, :] + b[:, :d, :, :], a[:, d:, :, :], b[:, d:, :, :]], 1)

### a wrapper that adds its input | locuslab/convmixer-cifar10 train.py
class Residual(nn.Module):
    def __init__(self, fn):
        super().__init__()
        self.fn = fn

    def forward(self, x):
        return self.fn(x) + x

block = fixed(Residual(nn.Sequential(nn.Conv2d(3, 3, 3, groups=3, padding="same"), nn.GELU(), nn.BatchNorm2d(3))))
out = block(x)

### torch.add of shortcut and branch | bearpaw/pytorch-classification models/cifar/wrn.py
equal = False
conv = (not equal) and fixed(nn.Conv2d(3, 3, kernel_size=1, bias=False)) or None
out = torch.add(x if equal else conv(x), F.dropout(x, p=0.0, training=model.training))

### two streams that feed each other | weiaicunzai/pytorch-cifar100 models/rir.py
a, b = fixed(nn.Conv2d(3, 4, 3, padding=1)), fixed(nn.Conv2d(3, 4, 3, padding=1))
r, t = x, x * 0.5
out = torch.cat([a(r) + b(t), b(r) - a(t)], 1)

### split attention: softmax over the radix | huggingface/pytorch-image-models timm/layers/split_attn.py
gap = x.view(4, 1, 3, 8, 8).sum(dim=1).mean((2, 3), keepdim=True)
att = F.softmax(torch.cat([gap, 2 * gap], 1).view(4, 1, 2, -1).transpose(1, 2), dim=1)
out = att.reshape(4, -1).view(4, -1, 1, 1)

### global response normalisation | huggingface/pytorch-image-models timm/layers/grn.py
weight, bias = nn.Parameter(torch.zeros(3) + 0.5), nn.Parameter(torch.zeros(3))
g = x.norm(p=2, dim=(2, 3), keepdim=True)
n = g / (g.mean(dim=1, keepdim=True) + 1e-6)
out = x + bias.view(1, -1, 1, 1) + weight.view(1, -1, 1, 1) * (x * n)

### addcmul | huggingface/pytorch-image-models timm/layers/grn.py
out = x + torch.addcmul(torch.zeros(3).view(1, -1, 1, 1), torch.ones(3).view(1, -1, 1, 1), x * x)

### weight standardisation by batch_norm on the weight | huggingface/pytorch-image-models timm/layers/std_conv.py
class StdConv2d(nn.Conv2d):
    def forward(self, x):
        weight = F.batch_norm(self.weight.reshape(1, self.out_channels, -1), None, None, training=True, momentum=0.0,
                              eps=1e-6).reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

conv = fixed(StdConv2d(3, 4, 3, padding=1))
out = conv(x)

### layer norm over channels by hand | huggingface/pytorch-image-models timm/layers/norm.py
u = x.mean(dim=1, keepdim=True)
s = ((x * x).mean(dim=1, keepdim=True) - (u * u)).clamp(0)
out = (x - u) * torch.rsqrt(s + 1e-6)

### layer norm between two permutes | pytorch/vision torchvision/models/convnext.py
class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)

norm = LayerNorm2d(3)
out = norm(x)

### torch.permute as a layer | pytorch/vision torchvision/ops/misc.py
class Permute(torch.nn.Module):
    def __init__(self, dims):
        super().__init__()
        self.dims = dims

    def forward(self, x):
        return torch.permute(x, self.dims)

out = Permute([0, 2, 3, 1])(x)

### layer norm that casts to float32 and back | huggingface/pytorch-image-models timm/layers/norm.py
out = F.layer_norm(x.double().float(), (8,), None, None, 1e-5).to(x.dtype)

### frozen batch norm from buffers | pytorch/vision torchvision/ops/misc.py
class Frozen(torch.nn.Module):
    def __init__(self, n):
        super().__init__()
        self.register_buffer("weight", torch.ones(n) * 2)
        self.register_buffer("running_var", torch.ones(n) * 4)

    def forward(self, x):
        return x * (self.weight.reshape(1, -1, 1, 1) * (self.running_var.reshape(1, -1, 1, 1) + 1e-5).rsqrt())

out = Frozen(3)(x)

### instance norm and reflection padding | pytorch/examples fast_neural_style/neural_style/transformer_net.py
class ConvLayer(torch.nn.Module):
    def __init__(self, cin, cout, kernel, stride):
        super(ConvLayer, self).__init__()
        self.pad = torch.nn.ReflectionPad2d(kernel // 2)
        self.conv = torch.nn.Conv2d(cin, cout, kernel, stride)

    def forward(self, x):
        return self.conv(self.pad(x))

layer, norm = fixed(ConvLayer(3, 3, 3, 1)), torch.nn.InstanceNorm2d(3, affine=True)
out = norm(layer(x)) + x

### upsample by nearest neighbours | pytorch/examples fast_neural_style/neural_style/transformer_net.py
out = torch.nn.functional.interpolate(x, mode='nearest', scale_factor=2)

### upsample to the size of another map | weiaicunzai/pytorch-cifar100 models/attention.py
small = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
out = (1 + F.interpolate(small, size=(x.size(2), x.size(3))).sigmoid()) * x

### upsample bilinearly | pytorch/vision torchvision/models/segmentation/_utils.py
out = F.interpolate(x, size=(16, 16), mode="bilinear", align_corners=False)

### pixel shuffle | pytorch/examples super_resolution/model.py
out = nn.PixelShuffle(2)(torch.cat([x, x, x, x], 1))

### transposed convolutions | pytorch/examples dcgan/main.py
up = fixed(nn.Sequential(nn.ConvTranspose2d(3, 4, 4, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(True)))
out = up(x)

### leaky ReLU, in place | pytorch/examples dcgan/main.py
net = fixed(nn.Sequential(nn.Conv2d(3, 4, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)))
out = net(x + 0.0123)

### swish by hand | kuangliu/pytorch-cifar models/efficientnet.py
def swish(x):
    return x * x.sigmoid()

out = swish(x)

### hard swish from relu6 | huggingface/pytorch-image-models timm/layers/activations.py
out = x.mul(F.relu6(x + 3.0).div_(6.0))

### mish | huggingface/pytorch-image-models timm/layers/activations.py
out = x.mul(F.softplus(x).tanh())

### gated linear unit by chunk | huggingface/pytorch-image-models timm/layers/mlp.py
a, b = torch.cat([x, x + 1], 1).chunk(2, dim=1)
out = a * F.silu(b)

### pool with count_include_pad=False | pytorch/vision torchvision/models/inception.py
out = F.avg_pool2d(x, kernel_size=3, stride=1, padding=1, count_include_pad=False)

### max-pool with ceil_mode | pytorch/vision torchvision/models/googlenet.py
out = nn.MaxPool2d(3, stride=2, ceil_mode=True)(x)

### global pooling with the size of the map as kernel | akamaster/pytorch_resnet_cifar10 resnet.py
h = F.avg_pool2d(x, x.size()[3])
out = h.view(h.size(0), -1)

### children found by name: getattr(self, f'layer{i}') | pytorch/vision torchvision/models/densenet.py
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        for i in range(2):
            self.add_module('layer%d' % i, nn.Conv2d(3, 3, 3, padding=1))

    def forward(self, x):
        for i in range(2):
            x = x + getattr(self, f'layer{i}')(x)
        return x

net = fixed(Net())
out = net(x)

### children found by self.__getattr__ | kuangliu/pytorch-cifar models/dla.py
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        setattr(self, 'level_1', nn.Conv2d(3, 3, 1))

    def forward(self, x):
        return self.__getattr__('level_%d' % 1)(x)

net = fixed(Net())
out = net(x)

### an OrderedDict of layers | pytorch/vision torchvision/models/densenet.py
from collections import OrderedDict
net = fixed(nn.Sequential(OrderedDict([("conv0", nn.Conv2d(3, 4, 3)), ("relu0", nn.ReLU(inplace=True))])))
net.add_module("conv1", fixed(nn.Conv2d(4, 2, 1)))
out = net(x)

### an LSTM over the rows of an image | pytorch/examples mnist_rnn/main.py
rnn = fixed(nn.LSTM(input_size=8, hidden_size=4, batch_first=True))
rows, _ = rnn(x.reshape(-1, 8, 8))
out = rows[:, -1, :]

### a bidirectional LSTM with states of zeros | yunjey/pytorch-tutorial bidirectional_recurrent_neural_network/main.py
rnn = fixed(nn.LSTM(8, 4, 1, batch_first=True, bidirectional=True))
h = torch.zeros(2, 12, 4).to(x.device)
rows, _ = rnn(x.reshape(12, 8, 8), (h, h))
out = rows[:, -1, :]

### an LSTM cell in a loop over time | pytorch/examples time_sequence_prediction/train.py
cell = nn.LSTMCell(3, 4)
h, c = torch.zeros(4, 4), torch.zeros(4, 4)
for step in x[:, :, 0].split(1, dim=2):
    h, c = cell(step.squeeze(2), (h, c))
out = h.shape

### embedding | karpathy/nanoGPT model.py
table = fixed(nn.Embedding(5, 3))
out = table(y)

### causal mask by tril and masked_fill | karpathy/nanoGPT model.py
att = numbers(4, 4).masked_fill(torch.tril(torch.ones(4, 4)) == 0, float('-inf'))
out = F.softmax(att, dim=-1)

### a Gram matrix by bmm | pytorch/examples fast_neural_style/neural_style/utils.py
b, c, h, w = x.size()
features = x.view(b, c, w * h)
out = features.bmm(features.transpose(1, 2)) / (c * h * w)
"""

LOOPS = r"""
### the loop of an epoch with running loss and accuracy | kuangliu/pytorch-cifar main.py
model.train()
total_loss = correct = total = 0
for batch, (inputs, targets) in enumerate(loader):
    inputs, targets = inputs.to("cpu"), targets.to("cpu")
    optimizer.zero_grad()
    outputs = model(inputs)
    loss = criterion(outputs, targets)
    loss.backward()
    optimizer.step()
    total_loss += loss.item()
    _, predicted = outputs.max(1)
    total += targets.size(0)
    correct += predicted.eq(targets).sum().item()
out = [total_loss / (batch + 1), 100.0 * correct / total]

### a device by torch.cuda.is_available | yunjey/pytorch-tutorial convolutional_neural_network/main.py
device = torch.device('cuda:0' if torch.cuda.is_available() else 'cpu') if False else torch.device('cpu')
model = model.to(device)
out = model(x.to(device, non_blocking=True))

### a device by torch.accelerator | pytorch/examples mnist/main.py
accelerated = torch.accelerator.is_available()
device = torch.device("cpu")
out = model(x.to(device))

### seeds of all kinds | bearpaw/pytorch-classification cifar.py
torch.manual_seed(0)
if torch.cuda.is_available():
    torch.cuda.manual_seed_all(0)
out = 1

### cudnn.benchmark | kuangliu/pytorch-cifar main.py
torch.backends.cudnn.benchmark = True
out = 1

### data parallel | kuangliu/pytorch-cifar main.py
net = torch.nn.DataParallel(model)
out = net(x)

### a DataLoader over tensors | yunjey/pytorch-tutorial feedforward_neural_network/main.py
data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=2, shuffle=False)
out = [labels.sum().item() for _, labels in data]

### gradients accumulated over micro-batches | karpathy/nanoGPT train.py
optimizer.zero_grad(set_to_none=True)
for inputs, targets in loader:
    loss = criterion(model(inputs), targets) / len(loader)
    loss.backward()
optimizer.step()
out = [p.sum().item() for p in model.parameters()]

### clip the norm of the gradients | karpathy/nanoGPT train.py
criterion(model(x), y).backward()
norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
optimizer.step()
out = [norm.item()] + [p.grad.abs().sum().item() for p in model.parameters()]

### clip the values of the gradients | huggingface/pytorch-image-models timm/utils/clip_grad.py
criterion(model(x), y).backward()
torch.nn.utils.clip_grad_value_(model.parameters(), 0.01)
out = [p.grad.max().item() for p in model.parameters()]

### clip each layer's gradient by its weights' norm | huggingface/pytorch-image-models timm/utils/agc.py
criterion(model(x), y).backward()
for p in model.parameters():
    if p.grad is None or p.ndim < 2:
        continue
    dims = tuple(range(1, p.ndim))
    limit = p.detach().norm(2.0, dim=dims, keepdim=True).clamp_(min=1e-3).mul_(0.01)
    g = p.grad.detach()
    size = g.norm(2.0, dim=dims, keepdim=True)
    p.grad.detach().copy_(torch.where(size < limit, g, g * (limit / size.clamp(min=1e-6))))
out = [p.grad.norm().item() for p in model.parameters()]

### mixed precision: autocast and GradScaler | locuslab/convmixer-cifar10 train.py
scaler = torch.cuda.amp.GradScaler()
with torch.cuda.amp.autocast():
    out = criterion(model(x), y)

### an autocast that does nothing | karpathy/nanoGPT train.py
from contextlib import nullcontext
context = nullcontext()
with context:
    loss = criterion(model(x), y)
out = loss

### torch.compile | karpathy/nanoGPT train.py
faster = torch.compile(model)
out = 1

### the step by hand on p.data | pytorch/examples regression/main.py
criterion(model(x), y).backward()
for p in model.parameters():
    p.data.add_(-0.1 * p.grad)
out = model(x)

### the step by hand, sub_ and .grad.data | yunjey/pytorch-tutorial pytorch_basics/main.py
criterion(model(x), y).backward()
model[5].weight.data.sub_(0.01 * model[5].weight.grad.data)
out = model(x)

### the step of 2017: add_(-lr, p.grad) | pytorch/examples word_language_model/main.py
criterion(model(x), y).backward()
for p in model.parameters():
    p.data.add_(-0.1, p.grad.data)
out = model(x)

### Variable | bearpaw/pytorch-classification cifar.py
inputs, targets = torch.autograd.Variable(x), torch.autograd.Variable(y)
out = criterion(model(inputs), targets)

### step with a closure | pytorch/examples time_sequence_prediction/train.py
def closure():
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    return loss

out = [optimizer.step(closure).item(), optimizer.step(closure).item()]

### L-BFGS | pytorch/examples time_sequence_prediction/train.py
out = optim.LBFGS(model.parameters(), lr=0.8)

### Adadelta | pytorch/examples mnist/main.py
opt = optim.Adadelta(model.parameters(), lr=1.0)
criterion(model(x), y).backward()
opt.step()
out = model(x)

### AdamW with betas | karpathy/nanoGPT model.py
opt = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
for _ in range(2):
    opt.zero_grad()
    criterion(model(x), y).backward()
    opt.step()
out = model(x)

### weight decay for matrices only | karpathy/nanoGPT model.py
params = {name: p for name, p in model.named_parameters() if p.requires_grad}
groups = [{'params': [p for p in params.values() if p.dim() >= 2], 'weight_decay': 0.1},
          {'params': [p for p in params.values() if p.dim() < 2], 'weight_decay': 0.0}]
opt = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
criterion(model(x), y).backward()
opt.step()
out = [sum(p.numel() for p in g['params']) for g in opt.param_groups] + [model(x)]

### a group without decay, found by name | huggingface/pytorch-image-models timm/optim/_param_groups.py
decay, rest = [], []
for name, p in model.named_parameters():
    if not p.requires_grad:
        continue
    (rest if p.ndim <= 1 or name.endswith(".bias") else decay).append(p)
opt = torch.optim.SGD([{'params': rest, 'weight_decay': 0.}, {'params': decay, 'weight_decay': 0.1}], 0.1)
out = [len(rest), len(decay)]

### an epoch's state in a dict | kuangliu/pytorch-cifar main.py
state = {'net': model.state_dict(), 'acc': 1.0, 'epoch': 3}
model.load_state_dict(state['net'])
out = sorted(state['net'])

### torch.save and torch.load | kuangliu/pytorch-cifar main.py
import io
file = io.BytesIO()
torch.save({'net': model.state_dict(), 'epoch': 3}, file)
file.seek(0)
out = torch.load(file)['epoch']

### optimiser state saved and loaded | pytorch/examples imagenet/main.py
criterion(model(x), y).backward()
optimizer.step()
again = torch.optim.SGD(model.parameters(), 0.5, momentum=0.9)
again.load_state_dict(optimizer.state_dict())
again.step()
out = [again.param_groups[0]['lr'], model(x)]

### an average meter of tensors | huggingface/pytorch-image-models timm/utils/metrics.py
class Average:
    sum = count = 0

    def update(self, value, n=1):
        self.sum += value * n
        self.count += n

meter = Average()
for inputs, targets in loader:
    meter.update(criterion(model(inputs), targets).detach(), inputs.size(0))
out = meter.sum / meter.count

### stop at a loss that is NaN | weiaicunzai/pytorch-cifar100 lr_finder.py
loss = criterion(model(x), y)
if torch.isnan(loss).any():
    raise SystemExit
out = loss

### exponential moving average with copy_ | huggingface/pytorch-image-models timm/utils/model_ema.py
import copy
ema = copy.deepcopy(model).eval()
criterion(model(x), y).backward()
optimizer.step()
with torch.no_grad():
    for e, m in zip(ema.state_dict().values(), model.state_dict().values()):
        e.copy_(e * 0.9 + (1.0 - 0.9) * m)
out = ema(x)

### exponential moving average, mul_ and add_ | huggingface/pytorch-image-models timm/utils/model_ema.py
import copy
ema = copy.deepcopy(model)
criterion(model(x), y).backward()
optimizer.step()
for e, m in zip(ema.parameters(), model.parameters()):
    e.data.mul_(0.9).add_(m.data, alpha=0.1)
out = ema(x)

### exponential moving average with lerp_ | huggingface/pytorch-image-models timm/utils/model_ema.py
import copy
ema = copy.deepcopy(model)
with torch.no_grad():
    for e, m in zip(ema.parameters(), model.parameters()):
        e.lerp_(m * 2, weight=0.1)
out = ema(x)

### momentum encoder: p.data assigned anew | facebookresearch/moco moco/builder.py
import copy
key = copy.deepcopy(model)
for q, k in zip(model.parameters(), key.parameters()):
    k.data.copy_(q.data * 2)
    k.requires_grad = False
    k.data = k.data * 0.9 + q.data * (1.0 - 0.9)
out = key(x)

### similarities of pairs by einsum | facebookresearch/moco moco/builder.py
q, k = numbers(4, 6), numbers(4, 6) + 0.1
out = torch.cat([torch.einsum('nc,nc->n', [q, k]).unsqueeze(-1), torch.einsum('nc,mc->nm', [q, k])], dim=1) / 0.07

### rows of unit length by normalize | facebookresearch/moco moco/builder.py
out = nn.functional.normalize(logits, dim=1)

### label smoothing by hand | huggingface/pytorch-image-models timm/loss/cross_entropy.py
logp = F.log_softmax(logits, dim=-1)
nll = -logp.gather(dim=-1, index=y.unsqueeze(1)).squeeze(1)
out = (0.9 * nll - 0.1 * logp.mean(dim=-1)).mean()

### label smoothing as an argument | pytorch/vision references/classification/train.py
out = nn.CrossEntropyLoss(label_smoothing=0.1)(logits, y)

### soft targets | huggingface/pytorch-image-models timm/loss/cross_entropy.py
target = F.softmax(numbers(4, 5) * 2, dim=-1)
out = torch.sum(-target * F.log_softmax(logits, dim=-1), dim=-1).mean()

### one-hot labels by scatter_ | huggingface/pytorch-image-models timm/data/mixup.py
out = torch.full((4, 5), 0.1).scatter_(1, y.view(-1, 1), 0.9)

### mixup with flip | huggingface/pytorch-image-models timm/data/mixup.py
out = x * 0.7 + x.flip(0).mul_(0.3)

### mixup with a permutation | pytorch/vision references/classification/transforms.py
order = torch.arange(3, -1, -1)
out = 0.7 * x + 0.3 * x[order]

### cross-entropy over the last axis of many | karpathy/nanoGPT model.py
z = numbers(2, 6, 5)
targets = torch.tensor([[0, 1, 2, -1, 4, 0], [1, 1, -1, 2, 3, 4]])
out = F.cross_entropy(z.view(-1, z.size(-1)), targets.view(-1), ignore_index=-1)

### nll_loss of log_softmax | pytorch/examples mnist/main.py
out = F.nll_loss(F.log_softmax(logits, dim=1), y)

### summed loss of a validation batch | pytorch/examples mnist/main.py
out = F.nll_loss(F.log_softmax(logits, dim=1), y, reduction='sum').item()

### binary cross-entropy | pytorch/examples siamese_network/main.py
out = nn.BCELoss()(torch.sigmoid(logits[:, 0]), torch.tensor([1., 0., 1., 0.]))

### focal loss | pytorch/vision torchvision/ops/focal_loss.py
targets = (numbers(4, 5) > 0).float()
p = torch.sigmoid(logits)
ce = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
out = (ce * ((1 - (p * targets + (1 - p) * (1 - targets))) ** 2)).mean()

### mean squared error of a regression | yunjey/pytorch-tutorial linear_regression/main.py
import numpy as np
inputs = torch.from_numpy(np.array([[3.3], [4.4], [5.5]], dtype=np.float32))
net = fixed(nn.Linear(1, 1))
loss = nn.MSELoss()(net(inputs), torch.from_numpy(np.ones((3, 1), np.float32)))
out = [loss, net(inputs).detach().numpy()]

### smooth L1 loss | pytorch/examples reinforcement_learning/actor_critic.py
out = F.smooth_l1_loss(logits[:, 0], torch.tensor([1., 0., 1., 0.]))

### the loss of a variational autoencoder | pytorch/examples vae/main.py
mu, logvar = logits[:, :2], logits[:, 2:4]
z = mu + torch.exp(0.5 * logvar)
out = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp()) + z.sum()

### returns standardised, losses stacked | pytorch/examples reinforcement_learning/actor_critic.py
returns = torch.tensor([1.0, 0.5, 2.0])
returns = (returns - returns.mean()) / (returns.std() + 1e-7)
out = torch.stack([r * 2 for r in returns]).sum()

### images scaled by new_tensor statistics | pytorch/examples fast_neural_style/neural_style/utils.py
mean = x.new_tensor([0.485, 0.456, 0.406]).view(-1, 1, 1)
out = (x.div(255.0) - mean) / 0.5

### mean and deviation of a data set | kuangliu/pytorch-cifar utils.py
mean, std = torch.zeros(3), torch.zeros(3)
for inputs, _ in loader:
    for i in range(3):
        mean[i] += inputs[:, i, :, :].mean()
        std[i] += inputs[:, i, :, :].std()
mean.div_(len(loader))
out = [mean, std]

### random crops and flips on tensors | karpathy/nanoGPT train.py
ix = torch.randint(4, (2,))
out = torch.stack([x[int(i)] for i in ix]).shape

### a network run in pieces by checkpoint | pytorch/vision torchvision/models/densenet.py
z = numbers(4, 3, 8, 8).requires_grad_()
out = torch.utils.checkpoint.checkpoint(model, z, use_reentrant=False)
"""

EVALUATION = r"""
### evaluation under no_grad | pytorch/examples mnist/main.py
model.eval()
correct = 0
with torch.no_grad():
    for data, target in loader:
        pred = model(data).argmax(dim=1, keepdim=True)
        correct += pred.eq(target.view_as(pred)).sum().item()
out = [correct, 100.0 * correct / 12]

### a decorated test function | weiaicunzai/pytorch-cifar100 train.py
@torch.no_grad()
def accuracy():
    model.eval()
    correct = 0.0
    for images, labels in loader:
        _, preds = model(images).max(1)
        correct += preds.eq(labels).sum()
    return correct.float() / 12

out = accuracy()

### torch.max(outputs.data, 1) | yunjey/pytorch-tutorial convolutional_neural_network/main.py
_, predicted = torch.max(model(x).data, 1)
out = [(predicted == y).sum().item(), predicted]

### accuracy at k, of 2017 | bearpaw/pytorch-classification utils/eval.py
_, pred = logits.topk(3, 1, True, True)
correct = pred.t().eq(y.view(1, -1).expand_as(pred.t()))
out = [correct[:k].reshape(-1).float().sum(0).mul_(100.0 / 4) for k in (1, 3)]

### accuracy at k, keepdim | pytorch/examples imagenet/main.py
with torch.no_grad():
    _, pred = logits.topk(2, 1, True, True)
    pred = pred.t()
    correct = pred.eq(y.view(1, -1).expand_as(pred))
    out = correct[:2].reshape(-1).float().sum(0, keepdim=True)

### accuracy at k of many | weiaicunzai/pytorch-cifar100 test.py
_, pred = logits.topk(5, 1, largest=True, sorted=True)
label = y.view(y.size(0), -1).expand_as(pred)
correct = pred.eq(label).float()
out = [correct[:, :5].sum(), correct[:, :1].sum()]

### a confusion matrix counted with bincount | pytorch/vision references/segmentation/utils.py
out = torch.bincount(5 * y + logits.argmax(1), minlength=25).reshape(5, 5)

### predictions by threshold | pytorch/examples siamese_network/main.py
p = torch.sigmoid(logits[:, 0])
pred = torch.where(p > 0.5, 1, 0)
out = pred.eq(y.view_as(pred)).sum().item()

### probabilities of the most likely classes | karpathy/nanoGPT model.py
v, _ = torch.topk(logits, min(2, logits.size(-1)))
logits[logits < v[:, [-1]]] = -float('Inf')
out = F.softmax(logits, dim=-1)

### a sample by multinomial | karpathy/nanoGPT model.py
torch.manual_seed(0)
out = torch.multinomial(F.softmax(torch.tensor([[0., 100.]]), dim=-1), num_samples=1)

### inference mode | pytorch/vision references/classification/train.py
model.eval()
with torch.inference_mode():
    out = model(x)

### set_grad_enabled by phase | pytorch/tutorials beginner_source/transfer_learning_tutorial.py
out = []
for phase in ['train', 'val']:
    model.train() if phase == 'train' else model.eval()
    with torch.set_grad_enabled(phase == 'train'):
        outputs = model(x)
        _, preds = torch.max(outputs, 1)
        out += [outputs, outputs.requires_grad, torch.sum(preds == y.data)]

### results collected by cat and moved to numpy | pytorch/examples vae/main.py
rows = []
with torch.no_grad():
    for inputs, _ in loader:
        rows.append(model(inputs).cpu())
out = torch.cat(rows, dim=0).numpy()

### numbers of parameters | akamaster/pytorch_resnet_cifar10 resnet.py
import numpy as np
out = [sum(p.numel() for p in model.parameters() if p.requires_grad),
       sum(int(np.prod(p.data.numpy().shape)) for p in model.parameters()),
       len(list(filter(lambda p: p.requires_grad and len(p.data.size()) > 1, model.parameters())))]

### features from a forward hook | huggingface/pytorch-image-models timm/utils/model.py
seen = {}
handle = model[1].register_forward_hook(lambda module, inputs, output: seen.update(bn=output.detach()))
model(x)
handle.remove()
out = [torch.mean(seen['bn'].mean(axis=[0, 2, 3]) ** 2).item(), torch.mean(seen['bn'].var(axis=[0, 2, 3])).item()]

### a backbone without its head | pytorch/examples siamese_network/main.py
backbone = torch.nn.Sequential(*(list(model.children())[:-1]))
z = backbone(x)
out = z.view(z.size()[0], -1)

### the next batch of a loader | yunjey/pytorch-tutorial pytorch_basics/main.py
images, labels = next(iter(loader))
out = [images.size(), labels.size(0), images]
"""

INITIALISATION = r"""
### weights by type of module | pytorch/vision torchvision/models/resnet.py
for m in model.modules():
    if isinstance(m, nn.Conv2d):
        nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(m, (nn.BatchNorm2d, nn.GroupNorm)):
        nn.init.constant_(m.weight, 1)
        nn.init.constant_(m.bias, 0)
out = [abs(model[0].weight.std().item() - (2 / 36) ** 0.5) < 0.05, model[1].weight, model[1].bias]

### last batch norm of each branch starts at zero | pytorch/vision torchvision/models/resnet.py
for m in model.modules():
    if isinstance(m, nn.BatchNorm2d):
        nn.init.constant_(m.weight, 0)
out = model(x)

### He's rule by hand on weight.data | bearpaw/pytorch-classification models/cifar/wrn.py
import math
for m in model.modules():
    if isinstance(m, nn.Conv2d):
        n = m.kernel_size[0] * m.kernel_size[1] * m.out_channels
        m.weight.data.normal_(0, math.sqrt(2. / n))
    elif isinstance(m, nn.BatchNorm2d):
        m.weight.data.fill_(1)
        m.bias.data.zero_()
    elif isinstance(m, nn.Linear):
        m.bias.data.zero_()
out = [abs(model[0].weight.std().item() - math.sqrt(2 / 36)) < 0.05, model[1].weight, model[5].bias]

### model.apply with class names | pytorch/examples dcgan/main.py
def weights_init(m):
    classname = m.__class__.__name__
    if classname.find('Conv') != -1:
        torch.nn.init.normal_(m.weight, 0.0, 0.02)
    elif classname.find('BatchNorm') != -1:
        torch.nn.init.normal_(m.weight, 1.0, 0.02)
        torch.nn.init.zeros_(m.bias)

out = [model.apply(weights_init) is model, model[0].weight.abs().max().item() < 0.1, model[1].bias]

### xavier_uniform_ and bias.data.fill_ | pytorch/examples siamese_network/main.py
def init(m):
    if isinstance(m, nn.Linear):
        torch.nn.init.xavier_uniform_(m.weight)
        m.bias.data.fill_(0.01)

model.apply(init)
out = [model[5].bias, model[5].weight.abs().max().item() <= (6 / 9) ** 0.5]

### truncated normal | huggingface/pytorch-image-models timm/layers/weight_init.py
nn.init.trunc_normal_(model[5].weight, std=0.02)
out = model[5].weight.abs().max().item() < 0.2

### truncated normal with bounds | pytorch/vision torchvision/models/googlenet.py
torch.nn.init.trunc_normal_(model[5].weight, mean=0.0, std=0.01, a=-2, b=2)
out = model[5].weight.abs().max().item() < 0.1

### a scale that depends on depth, by name | karpathy/nanoGPT model.py
import math
for name, p in model.named_parameters():
    if name.endswith('5.weight'):
        torch.nn.init.normal_(p, mean=0.0, std=0.02 / math.sqrt(2 * 12))
out = model[5].weight.abs().max().item() < 0.05

### uniform_ within a range | pytorch/examples word_language_model/model.py
nn.init.uniform_(model[5].weight, -0.1, 0.1)
out = bool((model[5].weight.abs() <= 0.1).all())

### kaiming_normal without underscore, as before 2018 | weiaicunzai/pytorch-cifar100 models/rir.py
torch.nn.init.kaiming_normal(model[0].weight)
out = 1

### orthogonal | huggingface/pytorch-image-models timm/layers/weight_init.py
nn.init.orthogonal_(model[5].weight)
out = torch.matmul(model[5].weight.t(), model[5].weight).detach().numpy().round(4) + 0.0

### zeros for the last layer of a branch | huggingface/pytorch-image-models timm/models/resnet.py
nn.init.zeros_(model[5].weight)
nn.init.ones_(model[5].bias[2:])
out = [model[5].weight, model[5].bias]

### a weight copied under no_grad | karpathy/nanoGPT model.py
with torch.no_grad():
    model[5].weight.copy_(numbers(4, 5).t())
out = model(x)

### two layers that share their weights | karpathy/nanoGPT model.py
a, b = nn.Linear(5, 5), nn.Linear(5, 5)
b.weight = a.weight
out = [len(list(nn.ModuleList([a, b]).parameters())), a.weight is b.weight]
"""

FREEZING = r"""
### freeze everything, replace the last layer | yunjey/pytorch-tutorial pytorch_basics/main.py
for p in model.parameters():
    p.requires_grad = False
model[5] = fixed(nn.Linear(model[5].in_features, 3))
model(x).sum().backward()
out = [p.grad is None for p in model.parameters()]

### freeze all but the last, by name | facebookresearch/moco main_lincls.py
for name, p in model.named_parameters():
    if name not in ['5.weight', '5.bias']:
        p.requires_grad = False
model[5].weight.data.normal_(mean=0.0, std=0.01)
model[5].bias.data.zero_()
parameters = list(filter(lambda p: p.requires_grad, model.parameters()))
opt = torch.optim.SGD(parameters, 0.1, momentum=0.9)
out = [len(parameters), model[5].bias]

### requires_grad_(False) on a part | huggingface/pytorch-image-models timm/utils/model.py
model[0].requires_grad_(False)
criterion(model(x), y).backward()
out = [p.requires_grad for p in model.parameters()] + [model[5].weight.grad]

### batch norms kept in eval mode | huggingface/pytorch-image-models timm/utils/model.py
model.train()
for m in model.modules():
    if isinstance(m, nn.BatchNorm2d):
        m.eval()
out = model(x)

### features detached before the head | pytorch/examples dcgan/main.py
h = model[:5](x)
model[5](h.detach()).sum().backward()
out = [model[0].weight.grad is None, model[5].weight.grad]

### hidden state cut from its history | pytorch/examples word_language_model/main.py
def repackage(h):
    return h.detach() if isinstance(h, torch.Tensor) else tuple(repackage(v) for v in h)

a, (b,) = repackage((model(x), (model(x) * 2,)))
out = [a, b, a.requires_grad]

### keys of a state dict renamed | facebookresearch/moco main_lincls.py
state = {f"module.{k}": v for k, v in model.state_dict().items()}
for k in list(state.keys()):
    state[k[len("module."):]] = state.pop(k)
out = str(model.load_state_dict(state))

### what fits of a state dict, strict=False | facebookresearch/moco main_lincls.py
state = {k: v for k, v in model.state_dict().items() if not k.startswith('5.')}
message = model.load_state_dict(state, strict=False)
out = sorted(message.missing_keys)

### a state dict compared entry by entry | facebookresearch/moco main_lincls.py
before, after = model.state_dict(), model.state_dict()
out = [bool((before[k].cpu() == after[k]).all()) for k in before]

### a module taken out by Identity | huggingface/pytorch-image-models timm/layers/std_conv.py
model[1] = nn.Identity()
out = model(x)

### old modules replaced in named_children | huggingface/pytorch-image-models timm/layers/norm_act.py
for name, child in model.named_children():
    if isinstance(child, nn.ReLU):
        setattr(model, name, nn.SiLU())
out = model(x)
"""

SCHEDULES = r"""
### cosine over the epochs | kuangliu/pytorch-cifar main.py
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
out = []
for epoch in range(12):
    optimizer.step()
    scheduler.step()
    out.append(scheduler.get_last_lr()[0])

### steps at milestones | akamaster/pytorch_resnet_cifar10 trainer.py
scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[2, 4], last_epoch=-1)
out = []
for epoch in range(6):
    optimizer.step()
    scheduler.step()
    out.append(optimizer.param_groups[0]['lr'])

### StepLR imported by name | pytorch/examples mnist/main.py
from torch.optim.lr_scheduler import StepLR
scheduler = StepLR(optimizer, step_size=1, gamma=0.7)
optimizer.step()
scheduler.step()
out = scheduler.get_last_lr()

### a warm-up class on _LRScheduler | weiaicunzai/pytorch-cifar100 utils.py
from torch.optim.lr_scheduler import _LRScheduler

class WarmUp(_LRScheduler):
    def __init__(self, optimizer, total, last_epoch=-1):
        self.total = total
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        return [base * self.last_epoch / (self.total + 1e-8) for base in self.base_lrs]

scheduler = WarmUp(optimizer, 4)
out = []
for _ in range(4):
    optimizer.step()
    scheduler.step()
    out.append(optimizer.param_groups[0]['lr'])

### a warm-up class on LRScheduler | weiaicunzai/pytorch-cifar100 lr_finder.py
class Find(torch.optim.lr_scheduler.LRScheduler):
    def get_lr(self):
        return [base * 2.0 ** self.last_epoch for base in self.base_lrs]

scheduler = Find(optimizer)
optimizer.step()
scheduler.step()
out = optimizer.param_groups[0]['lr']

### the rate written into the groups | karpathy/nanoGPT train.py
import math
out = []
for it in range(8):
    lr = 0.1 * (it + 1) / 3 if it < 2 else 0.01 + 0.5 * (1 + math.cos(math.pi * (it - 2) / 6)) * 0.09
    for group in optimizer.param_groups:
        group['lr'] = lr
    out.append(optimizer.param_groups[0]['lr'])

### piecewise linear by np.interp | locuslab/convmixer-cifar10 train.py
import numpy as np
schedule = lambda t: np.interp([t], [0, 4, 8, 10], [0, 0.1, 0.005, 0])[0]
out = []
for epoch in range(10):
    optimizer.param_groups[0].update(lr=schedule(epoch))
    optimizer.step()
    out.append(float(optimizer.param_groups[0]['lr']))

### rate multiplied at listed epochs | bearpaw/pytorch-classification cifar.py
state = {'lr': 0.1}
for epoch in range(5):
    if epoch in [2, 4]:
        state['lr'] *= 0.1
        for group in optimizer.param_groups:
            group['lr'] = state['lr']
out = optimizer.param_groups[0]['lr']

### warm-up, then cosine, by SequentialLR | pytorch/vision references/classification/train.py
L = torch.optim.lr_scheduler
warm = L.LinearLR(optimizer, start_factor=0.01, total_iters=3)
scheduler = L.SequentialLR(optimizer, schedulers=[warm, L.CosineAnnealingLR(optimizer, T_max=7)], milestones=[3])
out = []
for _ in range(10):
    optimizer.step()
    scheduler.step()
    out.append(optimizer.param_groups[0]['lr'])

### one cycle, stepped by batch | fastai/fastai fastai/callback/schedule.py
scheduler = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.4, epochs=2, steps_per_epoch=3)
out = []
for _ in range(5):
    optimizer.step()
    scheduler.step()
    out.append([optimizer.param_groups[0]['lr'], optimizer.param_groups[0]['momentum']])

### a lambda of the epoch | pytorch/tutorials beginner_source
scheduler = optim.lr_scheduler.LambdaLR(optimizer, lr_lambda=lambda epoch: 0.95 ** epoch)
optimizer.step()
scheduler.step()
out = scheduler.get_last_lr()

### lower the rate when the loss stalls | pytorch/examples word_language_model/main.py
scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, 'min', factor=0.25, patience=0)
out = []
for loss in [1.0, 0.9, 0.95, 0.96, 0.5]:
    scheduler.step(loss)
    out.append(optimizer.param_groups[0]['lr'])

### a schedule saved and resumed | pytorch/vision references/classification/train.py
scheduler = optim.lr_scheduler.StepLR(optimizer, 2)
for _ in range(3):
    optimizer.step()
    scheduler.step()
state = scheduler.state_dict()
again = optim.lr_scheduler.StepLR(optimizer, 2)
again.load_state_dict(state)
optimizer.step()
again.step()
out = [again.last_epoch, optimizer.param_groups[0]['lr']]
"""

GRADIENTS = r"""
### the norm of each gradient, logged by name | weiaicunzai/pytorch-cifar100 train.py
criterion(model(x), y).backward()
out = {}
for name, para in list(model.children())[-1].named_parameters():
    if 'weight' in name:
        out['grad_norm2_weights'] = para.grad.norm()
    if 'bias' in name:
        out['grad_norm2_bias'] = para.grad.norm()

### the norm of all gradients | huggingface/pytorch-image-models timm/utils/clip_grad.py
criterion(model(x), y).backward()
total = 0
for p in model.parameters():
    total += p.grad.data.norm(2).item() ** 2
out = total ** 0.5

### the norm of all gradients by stack | pytorch/vision references/classification/train.py
criterion(model(x), y).backward()
out = torch.norm(torch.stack([torch.norm(p.grad.detach(), 2) for p in model.parameters()]), 2)

### printed gradients | yunjey/pytorch-tutorial pytorch_basics/main.py
w = torch.tensor(2., requires_grad=True)
b = torch.tensor(3., requires_grad=True)
(w * torch.tensor(1.) + b).backward()
out = [str(w.grad), str(b.grad)]

### a hook that keeps the gradient of an activation | jacobgil/pytorch-grad-cam .../activations_and_gradients.py
kept = []

def save(module, inputs, output):
    if hasattr(output, "requires_grad") and output.requires_grad:
        output.register_hook(lambda grad: kept.insert(0, grad.cpu().detach()))

handles = [layer.register_forward_hook(save) for layer in (model[0], model[2])]
model(x)[:, 1].sum().backward()
for handle in handles:
    handle.remove()
out = kept

### class activation: weights from the mean gradient | jacobgil/pytorch-grad-cam pytorch_grad_cam/grad_cam.py
import numpy as np
a = model[:3](x)
a.retain_grad()
model[3:](a)[:, 1].sum().backward()
weights = np.mean(a.grad.numpy(), axis=(2, 3))
out = np.maximum((weights[:, :, None, None] * a.detach().numpy()).sum(axis=1), 0)

### the gradient of the input | pytorch/examples fast_neural_style/neural_style/neural_style.py
image = x.clone().requires_grad_(True)
model(image)[0, 1].backward()
out = [image.grad.abs().max(1)[0], image.grad.shape]

### the sign of the input's gradient | pytorch/tutorials beginner_source/fgsm_tutorial.py
image = x.clone()
image.requires_grad = True
criterion(model(image), y).backward()
out = torch.clamp(image + 0.1 * image.grad.data.sign(), 0, 1)

### autograd.grad of several parameters | huggingface/pytorch-image-models timm/optim/adahessian.py
loss = criterion(model(x), y)
out = torch.autograd.grad(loss, [p for p in model.parameters()], retain_graph=True)

### a second derivative by create_graph | huggingface/pytorch-image-models timm/optim/adahessian.py
(g,) = torch.autograd.grad(criterion(model(x), y), [model[5].weight], create_graph=True)
out = g

### a gradient penalty | eriklindernoren/PyTorch-GAN implementations/wgan_gp/wgan_gp.py
z = x.clone().requires_grad_(True)
g = torch.autograd.grad(outputs=model(z), inputs=z, grad_outputs=torch.ones(4, 5), create_graph=True,
                        retain_graph=True, only_inputs=True)[0]
out = ((g.view(4, -1).norm(2, dim=1) - 1) ** 2).mean()

### a full backward hook that prints norms | pytorch/pytorch torch/nn/modules/module.py
out = []
for m in model:
    m.register_full_backward_hook(lambda module, grad_input, grad_output: out.append(grad_output[0].norm()))
criterion(model(x), y).backward()

### register_backward_hook, as before 2020 | jacobgil/pytorch-grad-cam
model[0].register_backward_hook(lambda module, grad_input, grad_output: None)
out = 1

### gradients zeroed by hand | pytorch/examples regression/main.py
for _ in range(2):
    for p in model.parameters():
        if p.grad is not None:
            p.grad.detach_()
            p.grad.zero_()
    criterion(model(x), y).backward()
out = [p.grad for p in model.parameters()]

### gradients counted that are zero | huggingface/pytorch-image-models timm/utils/model.py
criterion(model(x), y).backward()
out = [(p.grad == 0).float().mean().item() for p in model.parameters()]

### gradients gathered into one vector | pytorch/pytorch torch/nn/utils/convert_parameters.py
criterion(model(x), y).backward()
out = torch.cat([p.grad.flatten() for p in model.parameters()])

### anomaly detection | pytorch/pytorch torch/autograd/anomaly_mode.py
with torch.autograd.detect_anomaly():
    criterion(model(x), y).backward()
out = model[0].weight.grad

### gradients drawn as bars, mean and max | RoshanRane, discuss.pytorch.org/t/check-gradient-flow-in-network
import numpy as np
criterion(model(x), y).backward()
means, largest, names = [], [], []
for name, p in model.named_parameters():
    if p.requires_grad and "bias" not in name:
        names.append(name)
        means.append(p.grad.abs().mean())
        largest.append(p.grad.abs().max())
out = [names, np.array(means, dtype=float), np.array(largest, dtype=float)]
"""

SECTIONS = {
    "Blocks": idioms(BLOCKS),
    "Training loops": idioms(LOOPS),
    "Evaluation": idioms(EVALUATION),
    "Initialisation": idioms(INITIALISATION),
    "Freezing and loading": idioms(FREEZING),
    "Schedules": idioms(SCHEDULES),
    "Looking at gradients": idioms(GRADIENTS),
}
