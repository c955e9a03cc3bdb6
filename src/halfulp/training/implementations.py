"""The ways torch has to take the same step of an optimizer: of copies, the plain one is enough."""

from __future__ import annotations

from typing import Any

#: Settings that choose an implementation, not a result.
IMPLEMENTATIONS = ("fused", "foreach", "capturable", "differentiable")


def plainly(group: dict[str, Any]) -> dict[str, Any]:
    """A group's settings with the implementation that goes anywhere.

    >>> plainly({"lr": 0.1, "fused": True})
    {'lr': 0.1, 'fused': False}
    """
    return group | {name: False for name in IMPLEMENTATIONS if name in group}
