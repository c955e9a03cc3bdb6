"""L1: casts on whole integer arrays, for frameworks that compile for themselves (torch, JAX).

A framework gives its carriers, and arrays of codes widened to one; here is what happens in between:
the codes are read as patterns of float32 or float64, the rule decides, and what came from a
narrower dtype goes back into it. It is all written in the dialect of ``rounding.py``, on integers,
since frameworks flush the subnormals of floats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any, NamedTuple

from halfulp.backends.kernels import PLAN, flattened, unflattened
from halfulp.carrier import choose
from halfulp.casting import Cast, cast_to, number_code
from halfulp.catalogue import Format, NanStyle
from halfulp.exact import number
from halfulp.noise import Key
from halfulp.patterns import Carrier, Shape, fits, pattern_cast, plan, shape_of
from halfulp.rounding import at_most, positive


class Job(NamedTuple):
    """One cast on the way, answering with codes or with patterns of the carrier's float."""

    cast: Cast
    codes: bool


class Course(NamedTuple):
    """What the code of a road is made of."""

    carrier: Carrier
    source: Format | None
    decodes: bool
    shapes: tuple[Shape, ...]


@dataclass(frozen=True, eq=False)
class Road:
    """How codes of a format become codes of another: carrier, what is read, and casts in order."""

    carrier: Carrier
    source: Format | None  # None where the codes are patterns of the carrier's float already
    jobs: tuple[Job, ...]
    decodes: bool = False  # codes are read as halfulp does, else as ml_dtypes: see reading

    @cached_property
    def course(self) -> Course:
        """The road without what depends on the formats cast to: what compilers see."""
        shapes = [shape_of(job.cast, self.carrier, codes=job.codes) for job in self.jobs]
        return Course(self.carrier, self.source, self.decodes, tuple(shapes))

    def ints(self, seed: int) -> list[int]:
        """The plans of all casts in a row; the seed is the first one's."""
        plans = [
            plan(job.cast, self.carrier, 0 if step else seed, codes=job.codes)
            for step, job in enumerate(self.jobs)
        ]
        return [int(part) for each in plans for part in flattened(each)]


@lru_cache(maxsize=1024)
def cast_road(
    carriers: tuple[Carrier, ...], source: Format, cast: Cast, codes: bool
) -> Road | None:
    """The road of a cast of a dtype, by the first carrier that holds every step; None if none."""
    for carrier in carriers:
        if carrier.source.holds(source) and fits(cast, carrier.source, carrier.bits):
            if source == carrier.source:
                return Road(carrier, None, (Job(cast, codes),))
            back = () if codes else (Job(cast_to(source), True),)
            return Road(carrier, source, (Job(cast, codes), *back))
    return None


@lru_cache(maxsize=256)
def decode_road(carriers: tuple[Carrier, ...], source: Format, result: Format) -> Road | None:
    """The road from the codes of a format to a dtype that holds its numbers; None if none."""
    cast = cast_to(result)
    for carrier in carriers:
        if carrier.source.holds(source) and fits(cast, carrier.source, carrier.bits):
            jobs = () if result == carrier.source else (Job(cast, True),)
            return Road(carrier, source, jobs, decodes=True)
    return None


@cache
def travel(course: Course) -> Callable[..., Any]:
    """A road's own text: ``(codes, low and high word of their index, ints, key or None)``.

    A key takes the place of the one in the ints, for seeds that are only known when it runs.
    """
    carrier, source, decodes, shapes = course
    read = None if source is None else reading(carrier, source, decodes)
    casts = [pattern_cast(carrier, shape) for shape in shapes]

    def run(code: Any, low: Any, high: Any, ints: Sequence[Any], key: Key | None = None) -> Any:
        made = code if read is None else read(code)
        for step, one in enumerate(casts):
            planned = unflattened(ints[step * PLAN : step * PLAN + PLAN])
            if key is not None:
                planned = planned._replace(key=key)
            made = one(made, low, high, planned)
        return made

    return run


def reading(carrier: Carrier, source: Format, decodes: bool) -> Callable[[Any], Any]:
    """What a code means, as a pattern of the carrier's float, which has to hold the format.

    It is the straight line of catalogue.py backwards. Of a code with more bits than the format has,
    the low ones count. NaN in the place of -0 has no sign where codes are decoded, and a minus
    where they are an array of that dtype, as ml_dtypes has it.
    """
    widen, float_field, container = carrier.widen, carrier.float_field, carrier.source
    fraction_bits, least = source.fraction_bits, source.least_field
    lead = container.fraction_bits - fraction_bits
    rebias = container.bias - source.bias
    mask = (1 << source.magnitude_bits) - 1
    flushes = source.zero and not source.subnormals
    lifts = source.zero and source.subnormals and fraction_bits > 0
    sinks = source.least_quantum_exponent < container.emin
    nan = number_code(container, number("nan"))
    special = number_code(container, number("inf")) if source.infinities else nan
    sign = -(1 << (carrier.bits - 1))

    def read(code: Any) -> Any:
        magnitude = code & mask
        field = magnitude >> fraction_bits
        place = field + widen(field < least)
        significand = magnitude - ((place - 1) << fraction_bits)
        if flushes:
            significand = significand * widen(field >= least)
        present = widen(significand != 0)
        if lifts:
            lift = (fraction_bits - float_field(significand)) * present
            place = place - lift
            significand = significand << lift
        place = place + rebias
        pattern = significand << lead
        if sinks:  # below the least normal number of the float
            below = at_most(positive(1 - place), carrier.longest)
            place = place + below
            pattern = pattern >> below
        pattern = (pattern + ((place - 1) << container.fraction_bits)) * present
        pattern = choose(magnitude > source.max_code, special, pattern)
        if source.infinities:
            pattern = choose(magnitude > source.max_code + 1, nan, pattern)
        if not source.signed:
            return pattern
        negative = (code >> source.magnitude_bits) & 1
        signed = negative if source.signed_zero else negative * widen(pattern != 0)
        pattern = pattern | (signed * sign)
        if source.nan is NanStyle.NEGATIVE_ZERO:
            replaced = nan if decodes else nan + sign
            pattern = choose(negative * widen(magnitude == 0), replaced, pattern)
        return pattern

    return read
