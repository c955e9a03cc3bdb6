"""A comparison that ``halfulp compare … --json > FILE`` has kept, read again for its report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from halfulp.errors import HalfulpError
from halfulp.language import N_
from halfulp.language import translate as _

if TYPE_CHECKING:
    from halfulp.training.comparison import Comparison

MOST_BYTES = 16 << 20  # which takes a second to read
WRITTEN = N_("that halfulp compare … --json wrote")


def read_comparison(path: str | Path) -> Comparison:
    """The comparison in a JSON file.

    Raises HalfulpError for what is no such file, and for one of over 16 MiB.
    """
    place = Path(path)
    try:
        size = place.stat().st_size
        if size > MOST_BYTES:
            raise HalfulpError(
                _("{path} has {size} bytes: a comparison has at most {most}").format(
                    path=path, size=size, most=MOST_BYTES
                )
            )
        text = place.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HalfulpError(
            _("{path} cannot be read: give a file {written} ({error})").format(
                path=path, written=_(WRITTEN), error=error
            )
        ) from error
    from halfulp.training.comparison import Comparison

    try:
        found: Comparison = Comparison.from_json(text)
        if not found.recipes or not all(r.losses for r in found.recipes):
            raise ValueError(_("it has no training in it"))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise HalfulpError(
            _("{path} is no comparison: give a file {written} ({error})").format(
                path=path, written=_(WRITTEN), error=error
            )
        ) from error
    return found
