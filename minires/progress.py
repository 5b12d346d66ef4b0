"""`tqdm`: a progress bar, in a notebook one that fits there. `in_notebook`: whether this is one."""

import functools
import sys
import warnings
from typing import Any


def tqdm(*args: Any, **options: Any) -> Any:
    """A progress bar; the arguments are those of ``tqdm.auto.tqdm``, which is imported when one is asked for."""
    return _kind()(*args, **options)


@functools.cache
def _kind() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # in a notebook without ipywidgets, where bars are then made of text
        from tqdm.auto import tqdm
    return tqdm


if sys.platform == "emscripten":  # where tqdm's monitor, a thread, cannot start
    import tqdm as bars

    bars.tqdm.monitor_interval = 0


def in_notebook() -> bool:
    """Whether the running code is in a notebook, which shows HTML."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")
