"""L4: a number's bits, and a weight's walk, to play with in a notebook.

Python holds the only arithmetic: the page sends what is pressed and typed to the kernel, which
answers with HTML. Needs anywidget: ``pip install 'halfulp[notebook]'``.
"""

from __future__ import annotations

from halfulp.errors import missing_extra

try:
    import anywidget  # noqa: F401  # everything below needs both; said once, and clearly
    import jinja2  # noqa: F401
except ModuleNotFoundError as error:
    raise missing_extra(str(error.name), "notebook", "halfulp.widgets") from None

from halfulp.widgets.bits_panel import BitsPanel, bits
from halfulp.widgets.panel import Panel
from halfulp.widgets.walk_panel import WalkPanel, walk

__all__ = ["BitsPanel", "Panel", "WalkPanel", "bits", "walk"]
