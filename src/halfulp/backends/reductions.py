"""L1: reductions of NumPy arrays: which elements are summed, and the shape and dtype of sums."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from halfulp.backends.operations import common_dtype, format_of, holds, least_dtype, narrowed
from halfulp.backends.sums import Matrix, contract, exact_total, running, watched
from halfulp.catalogue import Format
from halfulp.errors import HalfulpError
from halfulp.exact import Number, number
from halfulp.orders import Scheme, Trace

Array = npt.NDArray[Any]


def summed(x: Any, axis: int | None, scheme: Scheme) -> Any:
    """The sums of an array along an axis."""
    columns, shape = _columns(x, axis)
    return _written(contract(None, columns, scheme).reshape(shape), x.dtype, scheme)


def running_sums(x: Any, axis: int | None, scheme: Scheme) -> Any:
    """The running sums of an array along an axis, or of all elements as one row."""
    columns, shape = _columns(x, axis)
    sums = running(columns, scheme).reshape(len(columns.values), *shape)
    return _written(sums if axis is None else np.moveaxis(sums, 0, axis), x.dtype, scheme)


def vector_product(a: Any, b: Any, meeting: Format, scheme: Scheme) -> Any:
    """The dot product of two vectors, whose formats promote to ``meeting``."""
    row, column = _vectors(a, b)
    dtype = common_dtype(meeting, a.dtype, b.dtype)
    return _written(contract(row, column, scheme).reshape(()), dtype, scheme)


def matrix_product(a: Any, b: Any, meeting: Format, scheme: Scheme) -> Any:
    """The product of two matrices, or of stacks of them that broadcast."""
    (left, f), (right, g) = _floats(a), _floats(b)
    rows = left.reshape(1, -1) if left.ndim == 1 else left
    columns = right.reshape(-1, 1) if right.ndim == 1 else right
    stack = _stack(left, right)
    results = np.empty((*stack, rows.shape[-2], columns.shape[-1]))
    rows, columns = (np.broadcast_to(m, (*stack, *m.shape[-2:])) for m in (rows, columns))
    for index, at in enumerate(np.ndindex(*stack)):
        x, y = Matrix(rows[at], f), Matrix(columns[at], g)
        results[at] = contract(x, y, scheme, index * results[at].size)
    shape = (*stack, *left.shape[-2:-1], *(right.shape[-1:] if right.ndim > 1 else ()))
    return _written(results.reshape(shape), common_dtype(meeting, a.dtype, b.dtype), scheme)


def sum_report(x: Any, axis: int | None, scheme: Scheme) -> tuple[int, Trace, Number, Number]:
    """How many terms there are, what became of them, their sum and the exact one."""
    columns, shape = _columns(x, axis)
    if shape:
        raise HalfulpError("report=True tells of one sum: give one row, or no axis")
    return _report(None, columns, scheme)


def vector_product_report(a: Any, b: Any, scheme: Scheme) -> tuple[int, Trace, Number, Number]:
    """As :func:`sum_report`, of the products of two vectors."""
    return _report(*_vectors(a, b), scheme)


def _report(
    row: Matrix | None, column: Matrix, scheme: Scheme
) -> tuple[int, Trace, Number, Number]:
    value, trace = watched(row, column, scheme)
    return len(column.values), trace, number(float(value[0, 0])), exact_total(row, column)


def _floats(x: Any) -> tuple[Array, Format]:
    held = format_of(x)
    return np.asarray(x), held


def _columns(x: Any, axis: int | None) -> tuple[Matrix, tuple[int, ...]]:
    """What is summed as the columns of a matrix, and the shape of their sums."""
    values, held = _floats(x)
    if axis is None:
        return Matrix(values.reshape(-1, 1), held), ()
    axes = range(-values.ndim, values.ndim)
    if isinstance(axis, bool) or not isinstance(axis, int) or axis not in axes:
        raise HalfulpError(
            f"axis {axis!r} is not one of an array of shape {values.shape}: allowed are "
            f"{-values.ndim} to {values.ndim - 1}, or None for all elements"
        )
    moved = np.moveaxis(values, axis, 0)
    shape = moved.shape[1:]
    return Matrix(moved.reshape(len(moved), math.prod(shape)), held), shape


def _vectors(a: Any, b: Any) -> tuple[Matrix, Matrix]:
    (left, f), (right, g) = _floats(a), _floats(b)
    if left.ndim != 1 or left.shape != right.shape:
        raise HalfulpError(
            f"dot takes two vectors of one length: found shapes {left.shape} and {right.shape}; "
            "matrices go to hu.matmul"
        )
    return Matrix(left.reshape(1, -1), f), Matrix(right.reshape(-1, 1), g)


def _stack(left: Array, right: Array) -> tuple[int, ...]:
    """The shape of the stack that two operands of a matrix product make; () of two matrices."""
    fits = left.ndim and right.ndim and left.shape[-1] == right.shape[-2:][0]
    try:
        if fits:
            return np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    except ValueError:
        pass
    raise HalfulpError(
        f"arrays of shapes {left.shape} and {right.shape} cannot be multiplied as matrices: the "
        "last axis of one and the last but one of the other must be of one length"
    )


def _written(results: Array, dtype: np.dtype[Any], scheme: Scheme) -> Any:
    """Float64s in a dtype, or in the target's where that does not hold it; a scalar as such."""
    target = scheme.target.target
    chosen = dtype.newbyteorder("=") if holds(dtype, target) else least_dtype(target)
    return narrowed(results, chosen)[()]
