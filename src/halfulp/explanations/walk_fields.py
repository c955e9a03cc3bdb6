"""L3: a walk as forms ask for it: every field a text, and a slider for the size of the update.

The slider counts doublings from half the gap to the next number: at 0 the weight begins to move.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from halfulp.errors import HalfulpError
from halfulp.exact import number
from halfulp.explanations.fields import whole
from halfulp.explanations.page import scientific
from halfulp.language import translate as _
from halfulp.recurrence import Update, half_gap, update_of
from halfulp.updates import FEW_STEPS, WalkComparison, walk_all

# Beyond these, loops are compiled, which takes seconds the first time.
MOST_STEPS = FEW_STEPS
MOST_BITS = 1 << 16  # of what makes fractions endless: sums of longer ones take seconds to reduce
REACH = 6  # doublings to either side that the slider covers

DEFAULTS = {
    "weight": "1.125", "gradient": "0.00041999", "rate": "", "format": "float16",
    "gradient_format": "", "steps": "100",
}  # fmt: skip


@dataclass(frozen=True)
class AskedWalk:
    """What was asked for: the walk, and where the slider stands."""

    walk: WalkComparison
    gradient: str  # the field, which the slider may have written
    share: float | None  # where the slider stands; None at the end of the format's range


def asked_walk(fields: Mapping[str, str], share: str | None = None) -> AskedWalk:
    """The walk that fields ask for, its gradient as the slider says where that was moved.

    Raises HalfulpError for fields that cannot be.

    >>> asked_walk(DEFAULTS).share, asked_walk(DEFAULTS, "0").gradient
    (-0.25, '4.88281e-4')
    """
    steps = whole(fields, "steps", 1, MOST_STEPS)
    rate, inner = fields["rate"] or None, fields["gradient_format"] or None
    weight, gradient, target = fields["weight"], fields["gradient"], fields["format"]
    update = update_of(weight, gradient, target, rate, inner)
    _check_length(update)
    half = half_gap(update)
    if share is not None and half is not None:
        gradient = _at_share(share, half, fields)
        update = update_of(weight, gradient, target, rate, inner)
    walk = walk_all(weight, gradient, steps, target, learning_rate=rate, gradient_format=inner)
    return AskedWalk(walk, gradient, None if half is None else _share(update, half))


def _check_length(update: Update) -> None:
    """Raises HalfulpError for fractions that take too long to be added exactly."""
    denominators = [n.value.denominator for n in (update.weight, update.gradient)]
    found = sum((d // (d & -d)).bit_length() for d in denominators)
    if found > MOST_BITS:
        told = _(
            "the fractions of weight and gradient have {found} bits below the line: the page walks "
            "up to {most}; the command line walks more"
        )
        raise HalfulpError(told.format(found=found, most=MOST_BITS))


def _share(update: Update, half: Fraction) -> float:
    """How many doublings the update is from half the gap."""
    if not update.added.value:
        return float(-REACH)
    ratio = abs(update.added.value) / half
    exponent = ratio.numerator.bit_length() - ratio.denominator.bit_length()
    if abs(exponent) > REACH + 1:
        return float(math.copysign(REACH, exponent))
    return max(-REACH, min(REACH, round(math.log2(ratio) * 8) / 8))


def _at_share(text: str, half: Fraction, fields: Mapping[str, str]) -> str:
    """The gradient so many doublings from half the gap, to six digits."""
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not abs(share) <= REACH:
        told = _("the slider stands at {text!r}: it goes from {low} to {high}")
        raise HalfulpError(told.format(text=text[:20], low=-REACH, high=REACH))
    size = half * Fraction(2.0**share)
    rate = number(fields["rate"]).value if fields["rate"] else Fraction(1)
    gradient = size / abs(rate) if rate else size
    sign = "-" if number(fields["gradient"].partition(":")[0]).negative else ""
    return sign + scientific(gradient, 6)
