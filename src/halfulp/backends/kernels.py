"""L1: the loops over arrays, compiled by Numba from the same function texts that Python ints run.

A kernel is compiled once per source width, rounding and kind of result; the format comes as plain
ints at run time. Kernels release the GIL and know where in the array they start, so that any
number of threads gives the same bits.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable
from functools import cache
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.extending import register_jitable

from halfulp import carrier, noise, rounding
from halfulp.backends import lanes
from halfulp.backends.lanes import float_field, lane, unlane
from halfulp.carrier import Outcome, Placement, placement
from halfulp.casting import Cast, number_code, outcome
from halfulp.catalogue import Format, format
from halfulp.exact import finite, number

for _function in (
    rounding.round_off, rounding.clamp, rounding.chance_of, *rounding.DECISIONS.values(),
    carrier.convert, carrier.drop_of, carrier.settle, carrier.choose,
    noise.random_word, noise.mix,
):  # fmt: skip
    register_jitable(_function)


def _fingerprint(*modules: ModuleType) -> str:
    """A hash of the texts a kernel is compiled from, so that no stale kernel is found on disk."""
    texts = "".join(inspect.getsource(module) for module in modules)
    return hashlib.sha256(texts.encode()).hexdigest()


RULE_TEXTS = _fingerprint(rounding, carrier, noise, lanes, sys.modules[__name__])


def compiled(loop: Callable[..., Any], name: str, one: Any) -> Any:
    """A loop compiled around ``one``, the body it names, and kept on disk where possible.

    Numba keys what it keeps on disk by a function's name and code, but not by the globals it uses
    (and by closures only within one process). So each kernel gets a name of its own, made of what
    it was specialised for and of the texts it came from.
    """
    kernel = FunctionType(loop.__code__, {**loop.__globals__, "one": one})
    kernel.__qualname__ = kernel.__name__ = f"{name}_{RULE_TEXTS[:16]}"
    try:
        return numba.njit(nogil=True, cache=True)(kernel)
    except RuntimeError:  # Numba found no folder it may write to: compile for this process alone
        return numba.njit(nogil=True)(kernel)


#: What a loop calls for each element; :func:`compiled` puts it in place.
one: Any = None


class Source(NamedTuple):
    """How the bits of a native float lie, and the carrier its kernels compute on."""

    name: str
    format: Format
    bits: type[np.signedinteger[Any]]
    widen: Callable[..., Any]  # a pattern as the carrier
    store: Callable[..., Any]  # and back
    longest: int  # shift that leaves room for the rule's doubling of what is dropped


@register_jitable
def _same(value):  # type: ignore[no-untyped-def]  # Numba infers it
    return value


FLOAT32 = Source("float32", format("float32"), np.int32, lane, unlane, 30)
FLOAT32_IN_64_BITS = Source("float32_in_64", format("float32"), np.int32, np.int64, np.int32, 62)
FLOAT64 = Source("float64", format("float64"), np.int64, np.int64, _same, 62)


def source_of(native: Format, cast: Cast) -> Source | None:
    """The source whose carrier holds every step of a cast from float32 or float64, or None."""
    largest_field = native.emax + cast.target.bias + 1
    bits = (largest_field << cast.target.fraction_bits).bit_length()
    if native.precision < cast.target.precision or bits > 63:
        return None
    if native == FLOAT64.format:
        return FLOAT64
    # 32 random bits and the whole they are a share of need more than 32 bits themselves.
    return FLOAT32 if bits <= 31 and not cast.is_stochastic else FLOAT32_IN_64_BITS


class Plan(NamedTuple):
    """Everything a kernel needs to know of a cast, as ints."""

    place: Placement
    outcome: Outcome
    max_code: int
    tiny: int  # the least positive number, as a pattern of the source
    key: noise.Key
    random_bits: int


def plan(cast: Cast, source: Source, seed: int, *, codes: bool) -> Plan:
    """A cast from a native float as ints for its kernel."""
    native = source.format
    container = cast.target if codes else native
    return Plan(
        placement(cast.target, native.precision, native.bias, source.longest),
        Outcome(*map(_signed, outcome(cast, container))),
        cast.target.max_code,
        number_code(native, finite(cast.target.least_positive)),
        noise.key_of(seed),
        cast.random_bits,
    )


def _signed(pattern: int) -> int:
    """A 64-bit pattern as the int64 of the same bits."""
    return pattern - (1 << 64) if pattern >= 1 << 63 else pattern


def cast_kernel(cast: Cast, source: Source, *, codes: bool) -> Any:
    """The kernel of a cast: ``(bits in, patterns out, index of the first element, plan)``."""
    # Where the target goes below the source's least normal number, subnormals are normalised first.
    reaches_below = cast.target.emin < source.format.emin
    return _cast_kernel(source, cast.rounding, codes, reaches_below)


@cache
def _cast_kernel(source: Source, rounding_name: str, codes: bool, normalise: bool) -> Any:
    traits = (source.name, rounding_name, "codes" if codes else "values", f"n{normalise:d}")
    return compiled(
        _cast_loop, "cast_" + "_".join(traits), cast_one(source, rounding_name, codes, normalise)
    )


def _cast_loop(bits, out, first, plan):  # type: ignore[no-untyped-def]  # Numba infers them
    for i in range(bits.size):
        out[i] = one(bits[i], first + i, plan)


@cache
def cast_one(source: Source, rounding_name: str, codes: bool, normalise: bool) -> Any:
    """The cast of one bit pattern, for kernels to call: ``(pattern, index of its noise, plan)``.

    The arguments of this factory are resolved when a kernel is compiled.
    """
    decide = rounding.DECISIONS[rounding_name]
    drawn = rounding_name == "stochastic"
    widen, store, longest = source.widen, source.store, source.longest
    fraction_bits = source.format.fraction_bits
    infinity = number_code(source.format, number("inf"))
    magnitude_mask = (1 << source.format.magnitude_bits) - 1

    @register_jitable
    def cast_pattern(bits, index, plan):  # type: ignore[no-untyped-def]  # Numba infers them
        pattern = widen(bits)
        negative = widen(pattern < 0)
        magnitude = pattern & magnitude_mask
        field = magnitude >> fraction_bits
        field = field + (field == 0)
        significand = magnitude - ((field - 1) << fraction_bits)
        lift = widen(0)
        if normalise:
            lift = (fraction_bits - float_field(significand)) * (significand != 0)
        exponent = field - lift
        significand = significand << lift
        chance = None
        if drawn:
            drop = carrier.drop_of(exponent, plan.place)
            word = noise.random_word(plan.key, index) >> (32 - plan.random_bits)
            chance = rounding.chance_of(word, plan.random_bits, drop, longest)
        step = carrier.convert(negative, exponent, significand, plan.place, chance, decide)
        result = step.code
        if not codes:
            result = (step.rule.rounded << step.shift >> lift) + ((field - 1) << fraction_bits)
            result = carrier.choose(step.shift > fraction_bits + 1, plan.tiny, result)
        return store(
            carrier.settle(
                result,
                negative,
                step.rule.rounded == 0,
                magnitude == 0,
                step.code > plan.max_code,
                magnitude == infinity,
                magnitude > infinity,
                plan.outcome,
            )
        )

    return cast_pattern
