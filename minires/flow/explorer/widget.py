"""The explorer in notebooks: the same modules and style sheet as an anywidget."""

import json
from typing import Any

from .page import script, style


def widget_of(document: dict[str, Any]) -> Any:
    """A widget that shows the document. Raises ImportError if anywidget is not installed."""
    try:
        import anywidget
        import traitlets
    except ImportError as error:
        raise ImportError(
            "explore: needs anywidget: python -m pip install anywidget; or write a page: to_html(path)"
        ) from error

    class Explorer(anywidget.AnyWidget):
        """Shows ``document``, which is JSON."""

        _esm = script() + "\nexport default { render };\n"
        _css = style()
        document = traitlets.Unicode().tag(sync=True)

    return Explorer(document=json.dumps(document))
