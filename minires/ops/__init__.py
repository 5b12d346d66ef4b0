"""Operations: each a class with ``forward`` and ``backward`` side by side, on arrays. One file per family."""

from .op import Op

__all__ = ["Op"]
