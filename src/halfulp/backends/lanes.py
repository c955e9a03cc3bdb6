"""L1: a 32-bit integer for Numba, so that float32 kernels fill their vector registers.

Numba widens int32 arithmetic to int64, which halves the speed of every loop over float32 bits.
This type does not widen: its operators are the machine's 32-bit instructions, and the rule's text
runs on it unchanged. Plain ints and booleans that meet a lane become lanes.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, overload, register_model

# Numba's extension API carries no types of its own; these functions run inside its compiler.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

WORD = ir.IntType(32)


class Lane(types.Type):  # type: ignore[misc]  # Numba is untyped here
    """The Numba type of a 32-bit lane."""

    def __init__(self) -> None:
        super().__init__(name="halfulp.lane")


LANE = Lane()


@register_model(Lane)
class _LaneModel(models.PrimitiveModel):  # type: ignore[misc]  # Numba is untyped here
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, WORD)


@intrinsic
def lane(typingctx, value):
    """An int or boolean as a lane; its upper bits are cut off."""
    if not isinstance(value, (types.Integer, types.Boolean, Lane)):
        return None

    def codegen(context, builder, signature, args):
        (given,) = args
        if given.type.width < 32:
            extend = builder.zext if isinstance(value, types.Boolean) else builder.sext
            return extend(given, WORD)
        return given if given.type.width == 32 else builder.trunc(given, WORD)

    return LANE(value), codegen


@intrinsic
def unlane(typingctx, value):
    """A lane as an ordinary int32."""
    if value != LANE:
        return None
    return types.int32(LANE), lambda context, builder, signature, args: args[0]


@intrinsic
def float_field(typingctx, value):
    """The unbiased exponent field of an integer converted to a float that holds it exactly."""
    if value == LANE:
        real, bits, fraction, bias = ir.FloatType(), WORD, 23, 127
    elif isinstance(value, types.Integer):
        real, bits, fraction, bias = ir.DoubleType(), ir.IntType(64), 52, 1023
    else:
        return None

    def codegen(context, builder, signature, args):
        pattern = builder.bitcast(builder.sitofp(args[0], real), bits)
        field = builder.lshr(pattern, ir.Constant(bits, fraction))
        return builder.sub(field, ir.Constant(bits, bias))

    return value(value), codegen


def _on_floats(emit):
    """An operation on two floats that are given and answered as patterns."""

    @intrinsic
    def apply(typingctx, a, b):
        if LANE in (a, b):
            common, real, bits = LANE, ir.FloatType(), WORD
        else:
            common, real, bits = types.int64, ir.DoubleType(), ir.IntType(64)

        def codegen(context, builder, signature, args):
            x, y = (builder.bitcast(arg, real) for arg in args)
            return builder.bitcast(emit(builder, x, y), bits)

        return common(common, common), codegen

    return apply


# Rounded to nearest even, as every thread starts (IEEE 754-2019 §4.3.1).
float_add = _on_floats(lambda builder, a, b: builder.fadd(a, b))
float_subtract = _on_floats(lambda builder, a, b: builder.fsub(a, b))


def _counting(emit):
    """A count of bits of an integer, as the same type."""

    @intrinsic
    def count(typingctx, value):
        if value != LANE and not isinstance(value, types.Integer):
            return None
        return value(value), lambda context, builder, sig, args: emit(builder, args[0])

    return count


_NEVER_ZERO = ir.Constant(ir.IntType(1), 1)
# How many low bits of a nonzero integer are 0; how many high bits are 1, where not all are; bits.
trailing_zeros = _counting(lambda builder, value: builder.cttz(value, _NEVER_ZERO))
leading_ones = _counting(lambda builder, value: builder.ctlz(builder.not_(value), _NEVER_ZERO))
ones_of = _counting(lambda builder, value: builder.ctpop(value))


@intrinsic
def wide_vectors(typingctx):
    """Ask for vectors of 512 bits in the function that calls it, where the processor has them.

    LLVM prefers 256 bits on most of these processors, which suits code that seldom runs; loops over
    whole arrays gain about a third from the wider ones.
    """

    def codegen(context, builder, signature, args):
        # llvmlite knows no attributes with values; its set is printed as it stands.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), codegen


@intrinsic
def inlined(typingctx):
    """Have the function that calls it put in place, whatever LLVM thinks of its size."""

    def codegen(context, builder, signature, args):
        builder.function.attributes.add("alwaysinline")
        return context.get_dummy_value()

    return types.none(), codegen


def _operator(symbol, result, emit):
    @intrinsic
    def apply(typingctx, a, b):
        return result(LANE, LANE), lambda context, builder, sig, args: emit(builder, *args)

    @overload(symbol)
    def typed(a, b):
        if LANE not in (a, b):
            return None
        if not all(isinstance(t, (Lane, types.Integer, types.Boolean)) for t in (a, b)):
            return None

        def lanes(a, b):
            return apply(lane(a), lane(b))

        lanes.__qualname__ = f"lane_{symbol.__name__}"  # see symbols.py
        return lanes


def _define_operators() -> None:
    arithmetic = {
        operator.add: "add", operator.sub: "sub", operator.mul: "mul", operator.and_: "and_",
        operator.or_: "or_", operator.xor: "xor", operator.lshift: "shl", operator.rshift: "ashr",
    }  # fmt: skip
    for symbol, name in arithmetic.items():
        _operator(symbol, LANE, lambda builder, a, b, name=name: getattr(builder, name)(a, b))
    comparisons = {
        operator.lt: "<", operator.le: "<=", operator.gt: ">", operator.ge: ">=",
        operator.eq: "==", operator.ne: "!=",
    }  # fmt: skip
    for symbol, sign in comparisons.items():
        _operator(
            symbol, types.boolean,
            lambda builder, a, b, sign=sign: builder.icmp_signed(sign, a, b),
        )  # fmt: skip


_define_operators()
