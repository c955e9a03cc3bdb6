"""L1: in which order and to which formats a sum is rounded: the plan that exact numbers and kernels
follow alike.

A sum of n terms starts from zero and ends with one rounding to the target. In between, by order:

``sequential``
    s ← round(s + term), from left to right. A term that is a product is exact unless a format is
    named for products, so each step is an fma.
``pairwise``
    Terms are rounded to the accumulator's format; then neighbours are added and each sum is
    rounded, (t0 + t1), (t2 + t3), …, an odd one out goes up as it is, until one is left. The left
    part of every addition so has a power of two of terms.
``blocked``
    s ← round(s + the exact sum of the next k terms). This is an adder of k + 1 operands that loses
    nothing before its one rounding.

Tensor cores work in blocks too, of 4 exact products on the V100 and more on later ones, and round
the accumulator toward zero; but they align the operands of a block to the largest and cut what
hangs over, by generation at another bit (Fasi, Higham, Mikaitis and Pranesh, "Numerical behavior of
NVIDIA tensor cores", PeerJ CS 7:e330, 2021; Khattak and Mikaitis, "Accurate models of NVIDIA tensor
cores", arXiv 2512.07004). That cut is not imitated: ``blocked`` is such a unit with an exact adder,
and bounds from below what the cut costs.

Every rounding of a stochastic sum has random bits of its own, those of (stream, output, index): the
addition that brings in terms i, i + 1, … to what precedes them draws (SUMS, output, i), the
rounding of the result (SUMS, output, n), a product (PRODUCTS, output, i), and a term that is
rounded before a tree is built (LEAVES, output, i).
"""

from __future__ import annotations

from typing import NamedTuple

from halfulp.casting import Cast
from halfulp.errors import HalfulpError, unknown
from halfulp.language import translate as _

ORDERS = ("sequential", "pairwise", "blocked")
SUMS, PRODUCTS, LEAVES = 0, 1, 2


class Scheme(NamedTuple):
    """How terms are summed: the casts of results, running sums and products, and the order."""

    target: Cast
    accumulate: Cast
    product: Cast | None  # None: products are exact
    order: str
    block: int  # terms that are summed exactly before each rounding, in blocked order
    seed: int

    @property
    def negative_start(self) -> bool:
        """The sign of the zero that a sum starts from: that which changes no first term."""
        return self.accumulate.rounding != "down"


class Trace(NamedTuple):
    """What became of the nonzero parts that were added to a running sum."""

    nonzero: int
    swallowed: int
    first: int | None  # the first term of the first part that was swallowed
    stalled: int | None  # the first term from which on nothing that came moved the sum


def checked_block(order: str, block: int | None) -> int:
    """The block of an order; HalfulpError for an unknown order or a block that does not fit it."""
    if not isinstance(order, str) or order not in ORDERS:
        raise unknown(_("order"), str(order), ORDERS)
    if order != "blocked":
        if block is not None:
            raise HalfulpError(
                _("block={block!r} goes with order='blocked', not with {order!r}").format(
                    block=block, order=order
                )
            )
        return 1
    if isinstance(block, bool) or not isinstance(block, int) or block < 1:
        raise HalfulpError(
            _(
                "order='blocked' sums blocks of {block!r} terms: give block=, a whole number "
                "from 1 on"
            ).format(block=block)
        )
    return block
