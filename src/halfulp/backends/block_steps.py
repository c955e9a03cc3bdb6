"""L1: what the loops over blocks hand to each other, and the steps that all block formats share."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from halfulp.backends.kernels import cast_one, unflattened
from halfulp.backends.lanes import wide_vectors
from halfulp.backends.symbols import jitable
from halfulp.carrier import Outcome, Placement
from halfulp.patterns import Carrier, Plan, Shape

# Numba infers the types of what follows.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

NAN, FAR = 1, 2  # what befalls some block of a chunk: not finite, or out of the carrier's middle


class Traits(NamedTuple):
    """What a kernel is compiled for."""

    carrier: Carrier  # of the rule; for quotients float32 if snapped, float64 if odd
    element: Shape  # of the cast of elements
    scale: Shape | None  # of the cast to the scale; None for powers of two
    memory: str  # what is read: "patterns" of the carrier, "float32" to widen, "codes" to look up
    back: Shape | None  # of the cast to what is written, where that is no native float
    large: bool  # whether a group is more than CHUNK elements


class Numbers(NamedTuple):
    """What a kernel is told of the block format and of the array, as one array of ints."""

    carry: int  # added to amax's pattern before its exponent is read
    binade: int  # of the largest element
    least: int  # exponents that scales have
    most: int
    bias: int  # an exponent and this are a scale's code
    nan_scale: int
    tiny: int  # blocks with smaller exponents are lifted
    huge: int  # and those with larger ones lowered
    step: int  # of a pattern, to the next binade
    over_step: int  # the same, if what overflows becomes the largest number and so depends on it
    over_negative_step: int
    nan: int  # the pattern of elements in a block that is NaN
    infinity: int  # of the carrier
    size: int
    n: int
    in_axis: int  # blocks along the axis
    inner: int


class Parts(NamedTuple):
    """The steps, as functions for kernels to call."""

    integer: Any  # the carrier's dtype
    load: Any  # (x, start, end, scratch, told) -> patterns
    larger: Any  # (patterns, bounds of groups, tops, width): the largest so far of each block
    choose: Any  # (tops, ones, others, scales, told) -> what befalls some block
    apply: Any  # (patterns, ones, others, out, index, befallen, scratch, told)
    ones: Any  # the dtype of what blocks hand to their elements
    others: Any = None  # and of a second such thing


class Told(NamedTuple):
    """A kernel's arguments once they are taken apart."""

    element: Any
    scale: Any
    back: Any
    numbers: Any
    reals: Any  # the largest element times the tensor's scale, and that scale
    inputs: Any  # what codes that are read mean
    values: Any  # what codes of scales mean


@jitable
def told_of(plans, n, reals, inputs, values):
    """What a kernel is told, from the arrays it is told it in."""
    numbers = Numbers(
        n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11], n[12], n[13],
        n[14], n[15], n[16],
    )  # fmt: skip
    element, scale, back = unflattened(plans[0]), unflattened(plans[1]), unflattened(plans[2])
    return Told(element, scale, back, numbers, reals, inputs, values)


def loading(t: Traits) -> Any:
    """Elements as patterns of the carrier."""

    @jitable
    def as_is(x, start, end, scratch, told):
        return x[start:end]

    @jitable
    def widened(x, start, end, scratch, told):
        wide_vectors()
        given, wide = x[start:end].view(np.float32), scratch[: end - start]
        double = wide.view(np.float64)
        for i in range(given.size):
            double[i] = given[i]
        return wide

    @jitable
    def looked_up(x, start, end, scratch, told):
        given, wide = x[start:end], scratch[: end - start]
        for i in range(given.size):
            wide[i] = told.inputs[given[i]]
        return wide

    return {"patterns": as_is, "float32": widened, "codes": looked_up}[t.memory]


def finishing(t: Traits) -> Any:
    """Values as codes of the dtype they are written in; None where it is the carrier's own."""
    if t.back is None:
        return None
    back = cast_one(t.carrier, t.back)

    @jitable
    def finish(patterns, out, told):
        wide_vectors()
        for i in range(patterns.size):
            out[i] = back(patterns[i], 0, 0, told.back)

    return finish


def stretch_of(t: Traits) -> Any:
    """The rule on each pattern, its grid moved by the exponent beside it."""
    rule, widen, moves = cast_one(t.carrier, t.element), t.carrier.widen, t.scale is None

    @jitable
    def stretch(patterns, exponents, out, first, told):
        wide_vectors()
        start = 0
        while start < patterns.size:
            high = (first + start) >> 32  # of an index; it seldom changes
            end = min(patterns.size, ((high + 1) << 32) - first)
            source, powers, target = patterns[start:end], exponents[start:end], out[start:end]
            for i in range(source.size):
                plan = _moved(told, widen(powers[i])) if moves else told.element
                target[i] = rule(source[i], first + start + i, high, plan)
            start = end

    return stretch


@jitable
def _moved(told, e):
    """The plan of a format whose numbers are times 2**e."""
    p, n = told.element, told.numbers
    place, o = p.place, p.outcome
    over, over_negative = o.over + e * n.over_step, o.over_negative + e * n.over_negative_step
    return Plan(
        Placement(
            place.drop, place.least + e, place.rebias - e, place.fraction_bits, place.flush,
            place.longest,
        ),
        Outcome(
            o.keep, o.sign, o.void, o.void_negative, o.zero, o.zero_negative, over, over_negative,
            over, over_negative, o.nan, o.nan_negative,
        ),
        p.largest + e * n.step, p.tiny + e * n.step, p.key, p.random_bits, p.beyond + e,
    )  # fmt: skip
