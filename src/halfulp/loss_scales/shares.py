"""What a loss scale does to gradients in each format: the counts, and the scales that fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from halfulp.catalogue import Format, format, power_of_two
from halfulp.errors import HalfulpError
from halfulp.exact import number
from halfulp.language import translate as _
from halfulp.loss_scales.bounds import edges
from halfulp.loss_scales.counts import Counts, Fit, Gradients, Looked
from halfulp.records import Record, data_frame
from halfulp.recurrence import walkable
from halfulp.runs.scale_window import SHARE, share_of

FORMATS = ("float16", "bfloat16", "float8_e5m2", "float8_e4m3fn")
SCALE = 65536  # the start of torch.amp.GradScaler
#: Exponents of the scales that curves go over.
FIRST, LAST = -10, 40
LONGEST = 1100  # a scale is at most 2**LONGEST, and at least its inverse


@dataclass(frozen=True)
class FormatShares(Record):
    """What one scale does in one format, and which scales fit it.

    Counts are of nonzero finite elements: exact where a count and its ``_most`` are the same, and
    else between the two.
    """

    format: Format
    zero: int  # become zero
    zero_most: int
    subnormal: int  # results, not zero
    subnormal_most: int
    overflow: int
    overflow_most: int
    least: Fraction | None  # power of two that keeps the share of each tensor; None: not known
    largest: Fraction | None  # power of two that overflows nothing
    bound_below: str | None  # the tensor that asks for the least
    bound_above: str | None  # the tensor with the largest element
    hidden: str | None  # a tensor that was narrow already, so that the least is not known
    place: str  # of the scale: "in" the window, "below" it, "above" it; "none", "unknown"

    @property
    def name(self) -> str:
        """The name of the format."""
        return self.format.name


@dataclass(frozen=True)
class ScaleCurve(Record):
    """The counts of one format over powers of two as scales, from 2**first on."""

    format: Format
    first: int
    zero: tuple[int, ...]
    zero_most: tuple[int, ...]
    subnormal: tuple[int, ...]
    subnormal_most: tuple[int, ...]
    overflow: tuple[int, ...]
    overflow_most: tuple[int, ...]

    @property
    def last(self) -> int:
        """The exponent of the last scale."""
        return self.first + len(self.zero) - 1

    @property
    def name(self) -> str:
        """The name of the format."""
        return self.format.name


@dataclass(frozen=True)
class ScaleShares(Record):
    """What a loss scale does to gradients, a row a format; made by :func:`scale_shares`."""

    renderer = "halfulp.loss_scales.shares_text:shares_page"

    looked: Looked
    scale: Fraction
    keep: Fraction  # of each tensor's nonzero elements, that a scale has to keep to fit
    rows: tuple[FormatShares, ...]
    binades: tuple[tuple[int, int], ...]  # (e, elements with 2**e <= |g| < 2**(e + 1)), unscaled
    curves: tuple[ScaleCurve, ...] = ()  # a format each, where they were asked for

    def __iter__(self) -> Iterator[FormatShares]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def to_pandas(self) -> Any:
        """One row a format."""
        return data_frame(self.rows)


def scale_shares(
    gradients: Gradients,
    scale: Any = SCALE,
    formats: Sequence[str | Format] = FORMATS,
    *,
    keep: Fraction | float | str = SHARE,
    curves: bool = False,
) -> ScaleShares:
    """What becomes of gradients times a scale in each format, and which scales fit.

    ``gradients`` are those of :mod:`halfulp.loss_scales.sources`; ``scale`` any positive number in
    any notation. Each product S·g is exact and rounded once, to nearest even. ``keep`` is the
    share of each tensor's nonzero elements that a scale has to keep to fit. With ``curves`` the
    counts of powers of two from 2**-10 to 2**40 are there as well.

    Raises HalfulpError for a scale that is not positive, unknown formats, those without a sign, and
    a share that is not above 0 and at most 1.

    >>> import numpy as np
    >>> from halfulp.loss_scales.elements import of_arrays
    >>> found = of_arrays("two", {"weight": np.float32([2.0**-30, 2.0**-3])})
    >>> (row,) = scale_shares(found, 1, ["float16"])
    >>> row.zero, row.least == 2**6, row.largest == 2**18, row.place
    (1, True, True, 'below')
    """
    factor, share = scale_of(scale), share_of(keep)
    targets = [walkable(format(name)) for name in formats]
    if not targets:
        raise HalfulpError(
            _("no format was named: give one at least, such as {format}").format(format=FORMATS[0])
        )
    return ScaleShares(
        looked=gradients.looked,
        scale=factor,
        keep=share,
        rows=tuple(_row(gradients, target, factor, share) for target in targets),
        binades=gradients.binades,
        curves=tuple(curve(gradients, target) for target in targets) if curves else (),
    )


def curve(gradients: Gradients, target: Format, first: int = FIRST, last: int = LAST) -> ScaleCurve:
    """The counts of a format at every power of two from 2**first to 2**last."""
    found = [
        gradients.counts(edges(target, power_of_two(exponent)))
        for exponent in range(first, last + 1)
    ]
    return ScaleCurve(target, first, *zip(*found, strict=True))


def scale_of(scale: Any) -> Fraction:
    """A scale, exactly, in any notation of numbers.

    Raises HalfulpError where it is no positive number from 2**-1100 to 2**1100.

    >>> scale_of("2^16"), scale_of(0.5)
    (Fraction(65536, 1), Fraction(1, 2))
    """
    found = number(scale)
    bound = power_of_two(LONGEST)
    if not found.is_finite or not 1 / bound <= found.value <= bound:
        raise HalfulpError(
            _(
                "the scale is {scale}: allowed are positive numbers from 2^-{most} to 2^{most}"
            ).format(scale=scale, most=LONGEST)
        )
    return found.value


def _row(gradients: Gradients, target: Format, scale: Fraction, keep: Fraction) -> FormatShares:
    counts: Counts = gradients.counts(edges(target, scale))
    fit = gradients.fit(target, keep)
    return FormatShares(target, *counts, *fit, _place(scale, fit))


def _place(scale: Fraction, fit: Fit) -> str:
    """Where a scale is with regard to the ones that fit."""
    if fit.largest is None:
        return "unknown"
    if fit.least is not None and fit.least > fit.largest:
        return "none"
    if scale > fit.largest:
        return "above"
    if fit.least is None:
        return "unknown"
    return "below" if scale < fit.least else "in"
