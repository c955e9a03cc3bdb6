"""L1: the loops over blocks of elements that share a scale.

An array is seen as (outer, n, inner) around the axis of its blocks: ``inner`` blocks side by side
are a group, which is one stretch of memory. What fits the first cache is done at a time, in four
steps: the largest magnitude of each block; from that its scale; the scale beside each element,
while the next chunk is asked for; the elements. Only the first sees blocks, the last is a loop over
elements as any other cast. :mod:`~halfulp.backends.block_powers` and
:mod:`~halfulp.backends.block_quotients` have the steps of the two kinds of scales.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import numpy as np

from halfulp.backends import block_powers, block_quotients, block_steps, references, vectors
from halfulp.backends.block_powers import powers, shifted_apply
from halfulp.backends.block_quotients import divisors, inverses, odd_apply, snapped_apply
from halfulp.backends.block_steps import NAN, Parts, Traits, loading, told_of
from halfulp.backends.kernels import (
    FLOAT64,
    STREAMED,
    compiled,
    fingerprint,
    head_of,
    named,
)
from halfulp.backends.lanes import wide_vectors
from halfulp.backends.references import borrowed, keep
from halfulp.backends.symbols import jitable
from halfulp.backends.vectors import (
    LINE,
    WIDTH,
    fence,
    fetch_line,
    fill_vector,
    largest_magnitude,
    magnitude_of,
    stream_line,
)

# Numba infers the types of what follows.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

CHUNK = 1 << 11  # elements that are done at a time
COLUMNS = 1 << 9  # blocks side by side that are, where a group is larger than that

_STEPS = (block_steps, block_powers, block_quotients)
_TEXTS = fingerprint(*_STEPS, references, vectors, sys.modules[__name__])[:16]

#: What the loops call; compiled() puts it in place.
one: Any = None


@cache
def block_kernel(traits: Traits) -> Any:
    """The cast of whole blocks: see :func:`_loop` for its arguments."""
    shapes = (traits.element, traits.scale, traits.back)
    parts = [named(traits.carrier, shape) if shape else "no" for shape in shapes]
    name = "_".join(["blocks", *parts, traits.memory, str(int(traits.large)), _TEXTS])
    make = _large if traits.large else _small
    return compiled(_loop, name, make(_casting(traits)))


@cache
def decode_kernel(large: bool) -> Any:
    """``out = values of the codes x × values of the scales``, with the arguments of _loop."""
    make = _large if large else _small
    return compiled(_loop, f"decode_blocks_{int(large)}_{_TEXTS}", make(_decoding()))


def _loop(start, end, first, x, out, scales, plans, numbers, reals, inputs, values):
    # Units of work from start to end: groups, or parts of groups where these are large.
    one(start, end, first, x, out, scales, plans, numbers, reals, inputs, values)


@cache
def largest_kernel() -> Any:
    """``(patterns, that of infinity) -> the largest finite magnitude's pattern``."""
    return compiled(_largest_loop, f"largest_{_TEXTS}")


def _largest_loop(patterns, infinity):
    wide_vectors()
    top, vectors_end = 0, patterns.size // WIDTH * WIDTH
    for i in range(0, vectors_end, WIDTH):
        top = max(top, largest_magnitude(patterns, i))
    for i in range(vectors_end, patterns.size):
        top = max(top, magnitude_of(patterns[i]))
    if top < infinity:
        return top
    top = 0  # one that is not finite: find the largest that is
    for i in range(patterns.size):
        magnitude = magnitude_of(patterns[i])
        top = magnitude if (magnitude > top) & (magnitude < infinity) else top
    return top


# How work is divided. Loops run over slices from 0: where an index might be negative, Numba
# gathers.


def _small(parts: Parts) -> Any:
    """As many groups at a time as there is room for."""
    integer, load, larger, choose, apply, ones_dtype, others_dtype = parts
    both = others_dtype is not None
    others_dtype = others_dtype or np.uint8

    @jitable
    def body(group, end, first, x, out, scales, plans, numbers, reals, inputs, values):
        wide_vectors()
        told = told_of(plans, numbers, reals, inputs, values)
        size, n = told.numbers.size, told.numbers.n
        count, inner = told.numbers.in_axis, told.numbers.inner
        at_once = max(1, CHUNK // (size * inner))
        blocks, room = at_once * inner, at_once * inner * size
        x, out, scales = borrowed(x), borrowed(out), borrowed(scales)
        owned = (
            np.empty(at_once + 1, np.int64), np.empty(blocks, integer),
            np.empty(blocks, ones_dtype), np.empty(room, ones_dtype),
            np.empty(blocks, others_dtype), np.empty(room, others_dtype),
            np.empty((3, room), integer), np.empty(room, out.dtype),
        )  # fmt: skip
        bounds, tops, ones, each = _borrowed(owned[:4])
        others, beside, scratch, buffer = _borrowed(owned[4:])
        streams, is_ragged = out.size * out.itemsize >= STREAMED, n % size != 0
        for k in range(bounds.size):
            bounds[k] = k * size * inner
        while group < end:
            groups, block = min(at_once, end - group), group % count
            start = (group // count * n + block * size) * inner
            if is_ragged:
                for k in range(groups):
                    is_last = block == count - 1
                    bounds[k + 1] = bounds[k] + (n - block * size if is_last else size) * inner
                    block = 0 if is_last else block + 1
            length, blocks = bounds[groups], groups * inner
            patterns = load(x, start, start + length, scratch[0], told)
            tops[:] = 0
            ends = bounds[: groups + 1]
            larger(patterns, ends, tops, inner)
            begin = group * inner
            befallen = choose(
                tops[:blocks], ones[:blocks], others[:blocks], scales[begin : begin + blocks], told
            )
            _spread(ones, others, both, inner, each, beside, ends, x, start + length)
            target = buffer[:length] if streams else out[start : start + length]
            apply(
                patterns, each[:length], beside[:length], target, first + start, befallen, scratch,
                told,
            )  # fmt: skip
            if befallen & NAN:
                for k in range(groups):
                    _void(tops, k * inner, inner, target, bounds[k], bounds[k + 1], told)
            if streams:
                _stream(target, out[start : start + length])
            group += groups
        keep(owned)
        fence()

    return body


def _large(parts: Parts) -> Any:
    """A part of a group at a time: some of its columns, and all their rows, by batches."""
    integer, load, larger, choose, apply, ones_dtype, others_dtype = parts
    both = others_dtype is not None
    others_dtype = others_dtype or np.uint8

    @jitable
    def body(unit, end, first, x, out, scales, plans, numbers, reals, inputs, values):
        wide_vectors()
        told = told_of(plans, numbers, reals, inputs, values)
        size, n = told.numbers.size, told.numbers.n
        count, inner = told.numbers.in_axis, told.numbers.inner
        width = min(inner, COLUMNS)
        in_group = (inner + width - 1) // width
        rows = max(1, CHUNK // inner) if width == inner else 1
        room, tops = rows * width, np.empty(width, integer)
        ones, each = np.empty(width, ones_dtype), np.empty(room, ones_dtype)
        others, beside = np.empty(width, others_dtype), np.empty(room, others_dtype)
        scratch, bounds = np.empty((3, room), integer), np.zeros(2, np.int64)
        while unit < end:
            group, left = unit // in_group, unit % in_group * width
            block, columns = group % count, min(width, inner - left)
            length = min(size, n - block * size)
            base = (group // count * n + block * size) * inner + left
            tops[:] = 0
            for row in range(0, length, rows):
                start, height = base + row * inner, min(rows, length - row)
                patterns = load(x, start, start + height * columns, scratch[0], told)
                bounds[1] = patterns.size
                larger(patterns, bounds, tops, columns)
            begin = group * inner + left
            befallen = choose(
                tops[:columns], ones[:columns], others[:columns],
                scales[begin : begin + columns], told,
            )  # fmt: skip
            bounds[1] = rows * columns
            _spread(ones, others, both, columns, each, beside, bounds, x, base)
            for row in range(0, length, rows):
                start, height = base + row * inner, min(rows, length - row)
                patterns = load(x, start, start + height * columns, scratch[0], told)
                target = out[start : start + patterns.size]
                apply(
                    patterns, each[: patterns.size], beside[: patterns.size], target,
                    first + start, befallen, scratch, told,
                )  # fmt: skip
                if befallen & NAN:
                    _void(tops, 0, columns, target, 0, target.size, told)
            unit += 1

    return body


@jitable
def _borrowed(four):
    return borrowed(four[0]), borrowed(four[1]), borrowed(four[2]), borrowed(four[3])


# Groups are looped over here: a call for each would take as long as a block does.


@jitable
def _larger(patterns, bounds, tops, width):
    """The largest magnitude so far of each block: ``width`` of them between two bounds."""
    wide_vectors()
    for k in range(bounds.size - 1):
        start, end = bounds[k], bounds[k + 1]
        if width == 1:
            top, vectors_end = tops[k], start + (end - start) // WIDTH * WIDTH
            for i in range(start, vectors_end, WIDTH):
                top = max(top, largest_magnitude(patterns, i))
            for i in range(vectors_end, end):
                top = max(top, magnitude_of(patterns[np.uint64(i)]))
            tops[k] = top
            continue
        at = np.uint64(k * width)
        for row in range(start, end, width):
            for i in range(np.uint64(width)):
                magnitude = magnitude_of(patterns[np.uint64(row) + i])
                tops[at + i] = max(tops[at + i], magnitude)


@jitable
def _spread(ones, others, both, width, each, beside, bounds, x, ahead):
    """What belongs to each block beside each of its elements; asks for ``x[ahead:]`` meanwhile."""
    wide_vectors()
    for k in range(bounds.size - 1):
        start, end = bounds[k], bounds[k + 1]
        if width == 1:
            one, other, vectors_end = ones[k], others[k], start + (end - start) // WIDTH * WIDTH
            for i in range(start, vectors_end, WIDTH):
                fill_vector(each, i, one)
                if both:
                    fill_vector(beside, i, other)
                fetch_line(x, ahead + i)
            for i in range(vectors_end, end):
                each[np.uint64(i)] = one
                if both:
                    beside[np.uint64(i)] = other
            continue
        at = np.uint64(k * width)
        for begin in range(start, end, width):
            for i in range(np.uint64(width)):
                each[np.uint64(begin) + i] = ones[at + i]
            if both:
                for i in range(np.uint64(width)):
                    beside[np.uint64(begin) + i] = others[at + i]


@jitable
def _stream(made, out):
    """What was made to where it belongs, past the caches; lines that are cut go through them."""
    line = LINE // out.itemsize
    start = head_of(out)
    end = start + (out.size - start) // line * line
    for i in range(start):
        out[i] = made[i]
    for i in range(start, end, line):
        stream_line(made, i, out, i)
    for i in range(end, out.size):
        out[i] = made[i]


@jitable
def _void(tops, at, width, out, start, end, told):
    """Every element of a block that is not finite is the same."""
    for row in range(start, end, width):
        for i in range(width):
            if tops[at + i] >= told.numbers.infinity:
                out[row + i] = told.numbers.nan


# Steps together.


def _casting(t: Traits) -> Parts:
    integer, real = (np.int64, np.float64) if t.carrier is FLOAT64 else (np.int32, np.float32)
    load = loading(t)
    if t.scale is None:
        return Parts(integer, load, _larger, powers(real), shifted_apply(t, real), integer)
    if t.carrier is FLOAT64:
        return Parts(integer, load, _larger, divisors(t.scale), odd_apply(t), np.float64)
    choose, apply = inverses(t.scale, t.element), snapped_apply(t)
    return Parts(integer, load, _larger, choose, apply, np.float32, np.float32)


def _decoding() -> Parts:
    @jitable
    def load(x, start, end, scratch, told):
        return x[start:end]

    @jitable
    def choose(tops, ones, others, scales, told):
        for k in range(scales.size):
            ones[k] = told.values[scales[k]] * told.reals[1]
        return 0

    @jitable
    def apply(codes, factors, unused, out, first, befallen, scratch, told):
        wide_vectors()
        for i in range(codes.size):
            out[i] = told.inputs[codes[i]] * factors[i]

    @jitable
    def no_larger(codes, bounds, tops, width):
        pass

    return Parts(np.uint8, load, no_larger, choose, apply, np.float64)
