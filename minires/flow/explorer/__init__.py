"""The explorer: one HTML page, or a widget, that shows measured gradients on every edge, network below network.

`structure` says what is drawn where, `packing` turns the numbers into few bytes, `page` puts the files of this folder
together: page.html, the style sheets and the JavaScript modules, which begin with main.js.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from ...arguments import described
from ...files import replacing
from .packing import pack
from .page import page
from .widget import widget_of


@dataclass(frozen=True)
class Run:
    """What the explorer shows at a time: networks that were trained side by side. Only networks is needed.

    networks: {name: `FlowHistory` or `Recording`}, from top to bottom. settings: what makes this run different from
    others, such as {"depth": 20, "data": "digits"}; the page has a switch for each. losses: {name: training loss of
    every step}. accuracies: {name: {step: test accuracy from 0 to 1}}. probes: {name: {step: what `flow.probe` returned
    at that step}}.
    """

    networks: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    losses: Mapping[str, Sequence[float]] = field(default_factory=dict)
    accuracies: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    probes: Mapping[str, Mapping[int, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part in fields(self):
            given = getattr(self, part.name)
            inner = given.values() if isinstance(given, Mapping) and part.name in ("accuracies", "probes") else ()
            for value in (given, *inner):
                if not isinstance(value, Mapping):
                    raise TypeError(
                        f"explore: got {described(value)} in {part.name}; expected a dict: {{name: …}}, see `Run`"
                    )


def explore(
    networks: Mapping[str, Any],
    path: str | os.PathLike,
    *,
    title: str = "",
    settings: Mapping[str, Any] | None = None,
    losses: Mapping[str, Sequence[float]] | None = None,
    accuracies: Mapping[str, Mapping[int, float]] | None = None,
    probes: Mapping[str, Mapping[int, Any]] | None = None,
) -> None:
    """Write the explorer of networks that were trained side by side: one HTML page that needs no other file.

    The arguments are those of `Run`; what is not given is not on the page. The same numbers give the same bytes.
    Raises ValueError for networks without recorded edges, and for losses, accuracies or probes of unknown networks.

    >>> import minires as mr
    >>> from minires import flow
    >>> x, y = mr.ones(2, 1, 8, 8), mr.tensor([3, 7])
    >>> plain, residual = mr.models.twins(8, in_channels=1)
    >>> twins = {"plain": flow.record(plain, x, y), "residual": flow.record(residual, x, y)}
    >>> flow.explore(twins, "explorer.html")  # doctest: +SKIP
    """
    run = Run(networks, settings or {}, losses or {}, accuracies or {}, probes or {})
    explore_runs([run], path, title=title)


def explore_runs(runs: Iterable[Run], path: str | os.PathLike, *, title: str = "") -> None:
    """Write the explorer of several runs, whose settings its switches choose from. Raises ValueError as `explore`."""
    text = page(_document(runs, title))
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode())


def widget(networks: Mapping[str, Any], **options: Any) -> Any:
    """The explorer as a widget for notebooks; the arguments are those of `Run`.

    Raises ImportError if anywidget is not installed, and ValueError as `explore` does.
    """
    return widget_of(_document([Run(networks, **options)], ""))


def _document(runs: Iterable[Run], title: str) -> dict[str, Any]:
    """What the page shows, as plain lists, numbers and strings; see main.js."""
    runs = list(runs)
    if not runs:
        raise ValueError("explore: got no runs; expected at least one")
    return {
        "title": title or "Gradient flow",
        "runs": [{"settings": {k: str(v) for k, v in run.settings.items()}, "data": pack(run)} for run in runs],
    }
