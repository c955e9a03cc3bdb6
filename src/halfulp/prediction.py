"""L2: the recurrence w ← round(w + g) in closed form: its stall, and its value at any step.

Within one binade of the sum the spacing q is constant, so once w is a multiple of q every step
adds the same multiple of it: g/q rounded to nearest. At a tie it is the even one, as soon as w is
an even multiple, which it is after one step more. The trajectory is a few arithmetic progressions,
one or two a binade. Each is entered by a few real steps of the rule and jumped over by one
division, so the cost grows with the binades crossed and not with the steps. Below the least
normal number the spacing is constant through zero, and one progression crosses it.

All numbers are integers in units of a common denominator; nothing is rounded but by the rule.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, NamedTuple

from halfulp.carrier import Placement, convert, placement
from halfulp.casting import Cast, cast_to, code_number
from halfulp.catalogue import Format, multiple
from halfulp.errors import HalfulpError
from halfulp.exact import Number, finite
from halfulp.language import translate as _
from halfulp.records import Record
from halfulp.recurrence import check_steps, update_of


class Progression(NamedTuple):
    """From step ``first`` on, ``start + (step - first) · increment``, until the next one."""

    first: int
    start: Fraction
    increment: Fraction


@dataclass(frozen=True)
class Prediction(Record):
    """The whole trajectory of the strategy ``nearest``, without having walked it.

    A stall is a fixed point reached while g ≠ 0; ``stall_step`` updates were applied before it,
    and every later one is lost. ``drift`` is the value at ``steps`` less the exact one.
    """

    renderer = "halfulp.explanations.walk_text:prediction_page"

    format: Format
    weight: Number  # as given
    gradient: Number  # as given, with the learning rate
    stored_weight: Number  # rounded to the format
    update: Number  # what is really added
    progressions: tuple[Progression, ...]
    stall_step: int | None
    stall_value: Number | None
    overflow_step: int | None  # the first step whose result is no finite number
    overflow_value: Number | None
    steps: int | None = None
    final: Number | None = None  # the value after ``steps``
    exact: Number | None = None  # weight + steps · gradient
    drift: Fraction | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON types, the progressions with their names."""
        plain = super().to_dict()
        plain["progressions"] = [
            {"first": p.first, "start": str(finite(p.start)), "increment": str(finite(p.increment))}
            for p in self.progressions
        ]
        return plain

    def at(self, step: int) -> Number:
        """The weight after ``step`` updates.

        >>> walk_up = predict(1, "0.001", "float16")
        >>> str(walk_up.at(10**15)), walk_up.stall_step
        ('4', 2048)
        """
        if step is None:
            raise HalfulpError(_("step is missing: give a whole number"))
        check_steps(step)
        if self.overflow_step is not None and step >= self.overflow_step:
            assert self.overflow_value is not None, "set together with its step"
            return self.overflow_value
        value = self._value_at(step)
        return finite(value, not value and self._is_negative_zero(step))

    def _value_at(self, step: int) -> Fraction:
        firsts = [p.first for p in self.progressions]
        current = self.progressions[bisect_right(firsts, step) - 1]
        return current.start + (step - current.first) * current.increment

    def _is_negative_zero(self, step: int) -> bool:
        """The sign of a zero: that of the sum that was rounded to it."""
        if step == 0 or not self.update.value:
            both = self.stored_weight.negative and (step == 0 or self.update.negative)
            return both and self.format.signed_zero
        return self._value_at(step - 1) + self.update.value < 0 and self.format.signed_zero


def predict(
    weight: Any,
    gradient: Any,
    target: str | Format,
    steps: int | None = None,
    *,
    learning_rate: Any = None,
    gradient_format: str | Format | None = None,
) -> Prediction:
    """Where w ← round(w + g) goes in a format, for ever, to nearest even.

    The arguments are those of :func:`halfulp.walk`. Raises HalfulpError for a format without zero
    or sign, for what is no finite number, and for negative steps.

    >>> predict("1.125", "0.00041999", "float16").stall_step
    0
    """
    update = update_of(weight, gradient, target, learning_rate, gradient_format)
    check_steps(steps)
    cast = cast_to(update.format)
    path = _Path(cast, update.stored_weight, update.added)
    found = path.follow()
    base = Prediction(
        update.format, update.weight, update.gradient, update.stored_weight, update.added, *found
    )
    if steps is None:
        return base
    final = base.at(steps)
    exact = finite(update.weight.value + steps * update.gradient.value)
    drift = final.value - exact.value if final.is_finite else None
    return replace(base, steps=steps, final=final, exact=exact, drift=drift)


class _Region(NamedTuple):
    """Sums that are rounded with one spacing, from ``low`` to ``high`` inclusive."""

    low: int
    high: int
    spacing: int


class _Path:
    """The trajectory in integers: every number is a multiple of ``1 / scale``."""

    def __init__(self, cast: Cast, start: Number, added: Number) -> None:
        self.cast, self.target = cast, cast.target
        self.start_number, self.added = start, added
        denominator = added.value.denominator
        twos = (denominator & -denominator).bit_length() - 1
        self.odd = denominator >> twos  # 1 unless the gradient is exact and no binary fraction
        # An endless rest needs a bit below half of the finest spacing to be told from a tie.
        finest = self.target.emin - self.target.fraction_bits
        self.exponent = min(finest - int(self.odd > 1), -twos)
        self.g = self._units(added.value)
        self.least_normal = self.odd << (self.target.emin - self.exponent)
        self.largest = self._units(self.target.max)
        self.places: dict[int, Placement] = {}

    def _units(self, value: Fraction) -> int:
        return (value.numerator * self.odd << -self.exponent) // value.denominator

    def _value(self, units: int) -> Fraction:
        return multiple(units, self.exponent) / self.odd

    def follow(self) -> tuple[Any, ...]:
        """Progressions, stall step and value, overflow step and value."""
        if not self.start_number.is_finite:
            return (Progression(0, Fraction(0), Fraction(0)),), None, None, 0, self.start_number
        w, step = self._units(self.start_number.value), 0
        found: list[Progression] = []
        while True:
            found.append(Progression(step, self._value(w), Fraction(0)))
            if not self.g:
                return tuple(found), None, None, None, None
            after = self._step(w)
            if isinstance(after, Number):
                return tuple(found), None, None, step + 1, after
            if after == w:
                return tuple(found), step, finite(self._value(w)), None, None
            region = self._region(w + self.g)
            w, step = after, step + 1
            count, increment = self._stride(w, region)
            if count:
                found.append(Progression(step, self._value(w), self._value(increment)))
                w, step = w + count * increment, step + count

    def _stride(self, w: int, region: _Region) -> tuple[int, int]:
        """How many steps from ``w`` keep their sums in the region they had, and what each adds."""
        if not region.low <= w + self.g <= region.high:
            return 0, 0
        tie = 2 * (self.g % region.spacing) == region.spacing
        if tie and w // region.spacing % 2:
            return 0, 0  # from an odd multiple the next step goes to an even one, and another way
        after = self._step(w)
        if isinstance(after, Number) or after == w:
            return 0, 0
        increment = after - w
        limit = region.high if increment > 0 else region.low
        return (limit - w - self.g) // increment + 1, increment

    def _region(self, total: int) -> _Region:
        """The sums around ``total`` that share its spacing and do not round beyond the range."""
        size, finest = abs(total), 2 * self.least_normal
        if size < finest:
            edge = min(finest - 1, self.largest)
            # Without subnormals the spacing below the least normal number is another one.
            low, high = (-edge, edge) if self.target.subnormals else (total, total)
            return _Region(low, high, self.least_normal >> self.target.fraction_bits)
        power = (size // self.odd).bit_length() - 1
        low, high = self.odd << power, min((self.odd << (power + 1)) - 1, self.largest)
        spacing = low >> self.target.fraction_bits
        if high < size:
            return _Region(total, total, spacing)
        return _Region(low, high, spacing) if total > 0 else _Region(-high, -low, spacing)

    def _step(self, w: int) -> int | Number:
        """One real step by the rule; a Number where the result is not finite."""
        total = w + self.g
        size = abs(total)
        significand, rest = divmod(size, self.odd)
        significand = significand << 1 | int(rest != 0)  # an endless rest becomes a sticky bit
        if significand <= 1 and not rest:
            return 0
        width = significand.bit_length()
        place = self.places.get(width)
        if place is None:
            place = self.places[width] = placement(self.target, width, 0, longest=1 << 30)
        exponent = width - 2 + self.exponent
        code = convert(int(total < 0), exponent, significand, place, None, self.cast.decide).code
        if code > self.target.max_code:
            policy = self.cast.codes
            over = code_number(self.target, policy.over_negative if total < 0 else policy.over)
            return self._units(over.value) if over.is_finite else over
        magnitude = self._magnitude(code)
        return -magnitude if total < 0 else magnitude

    def _magnitude(self, code: int) -> int:
        """Format.magnitude in units, in integers."""
        bits = self.target.fraction_bits
        field, fraction = code >> bits, code & ((1 << bits) - 1)
        if field:
            fraction += 1 << bits
        return self.odd * fraction << (max(field, 1) - self.target.bias - bits - self.exponent)
