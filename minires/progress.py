"""`tqdm`: the progress bar of the package of that name, imported when one is asked for: it is slow to import."""

from typing import Any


def tqdm(*args: Any, **options: Any) -> Any:
    """A progress bar; the arguments are those of ``tqdm.tqdm``."""
    from tqdm import tqdm as bar

    return bar(*args, **options)
