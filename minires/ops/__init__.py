"""Operations on arrays: each is a class with ``forward`` and ``backward`` side by side. One file per family."""

from .op import Op

__all__ = ["Op"]
