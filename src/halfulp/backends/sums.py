"""L1: sums of products over arrays, rounded to an accumulator's format at every step.

Everything is a product of matrices, x (M, K) by y (K, N): a sum has ones for x, a dot product one
row and one column. Tiles of the operands become float64, and the kernels take them in the order of
the scheme. Each output is computed by itself, so threads change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from halfulp.backends.exact_sums import DIGIT, blocks_of
from halfulp.backends.kernels import FLOAT64
from halfulp.backends.numpy import in_threads
from halfulp.backends.operations import wide
from halfulp.backends.steps import Steps, final_steps, steps_of, zero_of
from halfulp.casting import cast_to
from halfulp.catalogue import Format, power_of_two
from halfulp.errors import HalfulpError
from halfulp.exact import Number, finite, number
from halfulp.orders import Scheme, Trace

Array = npt.NDArray[Any]

# What goes through the kernels together: float64 tiles that stay in the second-level cache.
COLUMNS, ELEMENTS, ROWS = 256, 1 << 14, 16


class Matrix(NamedTuple):
    """An operand of any float dtype, and the format that its values lie in."""

    values: Array
    format: Format


def contract(x: Matrix | None, y: Matrix, scheme: Scheme, first: int = 0) -> Array:
    """The sums over k of x[i, k] × y[k, j], or of y[k, j], as float64s that the target has.

    ``first`` is the index of the first output, for the noise. Raises HalfulpError where the random
    bits of a stochastic rounding do not fit.
    """
    terms, columns = y.values.shape
    sums = np.full((1 if x is None else len(x.values), columns), start_of(scheme))
    run = {"sequential": _sequential, "pairwise": _pairwise, "blocked": _blocked}[scheme.order]
    part = run(x, y, sums, scheme, first)
    if terms and sums.size:
        _over_outputs(sums.shape, terms, part)
    return finished(sums if terms else np.zeros(sums.shape), terms, scheme, first)


def running(y: Matrix, scheme: Scheme) -> Array:
    """The running sums down the columns of y, each rounded to the target, as float64s."""
    sums, values = np.full(y.values.shape[1], start_of(scheme)), np.empty(y.values.shape)
    steps = steps_of(None, y.format, scheme)

    def part(rows: slice, columns: slice) -> None:
        for terms, few in _tiles(len(values), columns):
            ones, block = _factors(None, rows, terms)[0], wide_tile(y.values[terms, few])
            values[terms, few] = steps.follow(ones, block, sums[few], few.start, terms.start)

    if values.size:
        _over_outputs((1, sums.size), len(values), part)
    return finished(values, len(values), scheme)


def finished(sums: Array, terms: int, scheme: Scheme, first: int = 0) -> Array:
    """Sums rounded to the target; ``terms`` is the index of the noise that each draws."""
    start = zero_of(scheme.target.rounding == "down")
    results, once = np.full((1, sums.size), start), np.ones((1, 1))
    steps = final_steps(scheme.target, scheme.seed)
    steps.add(once, sums.reshape(1, -1), results, first, sums.size, terms)
    return results.reshape(sums.shape)


def start_of(scheme: Scheme) -> float:
    """The zero that sums start from; HalfulpError where float64 does not hold the sums."""
    casts = (scheme.target, scheme.accumulate, scheme.product)
    for target in (cast.target for cast in casts if cast is not None):
        if not FLOAT64.source.holds(target):
            raise HalfulpError(
                f"{target} is wider than float64, in which arrays are summed: give a list"
            )
    return zero_of(not scheme.negative_start)


# By order: each gives what computes some rows and columns of the outputs.

Part = Callable[[slice, slice], None]


def _over_outputs(shape: tuple[int, ...], terms: int, part: Part) -> None:
    """All outputs, on several threads by rows, or by columns where there is one row."""
    rows, columns = shape
    work = terms if rows == 1 else terms * columns

    def stretch(start: int, end: int) -> None:
        few = slice(start // work, end // work)
        part(*((slice(0, 1), few) if rows == 1 else (few, slice(0, columns))))

    # A stretch that ends among the terms of an output leaves that one to the next stretch.
    in_threads(rows * columns * terms, stretch)


def _tiles(terms: int, columns: slice) -> Iterator[tuple[slice, slice]]:
    """Tiles of terms by columns; for each few columns, all terms in their order."""
    for left in range(columns.start, columns.stop, COLUMNS):
        few = slice(left, min(left + COLUMNS, columns.stop))
        height = _height(few.stop - left)
        for top in range(0, terms, height):
            yield slice(top, min(top + height, terms)), few


def _height(width: int) -> int:
    """Terms of a tile: a power of two, so that tiles are subtrees."""
    return 1 << (ELEMENTS // width).bit_length() - 1


def _factors(x: Matrix | None, rows: slice, terms: slice) -> Array:
    if x is None:
        return np.ones((1, terms.stop - terms.start))
    return wide_tile(x.values[rows, terms])


def wide_tile(values: Array) -> Array:
    """A part of an array of floats as float64, in memory of its own."""
    tile = np.array(values, order="C")
    return wide(tile.reshape(-1)).reshape(tile.shape)


def _formats(x: Matrix | None, y: Matrix) -> tuple[Format | None, Format]:
    return None if x is None else x.format, y.format


def _sequential(x: Matrix | None, y: Matrix, sums: Array, scheme: Scheme, first: int) -> Part:
    steps, width = steps_of(*_formats(x, y), scheme), sums.shape[1]

    def part(rows: slice, columns: slice) -> None:
        for terms, few in _tiles(len(y.values), columns):
            made, tile = _factors(x, rows, terms), wide_tile(y.values[terms, few])
            low = first + rows.start * width + few.start
            steps.add(made, tile, sums[rows, few], low, width, terms.start)

    return part


def _pairwise(x: Matrix | None, y: Matrix, sums: Array, scheme: Scheme, first: int) -> Part:
    steps, width = steps_of(*_formats(x, y), scheme), sums.shape[1]

    def part(rows: slice, columns: slice) -> None:
        for row in range(rows.start, rows.stop):
            one, roots = slice(row, row + 1), []
            for terms, few in _tiles(len(y.values), columns):
                low = first + row * width + few.start
                made, tile = _factors(x, one, terms)[0], wide_tile(y.values[terms, few])
                leaves = steps.load(made, tile, low, terms.start)
                roots.append(_tree(steps, leaves, low, terms.start))
                if terms.stop == len(y.values):
                    scale = _height(few.stop - few.start)
                    sums[row, few] = _tree(steps, np.array(roots), low, 0, scale)
                    roots.clear()

    return part


def _tree(steps: Steps, nodes: Array, low: int, first: int, scale: int = 1) -> Array:
    """The sums of the trees over the rows of nodes, which are overwritten."""
    span = 1
    while span < len(nodes):
        steps.join(nodes, span, low, first, scale)
        span *= 2
    root: Array = nodes[0]
    return root


def _blocked(x: Matrix | None, y: Matrix, sums: Array, scheme: Scheme, first: int) -> Part:
    blocks, width = blocks_of(*_formats(x, y), scheme), sums.shape[1]

    def part(rows: slice, columns: slice) -> None:
        for top in range(rows.start, rows.stop, ROWS):
            few_rows = slice(top, min(top + ROWS, rows.stop))
            for terms, few in _tiles(len(y.values), columns):
                if not terms.start:
                    begun = blocks.nothing(few_rows.stop - top, few.stop - few.start)
                made, tile = _factors(x, few_rows, terms), wide_tile(y.values[terms, few])
                place = first + top * width + few.start, width, terms.start, len(y.values)
                blocks.add(made, tile, sums[few_rows, few], begun, place)

    return part


# One sum, watched.


class _Watch:
    """Counts what became of the parts that were added, in their order."""

    def __init__(self) -> None:
        self.nonzero = self.swallowed = 0
        self.first: int | None = None
        self.stalled: int | None = None

    def see(self, firsts: Array, nonzero: Array, before: Array, after: Array) -> None:
        """Parts by their first terms, and the sum before and after each."""
        lost = nonzero & (before == after) & np.isfinite(before)
        moved = np.flatnonzero(nonzero & ~lost)
        self.nonzero += int(np.count_nonzero(nonzero))
        self.swallowed += int(np.count_nonzero(lost))
        found = np.flatnonzero(lost)
        if found.size and self.first is None:
            self.first = int(firsts[found[0]])
        if moved.size:
            self.stalled = None
            found = found[found > moved[-1]]
        if found.size and self.stalled is None:
            self.stalled = int(firsts[found[0]])

    def trace(self) -> Trace:
        return Trace(self.nonzero, self.swallowed, self.first, self.stalled)


def watched(x: Matrix | None, y: Matrix, scheme: Scheme) -> tuple[Array, Trace]:
    """:func:`contract` of a row and a column, and what became of the parts that were added."""
    terms, watch = len(y.values), _Watch()
    run = {
        "sequential": _watched_steps, "pairwise": _watched_tree, "blocked": _watched_blocks,
    }[scheme.order]  # fmt: skip
    total = run(x, y, scheme, watch) if terms else 0.0
    return finished(np.full((1, 1), total), terms, scheme), watch.trace()


def _watched_steps(x: Matrix | None, y: Matrix, scheme: Scheme, watch: _Watch) -> float:
    steps, total = steps_of(*_formats(x, y), scheme), np.full(1, start_of(scheme))
    for terms, few in _tiles(len(y.values), slice(0, 1)):
        made, tile = _factors(x, slice(0, 1), terms)[0], wide_tile(y.values[terms, few])
        before = total[0]
        after = steps.follow(made, tile, total, 0, terms.start)[:, 0]
        nonzero = (made != 0) & (tile[:, 0] != 0)
        firsts = np.arange(terms.start, terms.stop)
        watch.see(firsts, nonzero, np.concatenate([[before], after[:-1]]), after)
    return float(total[0])


def _watched_blocks(x: Matrix | None, y: Matrix, scheme: Scheme, watch: _Watch) -> float:
    blocks, total = blocks_of(*_formats(x, y), scheme), np.full((1, 1), start_of(scheme))
    begun, count = blocks.nothing(1, 1), len(y.values)
    log = np.zeros((-(-count // scheme.block), 2))
    start = float(total[0, 0])
    for terms, few in _tiles(count, slice(0, 1)):
        made, tile = _factors(x, slice(0, 1), terms), wide_tile(y.values[terms, few])
        blocks.add(made, tile, total, begun, (0, 1, terms.start, count), log)
    before = np.concatenate([[start], log[:-1, 1]])
    watch.see(np.arange(len(log)) * scheme.block, log[:, 0] != 0, before, log[:, 1])
    return float(total[0, 0])


def _watched_tree(x: Matrix | None, y: Matrix, scheme: Scheme, watch: _Watch) -> float:
    """A tree has no running sum to stall: of two nonzero parts, either can be swallowed."""
    steps = steps_of(*_formats(x, y), scheme)
    ones = _factors(x, slice(0, 1), slice(0, len(y.values)))[0]
    nodes = steps.load(ones, wide_tile(y.values), 0, 0)
    span = 1
    while span < len(nodes):
        left, right = nodes[: -span : 2 * span, 0].copy(), nodes[span :: 2 * span, 0]
        steps.join(nodes, span, 0, 0, 1)
        after = nodes[: -span : 2 * span, 0]
        both = (left != 0) & (right != 0)
        larger = np.where(after == right, right, left)
        firsts = np.arange(len(after)) * 2 * span
        watch.see(firsts + np.where(after == right, 0, span), both, larger, after)
        span *= 2
    watch.stalled = None
    return float(nodes[0, 0])


def exact_total(x: Matrix | None, y: Matrix) -> Number:
    """The sum of the products of a row and a column, or of a column, without any rounding."""
    nowhere = cast_to("float64")
    scheme = Scheme(nowhere, nowhere, None, "blocked", len(y.values) + 1, 0)
    blocks, total = blocks_of(*_formats(x, y), scheme), np.zeros((1, 1))
    begun, count = blocks.nothing(1, 1), len(y.values)
    for terms, few in _tiles(count, slice(0, 1)):
        made, tile = _factors(x, slice(0, 1), terms), wide_tile(y.values[terms, few])
        blocks.add(made, tile, total, begun, (0, 1, terms.start, count + 1))
    digits, extra, _ = begun
    if extra[0, 0] != 0:
        return number(float(extra[0, 0]))
    whole = sum(int(digit) << DIGIT * i for i, digit in enumerate(digits[0, 0]))
    return finite(whole * power_of_two(blocks.base))
