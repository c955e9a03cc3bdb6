"""L1: one step of a running sum, round(s + x × y), and the loops over it that kernels are.

Sums are float64s that an accumulator's format has. Where the products of the operands are exact in
float64 and the format leaves room, a step is float64 arithmetic, rounded to odd, and the body of a
cast; everywhere else it is an fma in integers (odd.py).
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from halfulp.backends import kernels, odd, settling
from halfulp.backends.kernels import (
    FLOAT64,
    PLAN,
    carrier_of,
    cast_one,
    compiled,
    flat_plan,
    named,
)
from halfulp.backends.lanes import wide_vectors
from halfulp.backends.settling import in_float64, rounded_odd, unpacked, wide_plan
from halfulp.backends.symbols import jitable
from halfulp.carrier import Outcome, Placement
from halfulp.casting import Cast
from halfulp.catalogue import Format
from halfulp.noise import key_of
from halfulp.orders import LEAVES, PRODUCTS, SUMS, Scheme
from halfulp.patterns import Shape, shape_of

Array = npt.NDArray[Any]

# Float64 sums of two numbers within these exponents neither overflow nor underflow.
LARGEST_EXPONENT = 1000

#: The place of the noise's key in a flat plan.
_KEY = len(Placement._fields) + len(Outcome._fields) + 2


class Variant(NamedTuple):
    """What kernels are specialised for."""

    in_integers: bool
    sums: Shape | None  # of the casts, in float64
    products: Shape | None  # None: exact
    down: bool  # an exact zero is negative


class Steps(NamedTuple):
    """How the sums of a scheme are rounded, for operands of given formats."""

    variant: Variant
    sums: Array  # flat plans
    products: Array
    leaves: Array

    def add(self, x: Array, y: Array, sums: Array, low: int, width: int, first: int) -> None:
        """Add the products of matrices x and y to ``sums``, from left to right.

        ``low`` is the index of the first output, ``width`` of how many a row has, and ``first``
        that of the first term.
        """
        kernel = _kernel(_add_loop, self.variant)
        kernel(x, y, sums, low, width, first, self.sums, self.products)

    def follow(self, x: Array, y: Array, sums: Array, low: int, first: int) -> Array:
        """Add the products of a row x and a matrix y to a row of sums; answer with each sum."""
        kernel, out = _kernel(_follow_loop, self.variant), np.empty(y.shape)
        kernel(x, y, sums, out, False, low, first, self.sums, self.products)
        return out

    def load(self, x: Array, y: Array, low: int, first: int) -> Array:
        """Round the products of a row x and a matrix y, as the leaves of trees."""
        kernel, out = _kernel(_follow_loop, self.variant), np.empty(y.shape)
        start = np.full(y.shape[1], zero_of(self.variant.down))
        kernel(x, y, start, out, True, low, first, self.leaves, self.products)
        return out

    def join(self, nodes: Array, span: int, low: int, first: int, scale: int) -> None:
        """One level of trees: to each second row ``span`` apart the one after it is added.

        A row of nodes stands for ``scale`` terms.
        """
        kernel = _kernel(_join_loop, self.variant._replace(products=None))
        kernel(nodes, span, low, first, scale, self.sums)


def zero_of(down: bool) -> float:
    """The zero that changes no term it is added to."""
    return 0.0 if down else -0.0


def steps_of(x: Format | None, y: Format, scheme: Scheme) -> Steps:
    """The steps of a scheme; HalfulpError where the random bits of a rounding do not fit."""
    sums, products = scheme.accumulate, scheme.product
    formats = (y,) if x is None else (x, y)
    casts = (sums,) if products is None else (sums, products)
    near = sums.target.emax <= LARGEST_EXPONENT
    near &= sums.target.least_quantum_exponent >= -LARGEST_EXPONENT
    in_integers = not (near and all(in_float64(formats, cast) for cast in casts))
    down = sums.rounding == "down"
    plans = (
        flat_step_plan(sums, scheme.seed, SUMS, in_integers),
        flat_step_plan(products, scheme.seed, PRODUCTS, in_integers),
        flat_step_plan(sums, scheme.seed, LEAVES, in_integers),
    )
    if in_integers:
        return Steps(Variant(True, None, None, down), *plans)
    product_shape = None if products is None else _shape(products)
    return Steps(Variant(False, _shape(sums), product_shape, down), *plans)


def final_steps(target: Cast, seed: int) -> Steps:
    """Steps for rounding float64s once: each is added to zero."""
    fits = carrier_of(FLOAT64.source, target) is not None
    plan = flat_step_plan(target, seed, SUMS, in_integers=not fits)
    variant = Variant(not fits, _shape(target) if fits else None, None, target.rounding == "down")
    return Steps(variant, plan, flat_step_plan(None, seed, PRODUCTS), plan)


def _shape(cast: Cast) -> Shape:
    # One kernel for all formats: plain ones would gain a quarter, for twice the compiling.
    return shape_of(cast, FLOAT64, codes=False)._replace(plain=False)


def flat_step_plan(cast: Cast | None, seed: int, stream: int, in_integers: bool = True) -> Array:
    """A WidePlan, flat; for exact products one whose mode is negative."""
    if cast is None:
        return np.full(PLAN + 3, -1, np.int64)
    if in_integers:
        flat = wide_plan(cast, seed)
    else:
        made = flat_plan(cast, FLOAT64, seed, codes=False)
        flat = np.array([*made, 0, 0, cast.rounding == "down"], dtype=np.int64)
    flat[_KEY : _KEY + 2] = key_of(seed, stream)
    return flat


# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
# Numba infers the types of what follows.

#: One step: (sum, x, y, low and high word of its noise's index, the plans); compiled() puts it in.
one: Any = None

_TEXTS = kernels.fingerprint(odd, settling, sys.modules[__name__])[:16]


@cache
def _kernel(loop: Any, variant: Variant) -> Any:
    if variant.in_integers:
        return compiled(loop, f"{loop.__name__}_integers_{_TEXTS}", _wide_step)
    names = [named(FLOAT64, shape) for shape in variant[1:3] if shape is not None]
    return compiled(loop, "_".join([loop.__name__, *names, _TEXTS]), _quick_step(variant))


def _quick_step(variant: Variant) -> Any:
    """A step in float64."""
    cast_sum = cast_one(FLOAT64, variant.sums)
    rounds, down = variant.products is not None, variant.down
    cast_product = cast_one(FLOAT64, variant.products) if variant.products else cast_sum

    @jitable
    def rounded(cast_pattern, value, low, high, plan):
        value = value if value == value else np.nan  # of one sign on every processor
        bits = cast_pattern(odd.pattern(value), low, high, plan.cast)
        return odd.from_pattern(bits)

    @jitable
    def step(s, x, y, low, high, plan, product_plan):
        term = x * y
        if rounds:  # resolved when compiled
            term = rounded(cast_product, term, low, high, product_plan)
        total = odd.odd_sum(s, term)
        if down:
            total = odd.downward_zero(total, s, term, True)
        return rounded(cast_sum, total, low, high, plan)

    return step


@jitable
def _wide_step(s, x, y, low, high, plan, product_plan):
    if product_plan.mode >= 0:
        y = rounded_odd(odd.exact_product(x, y), low, high, product_plan)
        x = 1.0
    return rounded_odd(odd.exact_fma(x, y, s, plan.down), low, high, plan)


def _add_loop(x, y, sums, low, width, first, flat, product_flat):
    wide_vectors()
    plan, product_plan = unpacked(flat), unpacked(product_flat)
    for i in range(x.shape[0]):
        row, at = sums[i], low + i * width
        for k in range(y.shape[0]):
            factor, terms, high = x[i, k], y[k], first + k
            for j in range(terms.size):
                row[j] = one(row[j], factor, terms[j], at + j, high, plan, product_plan)


def _follow_loop(x, y, sums, out, afresh, low, first, flat, product_flat):
    plan, product_plan = unpacked(flat), unpacked(product_flat)
    for k in range(y.shape[0]):
        for j in range(y.shape[1]):
            result = one(sums[j], x[k], y[k, j], low + j, first + k, plan, product_plan)
            out[k, j] = result
            if not afresh:
                sums[j] = result


def _join_loop(nodes, span, low, first, scale, flat):
    plan = unpacked(flat)
    for left in range(0, nodes.shape[0] - span, 2 * span):
        row, other = nodes[left], nodes[left + span]
        high = first + (left + span) * scale
        for j in range(row.size):
            row[j] = one(row[j], 1.0, other[j], low + j, high, plan, plan)
