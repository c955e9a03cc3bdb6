"""L1: instructions that Numba has no word for, on vectors and around the caches.

A loop of few rounds, such as one over a block, is not worth a vector to LLVM; the largest of a
vector and a filled one are vectors by themselves. Streamed lines go straight to memory: a store
through the caches first reads what it is about to overwrite, which costs a copy almost half its
time (Intel 64 and IA-32 Optimization Reference Manual, non-temporal stores).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# Numba's extension API carries no types of its own; these functions run inside its compiler.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

WIDTH = 16  # elements of a vector
LINE = 64  # bytes of a cache line


@intrinsic
def largest_magnitude(typingctx, patterns, start):
    """The largest of WIDTH patterns from ``start`` on, their signs dropped."""
    if not isinstance(patterns, types.Array) or not isinstance(patterns.dtype, types.Integer):
        return None
    bits = patterns.dtype.bitwidth

    def codegen(context, builder, signature, args):
        vector = ir.VectorType(ir.IntType(bits), WIDTH)
        place = _place(context, builder, signature.args, args, vector)
        loaded = builder.load(place, align=bits // 8)
        magnitudes = builder.and_(loaded, ir.Constant(vector, [(1 << (bits - 1)) - 1] * WIDTH))
        reduce = ir.FunctionType(vector.element, [vector])
        name = f"llvm.vector.reduce.smax.v{WIDTH}i{bits}"
        called = cgutils.get_or_insert_function(builder.module, reduce, name)
        return builder.call(called, [magnitudes])

    return patterns.dtype(patterns, types.int64), codegen


@intrinsic
def magnitude_of(typingctx, pattern):
    """A pattern, its sign dropped, of the same integer type (Numba would widen it)."""

    def codegen(context, builder, signature, args):
        return builder.and_(args[0], ir.Constant(args[0].type, (1 << (pattern.bitwidth - 1)) - 1))

    return pattern(pattern), codegen


@intrinsic
def fill_vector(typingctx, array, start, value):
    """Write ``value`` to WIDTH elements from ``start`` on."""
    if not isinstance(array, types.Array):
        return None

    def codegen(context, builder, signature, args):
        given = args[2]
        vector = ir.VectorType(given.type, WIDTH)
        place = _place(context, builder, signature.args, args, vector)
        nothing, lanes = ir.Constant(vector, ir.Undefined), ir.VectorType(ir.IntType(32), WIDTH)
        first = builder.insert_element(nothing, given, ir.Constant(ir.IntType(32), 0))
        every = builder.shuffle_vector(first, nothing, ir.Constant(lanes, [0] * WIDTH))
        builder.store(every, place, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(array, types.int64, array.dtype), codegen


@intrinsic
def stream_line(typingctx, source, start, target, first):
    """Copy a cache line from ``source[start:]`` to ``target[first:]``, past the caches.

    The line of the target must begin at a multiple of LINE; both arrays are of one dtype.
    """
    if not isinstance(target, types.Array) or source.dtype != target.dtype:
        return None
    size = target.dtype.bitwidth // 8

    def codegen(context, builder, signature, args):
        element = context.get_data_type(target.dtype)
        vector = ir.VectorType(element, LINE // size)
        kinds = signature.args
        given = _place(context, builder, kinds[:2], args[:2], vector)
        place = _place(context, builder, kinds[2:], args[2:], vector)
        stored = builder.store(builder.load(given, align=size), place, align=LINE)
        hint = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
        stored.set_metadata("nontemporal", hint)
        return context.get_dummy_value()

    return types.none(source, types.int64, target, types.int64), codegen


@intrinsic
def fetch_line(typingctx, array, start):
    """Ask for the cache line of ``array[start]``, which will be read soon."""
    if not isinstance(array, types.Array):
        return None

    def codegen(context, builder, signature, args):
        element = context.get_data_type(array.dtype)
        place = _place(context, builder, signature.args, args, element)
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        name = "llvm.prefetch.p0i8"
        fetch = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        to_read, to_second_cache, of_data = (ir.Constant(number, n) for n in (0, 2, 1))
        builder.call(fetch, [builder.bitcast(place, byte), to_read, to_second_cache, of_data])
        return context.get_dummy_value()

    return types.none(array, types.int64), codegen


@intrinsic
def fence(typingctx):
    """Wait until all that was streamed can be seen by other threads."""

    def codegen(context, builder, signature, args):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.none(), codegen


def _place(context: Any, builder: Any, kinds: Any, args: Any, vector: Any) -> Any:
    """The address of an array's element as that of a vector."""
    array = context.make_array(kinds[0])(context, builder, args[0])
    return builder.bitcast(builder.gep(array.data, [args[1]]), vector.as_pointer())


@intrinsic
def fused(typingctx, a, b, c):
    """A × b + c of float64, rounded once (IEEE 754-2019 §5.4.1)."""

    def codegen(context, builder, signature, args):
        return builder.fma(*args)

    return types.float64(types.float64, types.float64, types.float64), codegen
