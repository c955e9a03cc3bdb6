"""L2: sums and products of vectors and matrices, rounded to an accumulator's format at each step.

Orders and where they round are defined in orders.py. Lists of numbers take the exact path of this
file, which says in Fractions what the kernels of backends/sums.py do for arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from halfulp.arithmetic import _meeting, exact_product, exact_sum, is_array
from halfulp.casting import Cast, checked_seed
from halfulp.catalogue import Format, format
from halfulp.conversion import as_kind_of
from halfulp.errors import HalfulpError
from halfulp.exact import Number
from halfulp.language import translate as _
from halfulp.noise import key_of, random_word
from halfulp.orders import LEAVES, PRODUCTS, SUMS, Scheme, Trace, checked_block
from halfulp.profiles import profiled_cast
from halfulp.promotion import promoted
from halfulp.records import Record


@dataclass(frozen=True)
class Summation(Record):
    """A sum, how far it is from the exact one, and where it stopped growing.

    Counted are the parts that a running sum is added: terms, or the sums of blocks; in pairwise
    order the additions of two nonzero parts. A part is swallowed where it is not zero, the sum
    before it is finite, and the sum after it is the same.
    """

    renderer = "halfulp.explanations.reductions_text:summation_page"

    operation: str  # "sum" or "dot"
    target: Format
    accumulate: Format
    product: Format | None  # None: exact
    order: str
    block: int  # terms that are summed exactly before each rounding
    rounding: str
    terms: int
    nonzero: int  # parts that are not zero
    swallowed: int  # of these
    first_swallowed: int | None  # index of the first term of the first part swallowed
    stalled_from: int | None  # index of the first term from which on every part was swallowed
    value: Number
    exact: Fraction | None  # None where a term is infinite or NaN
    error: Fraction | None  # value − exact; None where either is not finite


def sum(
    x: Any, target: str | Format | None = None, *, accumulate: str | Format | None = None,
    order: str = "sequential", block: int | None = None, axis: int | None = None,
    rounding: str = "nearest_even", overflow: str | None = None, seed: int | None = None,
    report: bool = False,
) -> Any:  # fmt: skip
    """The sum of x, rounded to ``accumulate`` at each addition, and to ``target`` at last.

    ``x`` is a NumPy array of any float dtype, whose elements are taken exactly as they are, or a
    list of numbers, which are read as :func:`halfulp.add` reads its operands. ``target`` is by
    default the format of the dtype, ``accumulate`` the target. ``order`` is ``sequential``,
    ``pairwise``, or ``blocked`` with ``block=`` terms that are summed exactly before each rounding
    (orders.py defines them, and the random bits that stochastic sums draw). Of an array all
    elements are summed, or those along ``axis``. The answer has x's dtype, or the target's where
    x's does not hold it; of a list the kind of its first number. With ``report`` it is a
    :class:`Summation`. ``rounding`` and ``overflow`` hold for every rounding there is.

    Raises HalfulpError for what is no array of floats or no number, and for unknown names.

    >>> import numpy as np
    >>> ones = np.ones(5000, np.float16)
    >>> float(sum(ones)), float(sum(ones, order="pairwise")), float(sum(ones, accumulate="float32"))
    (2048.0, 5000.0, 5000.0)
    >>> sum([1.0, 2.0**-11, 2.0**-11], "float16")
    1.0
    >>> sum([1.0, 2.0**-11, 2.0**-11], "float16", order="blocked", block=3)
    1.0009765625
    """
    options = (accumulate or target, None, order, block, rounding, overflow, seed)
    if isinstance(x, (list, tuple)):
        _check_axis_of_list(axis)
        return _of_numbers("sum", [x], target, options, report)
    held = _format_of(x)
    scheme = _scheme(held if target is None else format(target), *options)
    from halfulp.backends.reductions import sum_report, summed

    if report:
        return _summation("sum", scheme, *sum_report(x, axis, scheme))
    return summed(x, axis, scheme)


def cumsum(
    x: Any, target: str | Format | None = None, *, accumulate: str | Format | None = None,
    axis: int | None = None, rounding: str = "nearest_even", overflow: str | None = None,
    seed: int | None = None,
) -> Any:  # fmt: skip
    """The running sums of x from left to right, each rounded to ``target``; as :func:`sum`.

    Of an array all elements in C order, as one row, or those along ``axis``; of a list a list.

    >>> import numpy as np
    >>> float(cumsum(np.ones(5000, np.float16))[-1])
    2048.0
    """
    options = (accumulate or target, None, "sequential", None, rounding, overflow, seed)
    if isinstance(x, (list, tuple)):
        _check_axis_of_list(axis)
        given, scheme = _read([x], target, options)
        kind = x[0] if x else 0.0
        steps = _additions(given, scheme)
        ends = (_ended(s.after, scheme, len(given), output) for output, s in enumerate(steps))
        return [as_kind_of(kind, end) for end in ends]
    held = _format_of(x)
    scheme = _scheme(held if target is None else format(target), *options)
    from halfulp.backends.reductions import running_sums

    return running_sums(x, axis, scheme)


def dot(
    a: Any, b: Any, target: str | Format | None = None, *,
    accumulate: str | Format | None = None, product: str | Format | None = None,
    order: str = "sequential", block: int | None = None, rounding: str = "nearest_even",
    overflow: str | None = None, seed: int | None = None, report: bool = False,
) -> Any:  # fmt: skip
    """The sum of the products of two vectors; as :func:`sum`.

    Products are exact, as in tensor cores, or rounded to the format ``product``. ``accumulate`` is
    by default float32, or the target where float32 does not hold it; ``target`` is what the dtypes
    promote to, and so is the dtype of the answer.

    >>> import numpy as np
    >>> x = np.array([1] + 4 * [2.0**-6], np.float16)
    >>> float(dot(x, x)), float(dot(x, x, accumulate="float16"))
    (1.0009765625, 1.0)
    """
    options = (accumulate, product, order, block, rounding, overflow, seed)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        if len(a) != len(b):
            raise HalfulpError(
                _("dot takes two vectors of one length: found {a} and {b}").format(
                    a=len(a), b=len(b)
                )
            )
        return _of_numbers("dot", [a, b], target, options, report)
    held = _formats_of(a, b)
    scheme = _product_scheme(target, held, options)
    from halfulp.backends.reductions import vector_product, vector_product_report

    if report:
        return _summation("dot", scheme, *vector_product_report(a, b, scheme))
    return vector_product(a, b, promoted(*held), scheme)


def matmul(
    a: Any, b: Any, target: str | Format | None = None, *,
    accumulate: str | Format | None = None, product: str | Format | None = None,
    order: str = "sequential", block: int | None = None, rounding: str = "nearest_even",
    overflow: str | None = None, seed: int | None = None,
) -> Any:  # fmt: skip
    """The product of two matrices, each element as :func:`dot` sums it.

    Shapes are those of numpy.matmul: vectors stand for one row or one column, further axes in front
    broadcast.

    >>> import numpy as np
    >>> ones = np.ones((2, 3000), "float16")
    >>> matmul(ones, ones.T, accumulate="float16", product="float16").tolist()
    [[2048.0, 2048.0], [2048.0, 2048.0]]
    """
    held = _formats_of(a, b)
    options = (accumulate, product, order, block, rounding, overflow, seed)
    scheme = _product_scheme(target, held, options)
    from halfulp.backends.reductions import matrix_product

    return matrix_product(a, b, promoted(*held), scheme)


# What was asked.


def _scheme(
    target: Format, accumulate: Any, product: Any, order: str, block: int | None, rounding: str,
    overflow: str | None, seed: int | None,
) -> Scheme:  # fmt: skip
    made = profiled_cast(target, rounding, overflow)
    sums = made if accumulate is None else profiled_cast(accumulate, rounding, overflow)
    products = None if product is None else profiled_cast(product, rounding, overflow)
    return Scheme(
        made, sums, products, order, checked_block(order, block), checked_seed(made, seed)
    )


def _product_scheme(target: Any, held: Sequence[Format], options: Sequence[Any]) -> Scheme:
    wanted = promoted(*held) if target is None else format(target)
    accumulate, *rest = options
    if accumulate is None:
        single = format("float32")
        accumulate = single if single.holds(wanted) else wanted
    return _scheme(wanted, accumulate, *rest)


def _format_of(x: Any) -> Format:
    """The format that the dtype of an array names."""
    if not is_array(x):
        raise HalfulpError(
            _("{name} has nothing to sum: give a NumPy array or a list").format(
                name=type(x).__name__
            )
        )
    from halfulp.backends.operations import format_of

    return format_of(x)


def _formats_of(a: Any, b: Any) -> tuple[Format, Format]:
    if isinstance(a, (list, tuple)) or isinstance(b, (list, tuple)):
        raise HalfulpError(_("a list goes with a list, in hu.dot; here give two NumPy arrays"))
    return _format_of(a), _format_of(b)


def _check_axis_of_list(axis: int | None) -> None:
    if axis not in (None, 0, -1):
        raise HalfulpError(
            _("axis {axis!r} is not one of a list of numbers: give a NumPy array").format(axis=axis)
        )


# Numbers.


def _read(
    vectors: Sequence[Sequence[Any]], target: Any, options: Sequence[Any]
) -> tuple[list[tuple[Number, ...]], Scheme]:
    """The factors of each term, and the scheme."""
    given = [_meeting(vector, target) for vector in vectors]
    held = [one.format for vector in given for one in vector]
    if target is None and (not held or None in held):
        raise HalfulpError(
            _("the numbers name no format to sum in: write 1.125:float16, or name one")
        )
    named = [f for f in held if f is not None]
    rest = list(options)
    if len(vectors) == 1:
        wanted = promoted(*named) if target is None else format(target)
        scheme = _scheme(wanted, *rest)
    else:
        scheme = _product_scheme(target, named, rest)
    return [tuple(one.number for one in term) for term in zip(*given, strict=True)], scheme


def _of_numbers(
    operation: str, vectors: Sequence[Sequence[Any]], target: Any, options: Sequence[Any],
    report: bool,
) -> Any:  # fmt: skip
    terms, scheme = _read(vectors, target, options)
    steps = list(_additions(terms, scheme))
    last = steps[-1].after if steps else Number()
    value = _ended(last, scheme, len(terms), 0)
    if not report:
        return as_kind_of(vectors[0][0] if terms else 0.0, value)
    total = Number()
    for factors in terms:
        total = exact_sum(total, _exact_term(factors))
    return _summation(operation, scheme, len(terms), _trace(steps, scheme), value, total)


class _Addition(NamedTuple):
    """One addition: the part that came, and the sum before and after it."""

    first: int  # index of the part's first term
    nonzero: bool
    before: Number
    after: Number

    @property
    def is_lost(self) -> bool:
        """Whether the part was swallowed."""
        same = self.after.is_finite and self.before.value == self.after.value
        return self.nonzero and self.before.is_finite and same


def _additions(
    terms: Sequence[tuple[Number, ...]], scheme: Scheme, output: int = 0
) -> Iterator[_Addition]:
    """Every addition in its order; the last one's ``after`` is the sum."""
    order = {"sequential": _from_left, "blocked": _by_blocks, "pairwise": _as_tree}
    return order[scheme.order](terms, scheme, output)


def _from_left(
    terms: Sequence[tuple[Number, ...]], scheme: Scheme, output: int
) -> Iterator[_Addition]:
    total = Number(negative=scheme.negative_start)
    for i, factors in enumerate(terms):
        exact = exact_sum(total, _term(factors, scheme, output, i), scheme.accumulate.rounding)
        before, total = total, _rounded(scheme.accumulate, exact, scheme, SUMS, output, i)
        yield _Addition(i, not any(_is_zero(n) for n in factors), before, total)


def _by_blocks(
    terms: Sequence[tuple[Number, ...]], scheme: Scheme, output: int
) -> Iterator[_Addition]:
    total, rounding = Number(negative=scheme.negative_start), scheme.accumulate.rounding
    for i in range(0, len(terms), scheme.block):
        indices = range(i, min(i + scheme.block, len(terms)))
        first, *rest = (_term(terms[k], scheme, output, k) for k in indices)
        for term in rest:
            first = exact_sum(first, term, rounding)
        exact = exact_sum(total, first, rounding)
        before, total = total, _rounded(scheme.accumulate, exact, scheme, SUMS, output, i)
        yield _Addition(i, not _is_zero(first), before, total)


def _as_tree(
    terms: Sequence[tuple[Number, ...]], scheme: Scheme, output: int
) -> Iterator[_Addition]:
    nodes = []
    for i, factors in enumerate(terms):
        exact = _term(factors, scheme, output, i)
        nodes.append(_rounded(scheme.accumulate, exact, scheme, LEAVES, output, i))
    span = 1
    if len(nodes) == 1:
        yield _Addition(0, False, nodes[0], nodes[0])
    while len(nodes) > 1:
        joined = []
        for i, (left, right) in enumerate(zip(nodes[::2], nodes[1::2], strict=False)):
            middle = (2 * i + 1) * span
            exact = exact_sum(left, right, scheme.accumulate.rounding)
            after = _rounded(scheme.accumulate, exact, scheme, SUMS, output, middle)
            joined.append(after)
            both = not (_is_zero(left) or _is_zero(right))
            kept_right = after.is_finite and right.is_finite and after.value == right.value
            first, before = (2 * i * span, right) if kept_right else (middle, left)
            yield _Addition(first, both, before, after)
        nodes, span = joined + nodes[2 * len(joined) :], 2 * span


def _term(factors: tuple[Number, ...], scheme: Scheme, output: int, index: int) -> Number:
    exact = _exact_term(factors)
    if scheme.product is None or len(factors) == 1:
        return exact
    return _rounded(scheme.product, exact, scheme, PRODUCTS, output, index)


def _exact_term(factors: tuple[Number, ...]) -> Number:
    return factors[0] if len(factors) == 1 else exact_product(factors[0], factors[1])


def _rounded(
    cast: Cast, exact: Number, scheme: Scheme, stream: int, output: int, index: int
) -> Number:
    word = 0
    if cast.is_stochastic:
        word = int(random_word(key_of(scheme.seed, stream), output, index))
    return cast.number(exact, word=word)


def _ended(total: Number, scheme: Scheme, terms: int, output: int) -> Number:
    return _rounded(scheme.target, total, scheme, SUMS, output, terms)


def _is_zero(n: Number) -> bool:
    return n.is_finite and not n.value


def _trace(steps: Sequence[_Addition], scheme: Scheme) -> Trace:
    lost = [step for step in steps if step.is_lost]
    moved = [i for i, step in enumerate(steps) if step.nonzero and not step.is_lost]
    after_all = steps[moved[-1] + 1 :] if moved else steps
    stalled = next((step.first for step in after_all if step.is_lost), None)
    return Trace(
        nonzero=len([step for step in steps if step.nonzero]),
        swallowed=len(lost),
        first=lost[0].first if lost else None,
        stalled=None if scheme.order == "pairwise" else stalled,
    )


# Reports.


def _summation(
    operation: str, scheme: Scheme, terms: int, trace: Trace, value: Number, exact: Number
) -> Summation:
    known = exact.value if exact.is_finite else None
    error = value.value - known if value.is_finite and known is not None else None
    return Summation(
        operation, scheme.target.target, scheme.accumulate.target,
        None if scheme.product is None else scheme.product.target,
        scheme.order, scheme.block, scheme.target.rounding, terms, trace.nonzero, trace.swallowed,
        trace.first, trace.stalled, value, known, error,
    )  # fmt: skip
