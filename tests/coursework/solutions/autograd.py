"""Reference solution."""

from minires.ops import Op
from minires.ops.arithmetic import sum_to
from minires.tensor import Tensor


def order(output):
    waiting, seen, stack = {}, {output.op}, [output.op]
    while stack:  # how many uses each op waits for
        for source in stack.pop().inputs:
            if isinstance(source, Op):
                waiting[source] = waiting.get(source, 0) + 1
                if source not in seen:
                    seen.add(source)
                    stack.append(source)
    listed, ready = [], [output.op]
    while ready:
        op = ready.pop()
        listed.append(op)
        for source in op.inputs:
            if isinstance(source, Op):
                waiting[source] -= 1
                if not waiting[source]:
                    ready.append(source)
    return listed


def backward(output, grad_output):
    totals = {output.op: grad_output}
    for op in order(output):
        grads = op.backward(totals.pop(op))
        grads = grads if isinstance(grads, tuple | list) else (grads,)
        for source, grad, spec in zip(op.inputs, grads, op.input_specs):
            if source is None:
                continue
            grad = sum_to(grad, spec[0])
            if isinstance(source, Op):
                totals[source] = totals[source] + grad if source in totals else grad
            else:
                source.grad = Tensor(grad.copy()) if source.grad is None else source.grad + grad
