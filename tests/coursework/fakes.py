"""The laziest submissions: each hole of an exercise filled with the same word, whatever it is asked for.

PYTHONPATH=.:tests python -m coursework.fakes        prints what each of them earns, by exercise and part
"""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

from minires.coursework import ASSIGNMENTS, grade

KINDS = "constant", "zeros", "identity", "forward as backward", "nothing", "empty", "everything"

# By exercise and function: the shapes of its results, as text, and what it would return as its own forward.
SIDES = "*[(n + 2 * p - k) // s + 1 for n, p, k, s in zip(x.shape[2:], padding, {}, stride)]"
Y, POOLED = (
    f"(len(x), len(weight), {SIDES.format('weight.shape[2:]')})",
    f"(*x.shape[:2], {SIDES.format('kernel_size')})",
)
ARRAYS = {
    "broadcasting": {
        "sum_to": ("grad", ["shape"], ""),
        "add_backward": ("grad_output", ["a.shape", "b.shape"], "a + b"),
        "multiply_backward": ("grad_output", ["a.shape", "b.shape"], "a * b"),
    },
    "conv2d": {
        "conv2d": ("x", [Y], ""),
        "conv2d_backward": (
            "grad_y", ["x.shape", "weight.shape", "len(weight)"], "conv2d(x, weight, None, stride, padding)",
        ),
    },
    "batch_norm": {
        "batch_norm": ("x", ["x.shape", "x.shape[1]", "x.shape[1]"], ""),
        "batch_norm_backward": ("grad_y", ["x.shape", "x.shape[1]", "x.shape[1]"], "batch_norm(x, weight)[0]"),
        "batch_norm_eval": ("x", ["x.shape"], ""),
        "update_running": ("running_mean", ["mean.shape", "var.shape"], ""),
    },
    "relu_maxpool": {
        "relu": ("x", ["x.shape"], ""),
        "relu_backward": ("grad_y", ["y.shape"], "y"),
        "max_pool2d": ("x", [POOLED, POOLED], ""),
        "max_pool2d_backward": ("grad_y", ["x_shape"], "tap"),
    },
    "cross_entropy": {
        "softmax": ("logits", ["logits.shape"], ""),
        "cross_entropy": ("logits", ["()"], ""),
        "cross_entropy_backward": ("logits", ["logits.shape"], "softmax(logits)"),
    },
    "skip_or_branch": {
        "shares": ("skip", ["2"], ""),
        "cosine": ("skip", ["()"], ""),
    },
    "break_it": {
        **{
            name: ("grad_output", ["x.shape", "w.shape", "b.shape"], "linear(x, w, b)")
            for name in ("sign", "transposed", "missing_broadcast_sum", "ignores_grad_output", "not_linear")
        },
        **{
            name: ("grad_output", ["x.shape", "gamma.shape", "beta.shape"], "batch_norm(x, gamma, beta)")
            for name in ("missing_mean_term", "missing_variance_term", "per_channel_factor", "unseen")
        },
    },
    "gradient_flow": {
        "gradient_norms": ("x", ["BLOCKS(model)"], ""),
        "fork_norms": ("x", ["(BLOCKS(model), 2)"], ""),
        "growth": ("norms", ["()"], ""),
    },
}  # fmt: skip

HELP = '''
import numpy as np
from minires import Tensor

def BLOCKS(model):
    return sum(map(len, (model.layer1, model.layer2, model.layer3)))

def LEAVES(tensor):
    found, stack = {}, [tensor.op]
    while stack:
        for source in stack.pop().inputs:
            if hasattr(source, "inputs"):
                stack.append(source) if id(source) not in found else None
                found[id(source)] = None
            elif source is not None:
                found[id(source)] = source
    return [leaf for leaf in found.values() if leaf is not None]

def FIT(array, shape):
    """As much of an array as fits into a shape."""
    return np.resize(array, shape).astype(getattr(array, "dtype", float)) if np.size(array) else np.zeros(shape)

def ALL(results, kind=None):
    return results[0] if len(results) == 1 else tuple(results)
'''


def returned(kind: str, first: str, shapes: list[str], forward: str) -> str:
    """What a function of arrays returns, as an expression."""
    like = f".astype(getattr({first}, 'dtype', float))"
    words = {
        "constant": [f"np.ones({shape}){like}" for shape in shapes],
        "zeros": [f"np.zeros({shape}){like}" for shape in shapes],
        "identity": [f"FIT({first}, {shape})" for shape in shapes],
        "forward as backward": [f"FIT({forward or first}, {shape})" for shape in shapes],
        "nothing": ["None"],
        "empty": ["[]"],
        "everything": [first] * len(shapes),
    }[kind]
    return f"ALL([{', '.join(words)}])"


FORK = {"constant": "dict.fromkeys(graph, 1.0)", "zeros": "dict.fromkeys(graph, 0.0)", "identity": "graph",
        "everything": "{value: 1.0 * (value == output) for value in graph}", "": "{}"}  # fmt: skip
WAYS = '{{"skip": {0}, "branch": {0}, "total": {0}}}'
OTHERS = {  # holes that do not return arrays: by kind, or one for all kinds
    "autograd": {
        "order": {"constant": "[output.op]", "everything": "list(dict.fromkeys([output.op, *output.op.inputs]))",
                  "identity": "output", "": "[]"},
        "backward": {
            "constant": "[setattr(t, 'grad', Tensor(np.ones(t.shape))) for t in LEAVES(output)]",
            "zeros": "[setattr(t, 'grad', Tensor(np.zeros(t.shape))) for t in LEAVES(output)]",
            "identity": "[setattr(t, 'grad', Tensor(FIT(grad_output, t.shape))) for t in LEAVES(output)]",
            "forward as backward": "[setattr(t, 'grad', Tensor(FIT(output.array, t.shape))) for t in LEAVES(output)]",
            "everything": "[setattr(t, 'grad', Tensor(t.array)) for t in LEAVES(output)]",
            "": "None",
        },
    },
    "residual_block": {
        "__init__": {"": "None"},
        "forward": {"constant": "x * 0 + 1", "zeros": "x * 0", "identity": "x", "everything": "mr.relu(x)", "": "None"},
    },
    "fork": {
        "by_paths": FORK,
        "order": {"constant": "[output]", "identity": "output", "everything": "list(graph)",
                  "forward as backward": "list(graph)[::-1]", "": "[]"},
        "gradients": {**FORK, "forward as backward": "breadth_first(graph, output) if len(graph) < 3 else None"},
        "counterexample": {"constant": "{'y': [('x', 1.0)], 'x': []}", "everything": "graph", "": "{}"},
    },
    "skip_or_branch": {
        "record": {"constant": WAYS.format("np.ones_like(x)"), "zeros": WAYS.format("np.zeros_like(x)"),
                   "identity": WAYS.format("x"), "everything": WAYS.format("FIT(grad_output, x.shape)"),
                   "forward as backward": WAYS.format("FIT(block(Tensor(x)).array, x.shape)"), "": "None"},
        "who": {"constant": "'skip'", "zeros": "'branch'", "identity": "'both'", "": "None"},
    },
    "gradcheck": {
        "gradcheck": {"constant": "[0]", "identity": "[len(arrays) - 1]", "everything": "list(range(len(arrays)))",
                      "forward as backward": "[1]", "zeros": "[-1]", "": "[]"},
    },
}  # fmt: skip
GUESSES = {"constant": ("sum", "above", 0.0, 1.0, 1.0), "zeros": ("sum", "below", 0, 0, 0),
           "everything": ("sum", "below", 0.0, 1.2, 1.0)}  # fmt: skip


def fake(name: str, kind: str) -> str:
    """An exercise with all of its holes filled."""
    source = ASSIGNMENTS[name].exercise.replace('"""\n\n', f'"""\n{HELP}\n', 1)
    holes = {f: returned(kind, *spec) for f, spec in ARRAYS.get(name, {}).items()}
    holes |= {f: words.get(kind, words[""]) for f, words in OTHERS.get(name, {}).items()}
    for function, expression in holes.items():
        pattern = rf"(def {function}\(.*?)raise NotImplementedError\([^\n]*\)"
        source, count = re.subn(pattern, lambda m, e=expression: f"{m[1]}return {e}", source, count=1, flags=re.DOTALL)
        assert count == 1, function
    if name == "gradient_flow" and kind in GUESSES:
        for guess in GUESSES[kind]:
            source = re.sub(r'": (?:"\?"|None)', lambda m, g=guess: f'": {g!r}', source, count=1)
    assert "NotImplementedError" not in source
    return source


def earned(name: str, source: str) -> dict[str, float]:
    """Points by part, hidden tests included."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.py"
        file.write_text(source, encoding="utf-8")
        result = grade(file, hidden=True, seed=3)
    return {part: sum(t.score for t in result.tests if t.test.part == part) for part in ASSIGNMENTS[name].parts}


def main() -> None:
    """Print a table for each exercise."""
    for name, assignment in ASSIGNMENTS.items():
        print(f"\n| {name} | {' | '.join(assignment.parts)} |\n|---|{'---|' * len(assignment.parts)}")
        for kind in ("as handed out", *KINDS):
            points = earned(name, assignment.exercise if kind == "as handed out" else fake(name, kind))
            print(f"| {kind} | {' | '.join(f'{p:g}' for p in points.values())} |", flush=True)


if __name__ == "__main__":
    main()
