"""Mutants that no one wrote: one small edit at each place of right backwards, made by a program.

    PYTHONPATH=.:tests python -m testing.generated      says which share of those that are wrong is named

An edit exchanges a name for another, + for − or × for ÷, drops a factor, a summand, a sign or a power, or changes the
axes of a sum. Which name would be right is not known, so any name but "partly_wrong" counts.
"""

import ast
import copy
import textwrap
from collections import Counter

import numpy as np

from minires.testing import gradcheck

HEAD = """
import numpy as np
AXES = (0, 2, 3)
def sum_to(g, shape):
    g = g.sum(tuple(range(g.ndim - len(shape))))
    return g.sum(tuple(k for k, n in enumerate(shape) if n == 1), keepdims=True)
def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)
def sigmoid(x):
    return 1 / (1 + np.exp(-x))
def hat(x):
    s = 1 / np.sqrt(x.var(AXES, keepdims=True) + 1e-5)
    return (x - x.mean(AXES, keepdims=True)) * s, s
def norm(x, c, b):
    return c[:, None, None] * hat(x)[0] + b[:, None, None]
def loss(z, t):
    return -np.log(softmax(z)[np.arange(len(z)), t]).mean()
"""
RIGHT = {  # name: forward, backward, shapes ("t": whole numbers)
    "multiply": ("a * b", "return sum_to(g * b, a.shape), sum_to(g * a, b.shape)", {"a": (2, 3, 4), "b": (3, 1)}),
    "divide": ("a / b", "return g / b, -g * a / b**2", {"a": (3, 4), "b": (3, 4)}),
    "matmul": ("a @ b", "return g @ b.T, a.T @ g", {"a": (4, 4), "b": (4, 4)}),
    "linear": ("x @ w.T + b", "return g @ w, g.T @ x, g.sum(0)", {"x": (5, 4), "w": (4, 4), "b": (4,)}),
    "sigmoid": ("sigmoid(x)", "y = sigmoid(x)\nreturn (g * y * (1 - y),)", {"x": (3, 4)}),
    "tanh": ("np.tanh(x)", "y = np.tanh(x)\nreturn (g * (1 - y**2),)", {"x": (3, 4)}),
    "silu": ("x * sigmoid(x)", "s = sigmoid(x)\nreturn (g * (s + x * s * (1 - s)),)", {"x": (3, 4)}),
    "softmax": ("softmax(z)", "y = softmax(z)\nreturn (y * (g - (g * y).sum(-1, keepdims=True)),)", {"z": (5, 4)}),
    "log-softmax": ("np.log(softmax(z))", "return (g - softmax(z) * g.sum(-1, keepdims=True),)", {"z": (5, 4)}),
    "cross-entropy": (
        "loss(z, t)", "p = softmax(z)\nq = np.eye(4)[t]\nreturn g * (p - q) / len(z), None", {"z": (6, 4), "t": (6,)},
    ),
    "batch norm": (
        "norm(x, c, b)",
        "h, s = hat(x)\n"
        "dx = c[:, None, None] * s * (g - g.mean(AXES, keepdims=True) - h * (g * h).mean(AXES, keepdims=True))\n"
        "return dx, (g * h).sum(AXES), g.sum(AXES)",
        {"x": (4, 3, 5, 2), "c": (3,), "b": (3,)},
    ),
}  # fmt: skip
OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}


def edits(tree: ast.AST, names: list[str]):
    """(what was done, the tree after it) for each edit."""
    for place, node in enumerate(ast.walk(tree)):
        options = []
        if isinstance(node, ast.BinOp):
            options += [("left alone", lambda n: n.left), ("right alone", lambda n: n.right)]
            if type(node.op) in OPERATORS:
                other = OPERATORS[type(node.op)]
                options.append((f"{other.__name__}", lambda n, o=other: ast.BinOp(n.left, o(), n.right)))
        elif isinstance(node, ast.UnaryOp):
            options.append(("no sign", lambda n: n.operand))
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names:
            options += [(f"{node.id} → {name}", lambda n, i=name: ast.Name(i, ast.Load())) for name in names
                        if name != node.id]  # fmt: skip
        elif isinstance(node, ast.Attribute) and node.attr == "T":
            options.append(("no transpose", lambda n: n.value))
        elif isinstance(node, ast.Attribute) and node.attr in ("sum", "mean"):
            other = {"sum": "mean", "mean": "sum"}[node.attr]
            options.append((other, lambda n, o=other: ast.Attribute(n.value, o, ast.Load())))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("sum", "mean"):
            options.append(("no sum", lambda n: n.func.value))
        for words, edit in options:
            changed = copy.deepcopy(tree)
            target = list(ast.walk(changed))[place]
            yield f"{words}: {ast.unparse(node)}", _replaced(changed, target, edit(target))


def _replaced(tree, old, new):
    class Replace(ast.NodeTransformer):
        def visit(self, node):
            return new if node is old else self.generic_visit(node)

    return ast.fix_missing_locations(Replace().visit(tree))


def mutants():
    """(name, (forward, backward), arrays) of every edit."""
    for name, (forward, backward, shapes) in RIGHT.items():
        arguments = ", ".join(shapes)
        body = f"def backward(g, {arguments}):\n{textwrap.indent(backward, '    ')}"
        tree = ast.parse(body)
        local = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        names = list(dict.fromkeys(["g", *(k for k in shapes if k != "t"), *local]))
        rng = np.random.default_rng(1)
        arrays = [rng.integers(0, 4, s) if k == "t" else rng.standard_normal(s) for k, s in shapes.items()]
        for words, changed in edits(tree, names):
            space: dict = {}
            exec(HEAD, space)
            exec(f"def forward({arguments}):\n    return {forward}", space)
            exec(compile(changed, name, "exec"), space)
            yield f"{name}: {words}", (space["forward"], space["backward"]), arrays


def verdicts() -> Counter:
    """Kinds by how often they are said; "accepted" for edits that change nothing."""
    said: Counter = Counter()
    for name, pair, arrays in mutants():
        with np.errstate(all="ignore"):
            report = gradcheck(pair, *arrays, raise_on_failure=False)
        kinds = {failure.kind for failure in report.failures} or {"accepted"}
        said.update(kinds)
        if "partly_wrong" in kinds:
            print(f"{name:<60} {next(f.likely for f in report.failures if f.kind == 'partly_wrong')}")
    return said


def main() -> None:
    """Print the shares."""
    said = verdicts()
    wrong = said.total() - said["accepted"]
    print(dict(said.most_common()))
    print(f"{wrong} wrong gradients, {1 - said['partly_wrong'] / wrong:.1%} named")


if __name__ == "__main__":
    main()
