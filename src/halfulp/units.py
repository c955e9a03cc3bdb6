"""L2: sums rounded to a format again and again, on ints: what a walk of one weight does.

All numbers of a walk are multiples of one power of two, its unit, and are counted in it: that takes
a tenth of the time of Fractions. A gradient without end in base 2 is counted too, and the rest of
less than a unit is known to be there. What is no count stays a Number, and is added as one: −0,
infinities, NaN, and what is beyond the range.
"""

from __future__ import annotations

from typing import NamedTuple

from halfulp.arithmetic import exact_difference, exact_sum
from halfulp.carrier import Placement, base_of, drop_of, placement, round_at
from halfulp.casting import Cast
from halfulp.catalogue import multiple
from halfulp.exact import Number, finite
from halfulp.rounding import Chance, chance_of


class Endless(NamedTuple):
    """A number between ``below`` units and one more."""

    below: int
    number: Number


Value = int | Number


class Units:
    """Sums of multiples of a unit, each rounded once by a cast; made for the numbers of a walk."""

    def __init__(self, cast: Cast, *numbers: Number) -> None:
        self.cast, target = cast, cast.target
        twos = [_twos(n.value.denominator) for n in numbers]
        self.exponent = min(0, -max(twos))
        if any(n.value.denominator >> two > 1 for n, two in zip(numbers, twos, strict=True)):
            # An endless rest needs a bit below half of the finest spacing to be told from a tie,
            # and as many as are drawn to be told from what is drawn.
            below = 1 + cast.random_bits * cast.is_stochastic
            self.exponent = min(self.exponent, target.emin - target.fraction_bits - below)
        self.largest = target.max.numerator << -self.exponent
        self.largest //= target.max.denominator
        self.places: dict[int, Placement] = {}

    def value(self, number: Number) -> Value:
        """A number as a count, or as it is where it is none."""
        found = self.added(number)
        return number if isinstance(found, Endless) else found

    def added(self, number: Number) -> Value | Endless:
        """The same for what is added to others, which may lie between two counts."""
        if not number.is_finite or (number.negative and not number.value):
            return number
        over, under = number.value.numerator << -self.exponent, number.value.denominator
        count, rest = divmod(over, under)
        return Endless(count, number) if rest else count

    def number(self, value: Value | Endless) -> Number:
        """What a count stands for."""
        if isinstance(value, int):
            return finite(multiple(value, self.exponent))
        return value.number if isinstance(value, Endless) else value

    def sum(self, a: Value, b: Value | Endless, word: int = 0) -> Value:
        """A + b, rounded; ``word`` is random bits for a stochastic cast."""
        if isinstance(a, int) and not isinstance(b, Number):
            endless = isinstance(b, Endless)
            found = self._rounded(a + (b.below if isinstance(b, Endless) else b), endless, word)
            if found is not None:
                return found
        exact = exact_sum(self.number(a), self.number(b))
        return self.value(self.cast.number(exact, word=word))

    def difference(self, a: Value, b: Value) -> Value:
        """A − b, rounded."""
        if isinstance(a, int) and isinstance(b, int):
            return self.sum(a, -b)
        return self.value(self.cast.number(exact_difference(self.number(a), self.number(b))))

    def _rounded(self, total: int, endless: bool, word: int) -> int | None:
        """A count, with a rest or without, rounded by the rule; None where that gives none."""
        significand, exponent = abs(total), self.exponent
        if endless:  # one more bit stands for the rest, which goes up also from a negative count
            significand, exponent = (significand - (total < 0)) << 1 | 1, exponent - 1
        elif not total:
            return 0
        width, bias = significand.bit_length(), self.cast.target.bias
        place = self.places.get(width)
        if place is None:
            place = placement(self.cast.target, width, bias, longest=1 << 30)
            self.places[width] = place
        field = width - 1 + exponent + bias
        drop = drop_of(field, place)
        if drop > 0:
            step = round_at(
                int(total < 0), field, significand, base_of(field, place), place,
                self._chance(drop, word), self.cast.decide,
            )  # fmt: skip
            significand = step.rule.rounded << drop
        size = significand >> endless
        if not size or size > self.largest:
            return None  # −0, or a fate
        return -size if total < 0 else size

    def _chance(self, drop: int, word: int) -> Chance | None:
        if not self.cast.is_stochastic:
            return None
        return chance_of(word, self.cast.random_bits, drop, 1 << 30)


def _twos(denominator: int) -> int:
    """How often two divides it."""
    return (denominator & -denominator).bit_length() - 1
