"""L3: the ranges of formats against one another."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from halfulp.catalogue import Format, binade, format, power_of_two
from halfulp.errors import HalfulpError
from halfulp.explanations.density import decimal_digits
from halfulp.language import translate as _
from halfulp.records import Record, data_frame


@dataclass(frozen=True)
class FormatRange(Record):
    """From the least positive number of a format to its largest, as powers of two."""

    name: str
    width: int
    least: int  # log2 of the least positive number
    least_normal: int  # log2
    largest: float  # log2, rounded
    subnormal_binades: int
    normal_binades: int
    significant_bits: int
    decimal_digits: int


@dataclass(frozen=True)
class Ranges(Record):
    """Formats, each with its range, in the order in which they were given.

    >>> half, brain = Ranges.of(["float16", "bfloat16"]).formats
    >>> half.least, half.least_normal, half.subnormal_binades, round(brain.largest, 2)
    (-24, -14, 10, 127.99)
    """

    renderer = "halfulp.explanations.ranges_text:ranges_page"

    formats: tuple[FormatRange, ...]

    @staticmethod
    def of(targets: Iterable[str | Format]) -> Ranges:
        """The ranges of some formats; raises HalfulpError for unknown ones, and for none at all."""
        rows = tuple(_range(format(target)) for target in targets)
        if not rows:
            raise HalfulpError(_("no format to compare: name some, such as float16 and bfloat16"))
        return Ranges(rows)

    def to_pandas(self) -> Any:
        """One row a format."""
        return data_frame(self.formats)


def _range(f: Format) -> FormatRange:
    least, top = binade(f.least_positive), binade(f.max)
    return FormatRange(
        name=f.name,
        width=f.width,
        least=least,
        least_normal=f.emin,
        largest=top + math.log2(f.max / power_of_two(top)),
        subnormal_binades=min(f.emin, top + 1) - least,
        normal_binades=max(top + 1 - f.emin, 0),
        significant_bits=f.precision,
        decimal_digits=decimal_digits(f.precision),
    )
