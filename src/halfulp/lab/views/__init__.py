"""The views of the lab, a file each, in the order of their links."""

from __future__ import annotations

from halfulp.lab.view import View
from halfulp.lab.views import base, bits, convert, formats, operate, runs, scale, walk

VIEWS: dict[str, View] = {
    view.name: view
    for view in (
        bits.VIEW,
        convert.VIEW,
        operate.VIEW,
        base.VIEW,
        walk.VIEW,
        scale.VIEW,
        formats.VIEW,
        runs.VIEW,
    )
}
