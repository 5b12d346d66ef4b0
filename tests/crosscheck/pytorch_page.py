"""Writes `minires/PYTORCH.md`: what runs from PyTorch and what does not.

    python tests/crosscheck/pytorch_page.py

Every idiom of `idioms` and every call below is run in both libraries; names are listed if both libraries have them.
"""

import inspect
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))

from crosscheck.idioms import SECTIONS, setting  # noqa: E402
from crosscheck.run_idioms import RUNS, verdict  # noqa: E402

PAGE = TESTS.parent / "minires" / "PYTORCH.md"
PYTORCH = "2.13.0"
REFUSED_CALLS = [
    'F.interpolate(x, scale_factor=2, mode="bilinear")',
    'logits.norm("nuc")',
    "criterion(model(x), y).backward(create_graph=True)",
    "optim.SGD(model.parameters(), lr=0.1, differentiable=True)",
    "optim.Adam(model.parameters(), lr=torch.tensor(0.1))",
    "optim.LBFGS(model.parameters())",
    "optim.Rprop(model.parameters())",
    "x.to(torch.bfloat16)",
    "torch.tensor([1 + 2j])",
    "torch.randn(2, generator=torch.Generator())",
    "torch.backends.cudnn.deterministic",
    "torch.autograd.Function",
    "torch.autograd.gradcheck",
    "torch.autograd.functional.jacobian(lambda x: x.sum(), x)",
    "torch.utils.data.DataLoader([1, 2])",
    "nn.DataParallel(model)",
    "nn.Embedding(5, 3)",
    "model.register_backward_hook(print)",
    "x.requires_grad_().exp().grad_fn",
]


def called(call: str, library: Any) -> str:
    """The words with which a call is refused; "" if it is not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            eval(call, setting(library))
        except Exception as error:
            return words_of(f"{type(error).__name__}: {error}")
    return ""


def words_of(text: str) -> str:
    """An error on one line, without its type, fit for a table."""
    return " ".join(text.partition(": ")[2].split()).replace("|", "\\|")


def page(ours: Any, theirs: Any) -> str:
    """The whole page as Markdown."""
    found = {title: [(idiom, *verdict(idiom, ours, theirs)) for idiom in idioms] for title, idioms in SECTIONS.items()}
    every = [outcome for rows in found.values() for _, outcome, _ in rows]
    runs = Counter(every)[RUNS]
    parts = [
        f"""# What runs from PyTorch, and what does not

`import minires as torch; import minires.nn as nn; import minires.nn.functional as F`, and much of what is written for
PyTorch {PYTORCH} runs. This page shows how much. It is written by `python tests/crosscheck/pytorch_page.py`, and a
test runs everything again and compares. What comes out at ties, kinks and NaN: [CONVENTIONS.md](CONVENTIONS.md).

## Idioms

Of {len(every)} idioms found in public code, **{runs} run** ({runs / len(every):.0%}), with the same values and
gradients as in PyTorch. The others say what to do instead. Their lines are in
[`tests/crosscheck/idioms.py`](../tests/crosscheck/idioms.py).
"""
    ]
    for title, rows in found.items():
        good = [idiom.title for idiom, outcome, _ in rows if outcome == RUNS]
        parts.append(f"**{title}: {len(good)} of {len(rows)}.** " + "; ".join(good) + ".\n")
    lines = [
        f"| {idiom.title} | {idiom.source} | {words_of(words)} |"
        for rows in found.values()
        for idiom, outcome, words in rows
        if outcome != RUNS
    ]
    parts.append("### Those that do not\n\n| idiom | seen in | what minires says |\n|---|---|---|\n" + "\n".join(lines))
    lines = [f"| `{call}` | {called(call, ours)} |" for call in REFUSED_CALLS]
    parts.append("\n## Calls and arguments\n\n| call | what minires says |\n|---|---|\n" + "\n".join(lines) + "\n")
    parts.append("## Names\n\nThose that both libraries have.\n")
    parts += [f"**`{title}`**: {', '.join(names)}\n" for title, names in offered(ours, theirs).items()]
    return "\n".join(parts)


def offered(ours: Any, theirs: Any) -> dict[str, list[str]]:
    """The public names that both libraries have, by where they are."""
    places = {
        "torch": lambda lib: lib,
        "torch.Tensor": lambda lib: lib.Tensor,
        "torch.nn": lambda lib: lib.nn,
        "torch.nn.functional": lambda lib: lib.nn.functional,
        "torch.nn.init": lambda lib: lib.nn.init,
        "torch.nn.utils": lambda lib: lib.nn.utils,
        "torch.nn.Module": lambda lib: lib.nn.Module,
        "torch.optim": lambda lib: lib.optim,
        "torch.optim.lr_scheduler": lambda lib: lib.optim.lr_scheduler,
    }
    return {title: [n for n in public(place(ours)) if hasattr(place(theirs), n)] for title, place in places.items()}


def public(place: Any) -> list[str]:
    """Names without underscore in front that are no modules and are not merely imported from outside."""
    names = getattr(place, "__all__", None) if inspect.ismodule(place) else None
    return [
        name
        for name in sorted(names or dir(place), key=lambda name: (name.lower(), name))
        if not name.startswith("_")
        and (name != "Tensor" or place.__name__ in ("minires", "torch"))
        and hasattr(place, name)  # not only to say that it is missing
        and not inspect.ismodule(getattr(place, name))
        and getattr(getattr(place, name), "__module__", "minires").split(".")[0] in ("minires", "builtins", "numpy")
    ]


def main() -> None:
    """Write the page, and print what fails in words that are not ours."""
    import torch

    import minires

    torch.set_num_threads(1)
    PAGE.write_text(page(minires, torch), encoding="utf-8")


if __name__ == "__main__":
    main()
