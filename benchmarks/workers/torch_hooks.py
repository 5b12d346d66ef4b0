"""What a minires recording holds, by PyTorch's own hooks, as fast as we know how to write it.

Forward hooks keep mean, standard deviation and zeros of every output. Hooks on the nodes of the graph see what each
sends back along its edges, and what each has received in all; where several edges meet, inner products and the error of
the sum follow. Numbers stay tensors until the step has ended.
"""

from collections import Counter, defaultdict

import torch


def flat(tensor):
    """All entries in one row, without a copy in either memory format."""
    if tensor.dim() == 4 and not tensor.is_contiguous():
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.reshape(-1)


class Hooks:
    """``with Hooks(model) as hooks: loss = …; hooks.watch(loss); loss.backward()``, then ``hooks.numbers()``."""

    def __init__(self, model):
        self.model, self.handles = model, []
        self.statistics, self.edges, self.forks = [], [], []
        self.arrived = defaultdict(list)  # node -> the gradients that have come back to it, where there are several

    def __enter__(self):
        for module in self.model.modules():
            if not list(module.children()):
                self.handles.append(module.register_forward_hook(self.forward))
            if hasattr(module, "after_sum"):  # the sum itself is no module's output
                self.handles.append(module.after_sum.register_forward_pre_hook(self.before_sum))
        return self

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()

    def before_sum(self, module, inputs):
        self.forward(module, None, inputs[0])

    @torch.no_grad()
    def forward(self, module, inputs, output):
        """Mean, standard deviation, zeros."""
        values = flat(output)
        mean = values.mean()
        variance = values @ values / values.numel() - mean * mean
        self.statistics.append((mean, variance, torch.count_nonzero(values == 0)))

    def watch(self, loss):
        """Put a hook on every node behind the loss."""
        nodes, uses, stack = {loss.grad_fn}, Counter(), [loss.grad_fn]
        while stack:
            for after, _ in stack.pop().next_functions:
                if after is not None:
                    uses[after] += 1
                    if after not in nodes:
                        nodes.add(after)
                        stack.append(after)
        for node in nodes:
            sends_to = [after for after, _ in node.next_functions]
            self.handles.append(node.register_hook(lambda sent, _, to=sends_to: self.sent(sent, to, uses)))
            if uses[node] > 1:
                self.handles.append(node.register_prehook(lambda total, node=node: self.total(node, total[0])))

    @torch.no_grad()
    def sent(self, grads, to, uses):
        """What a node has sent back: the square of the norm on each edge; those that meet others wait for them."""
        for grad, after in zip(grads, to):
            if grad is None or after is None:
                continue
            if uses[after] > 1:
                self.arrived[after].append(grad)
            else:
                grad = flat(grad)
                self.edges.append(grad @ grad)

    @torch.no_grad()
    def total(self, node, total):
        """What has come back to a node along two edges: their inner products, and the error of the sum."""
        a, b, total = map(flat, (*self.arrived.pop(node), total))
        virtual = total - a  # Knuth's two-sum: a float32 is enough for what the sum has rounded off
        rest = (a - (total - virtual)) + (b - virtual)
        self.forks.append((a @ a, a @ b, b @ b, total @ total, rest @ rest))

    def numbers(self):
        """All of them, read at once."""
        return [
            torch.stack([n.double() for row in rows for n in row]).tolist() for rows in (self.statistics, self.forks)
        ] + [torch.stack(self.edges).tolist()]
