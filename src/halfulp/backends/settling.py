"""L1: from numbers rounded to odd to numbers of a format, on the two carriers of odd.py.

Of 53 bits, the kernels of casts do it. Of 61 bits, :func:`rounded_odd` does: the same rule and
fates, around significands that are wider than any float's, with all roundings in one kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from halfulp import carrier, rounding
from halfulp.backends import odd
from halfulp.backends.kernels import FLOAT64, carrier_of, flat_plan, unflattened
from halfulp.backends.symbols import jitable
from halfulp.carrier import placement
from halfulp.casting import Cast
from halfulp.catalogue import Format, format
from halfulp.errors import HalfulpError
from halfulp.noise import random_word

_FLOAT32 = format("float32")


def in_float64(formats: Sequence[Format], cast: Cast) -> bool:
    """Whether float64 arithmetic, to odd, holds all that a cast needs to know of an operation."""
    fit = _bits_needed(cast) <= FLOAT64.source.precision and carrier_of(FLOAT64.source, cast)
    return bool(fit) and all(_FLOAT32.holds(f) for f in formats)


def _bits_needed(cast: Cast) -> int:
    """Of a number rounded to odd, for the cast of it to be that of the exact number: see odd.py."""
    return cast.target.precision + (cast.random_bits + 1 if cast.is_stochastic else 2)


# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
# Numba infers the types of what its kernels call.


class WidePlan(NamedTuple):
    """What rounding parts of 61 bits to float64 values of a format needs to know."""

    cast: Any  # the Plan, with the place of significands of 61 bits
    top: int  # exponent field of the largest finite number
    mode: int  # the rounding's place among DECISIONS
    down: int  # whether it is down


def wide_plan(cast: Cast, seed: int) -> npt.NDArray[np.int64]:
    """A WidePlan as a flat array; HalfulpError where 61 bits are too few for the cast."""
    if _bits_needed(cast) > odd.WIDTH:
        most = odd.WIDTH - 1 - cast.target.precision
        raise HalfulpError(
            f"{cast.random_bits} random bits beside the {cast.target.precision} of {cast.target} "
            f"are more than arrays calculate with: ask for random_bits up to {most}, or give "
            "Python numbers"
        )
    place = placement(cast.target, odd.WIDTH, FLOAT64.source.bias, FLOAT64.longest)
    flat = flat_plan(cast, FLOAT64, seed, codes=False)
    rest = [
        cast.target.emax + FLOAT64.source.bias, list(rounding.DECISIONS).index(cast.rounding),
        cast.rounding == "down",
    ]  # fmt: skip
    return np.array([*place, *flat[len(place) :], *rest], dtype=np.int64)


@jitable
def unpacked(flat):
    """The WidePlan of a flat one, inside a kernel."""
    return WidePlan(unflattened(flat), flat[-3], flat[-2], flat[-1])


class _Chance(NamedTuple):
    """A Chance that brings along which decision is to be taken."""

    threshold: Any
    right: Any
    mode: Any


def _any_decision() -> Any:
    """A decision that takes each of DECISIONS, as the chance it is given says."""
    chosen: Any = rounding.DECISIONS["toward_zero"]
    for number, decide in enumerate(rounding.DECISIONS.values()):
        chosen = _either(number, decide, chosen)
    return chosen


def _either(number: int, decide: Any, otherwise: Any) -> Any:
    @jitable
    def decision(dropped, unit, odd, negative, chance):
        if chance.mode == number:
            return decide(dropped, unit, odd, negative, chance)
        return otherwise(dropped, unit, odd, negative, chance)

    return decision


_decide = _any_decision()


@jitable
def rounded_odd(exact, low, high, plan):
    """Parts of 61 bits as a float64 that the format has, or as the fate of what it has not; ``low``
    and ``high`` are the index of its noise.
    """
    place = plan.cast.place
    field = exact.exponent + 1023
    beyond = field > plan.top  # where what follows may wrap around, unused
    word = random_word(plan.cast.key, low, high)
    drop = carrier.drop_of(field, place)
    drawn = rounding.chance_of(word, plan.cast.random_bits, drop, place.longest)
    chance = _Chance(drawn.threshold, drawn.right, plan.mode)
    parity = carrier.base_of(field, place)
    step = carrier.round_at(
        exact.negative, field, exact.significand, parity, place, chance, _decide
    )
    # The straight line of float64: below its least normal number a binade has fewer bits.
    least = max(field, 1)
    left = step.shift - (odd.WIDTH - 53) - (least - field)
    result = (step.rule.rounded << max(left, 0)) + ((least - 1) << 52)
    if step.shift >= odd.WIDTH:
        result = plan.cast.tiny
    finite = exact.kind == odd.FINITE
    bits = carrier.settle(
        result, exact.negative, finite and step.rule.rounded == 0,
        finite and exact.significand == 0, finite and (beyond or result > plan.cast.largest),
        exact.kind == odd.INFINITE, exact.kind == odd.NAN, plan.cast.outcome,
    )  # fmt: skip
    return odd.from_pattern(bits)
