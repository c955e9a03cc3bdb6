"""L2: the tally of a cast, the mergeable integer record of what it did to many values.

Counts are exact integers and merge exactly, whatever the order, the threads or the machines. What
needs floating-point sums stands apart in :class:`Errors`, with the order of its sums defined.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import lru_cache
from math import inf, log10, nan
from typing import TYPE_CHECKING, Any

from halfulp.casting import Cast, checked_seed, code_number
from halfulp.catalogue import Format
from halfulp.errors import HalfulpError
from halfulp.language import translate as _
from halfulp.profiles import profiled_cast
from halfulp.records import Record, data_frame

if TYPE_CHECKING:
    from halfulp.backends.classes import Classes
    from halfulp.backends.error_sums import Sums


@dataclass(frozen=True)
class Errors(Record):
    """The errors of a cast over the elements whose value and result are both finite.

    Sums are float64. Sources of 32 and 64 bits: each stretch of 1,024 elements is folded as a
    binary tree, stretches are added in order. Sources of 16 and 8 bits: by patterns, in ascending
    order.
    Merged, the sums of the left come first.
    """

    compared: int  # elements
    error: float  # sum of result - value
    squared_error: float
    signal: float  # sum of squared values
    largest_relative: float  # |result - value| / |value|, 1.0 where a value became zero
    where: int | None  # of the first element with that, in C order

    @property
    def sqnr(self) -> float:
        """Signal to quantisation noise, in decibels; infinite where nothing changed."""
        if not self.squared_error:
            return inf if self.signal else nan
        return 10 * log10(self.signal / self.squared_error) if self.signal else -inf

    @property
    def bias(self) -> float:
        """The mean of result - value."""
        return self.error / self.compared if self.compared else nan

    def merged(self, later: Errors, offset: int) -> Errors:
        """These errors and those of elements that follow after ``offset``."""
        worse = later.largest_relative > self.largest_relative
        where = later.where if later.where is None else later.where + offset
        return Errors(
            self.compared + later.compared,
            self.error + later.error,
            self.squared_error + later.squared_error,
            self.signal + later.signal,
            later.largest_relative if worse else self.largest_relative,
            where if worse else self.where,
        )


@dataclass(frozen=True)
class Tally(Record):
    """What one cast did to the elements of an array, counted.

    ``zero + exact + inexact + infinite + nan == elements``; underflow and overflow are among the
    inexact. Add tallies of the same cast to merge them.
    """

    renderer = "halfulp.explanations.tally_text:tally_page"

    cast: Cast
    source: str  # dtype of the elements
    elements: int
    zero: int  # were zero
    exact: int  # nonzero and unchanged
    inexact: int  # finite, nonzero and changed
    underflow: int  # nonzero made zero
    subnormal: int  # the result is subnormal
    overflow: int  # finite, beyond what rounds to the largest finite number
    infinite: int  # were infinite
    nan: int  # were NaN
    infinite_out: int  # became or stayed infinite
    nan_out: int  # became or stayed NaN
    binades: tuple[tuple[int, int], ...]  # (e, elements with 2**e <= |x| < 2**(e + 1)), ascending
    errors: Errors | None = None

    @property
    def name(self) -> str:
        """The name of the target."""
        return self.cast.target.name

    def share(self, count: int) -> Fraction:
        """A count as a share of all elements; 0 of none."""
        return Fraction(count, self.elements or 1)

    def __add__(self, later: Tally) -> Tally:
        """The tally of both; elements of ``later`` come after these.

        Raises HalfulpError where the casts differ.
        """
        if not isinstance(later, Tally):
            raise HalfulpError(
                _("a tally merges with a tally, not with {found}").format(
                    found=type(later).__name__
                )
            )
        if (self.cast, self.source) != (later.cast, later.source):
            raise HalfulpError(
                _("tallies of different casts do not merge: {one} and {other}").format(
                    one=self._described(), other=later._described()
                )
            )
        counts = {
            f.name: getattr(self, f.name) + getattr(later, f.name)
            for f in fields(self)
            if f.type == "int"
        }
        binades = dict(self.binades)
        for exponent, count in later.binades:
            binades[exponent] = binades.get(exponent, 0) + count
        errors = None
        if self.errors and later.errors:
            errors = self.errors.merged(later.errors, self.elements)
        ordered = tuple(sorted(binades.items()))
        return Tally(cast=self.cast, source=self.source, binades=ordered, errors=errors, **counts)

    def _described(self) -> str:
        c = self.cast
        return f"{self.source} to {c.target}, {c.rounding}, overflow {c.policy.overflow}"


@dataclass(frozen=True)
class Tallies(Record):
    """The tallies of one array under several casts; a sequence, also looked up by format name."""

    renderer = "halfulp.explanations.tally_text:tallies_page"

    rows: tuple[Tally, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Tally]:
        return iter(self.rows)

    def __getitem__(self, key: int | str) -> Tally:
        if isinstance(key, int):
            return self.rows[key]
        for row in self.rows:
            if row.name == key:
                return row
        raise KeyError(key)

    def __add__(self, later: Tallies) -> Tallies:
        """Each tally merged with its like."""
        if not isinstance(later, Tallies) or len(later) != len(self):
            raise HalfulpError(_("tallies merge with tallies of the same casts"))
        return Tallies(tuple(a + b for a, b in zip(self.rows, later.rows, strict=True)))

    def to_pandas(self) -> Any:
        """One row a format, as a pandas DataFrame."""
        return data_frame(self.rows, leave_out=("cast", "binades", "errors"))


def tally(
    x: Any,
    to: str | Format | Sequence[str | Format],
    rounding: str = "nearest_even",
    *,
    overflow: str | None = None,
    seed: int | None = None,
    random_bits: int = 32,
    errors: bool = False,
) -> Any:
    """What casting an array of floats to a format would do, counted exactly; nothing is cast.

    ``x`` is an array of any shape; ``to`` one format (a :class:`Tally` is returned) or several (a
    :class:`Tallies`, from one pass over the array). ``rounding``, ``overflow`` and ``seed`` are as
    in :func:`halfulp.cast`. With ``errors=True`` each tally also holds :class:`Errors`.

    Raises HalfulpError for what is no array of floats, and for unknown names.

    >>> import numpy as np
    >>> t = tally(np.float32([1.0, 1e-9, 70000.0, 0.1, 0.0]), "float16")
    >>> t.exact, t.inexact, t.underflow, t.overflow, t.zero
    (1, 3, 1, 1, 1)
    """
    one = isinstance(to, (str, Format))
    targets = [to] if isinstance(to, (str, Format)) else list(to)
    if not targets:
        raise HalfulpError(_("no format was named to tally for: give one, such as 'float16'"))
    casts = [profiled_cast(target, rounding, overflow, random_bits) for target in targets]
    seed = checked_seed(casts[0], seed)
    rows = tuple(_tallied(x, casts, seed, errors))
    return rows[0] if one else Tallies(rows)


def _tallied(x: Any, casts: list[Cast], seed: int, errors: bool) -> Iterator[Tally]:
    from halfulp.backends import tallies

    source, parts = tallies.tally_array(x, casts, seed, errors=errors)
    for cast, part in zip(casts, parts, strict=True):
        yield made(cast, source, part.classes, part.binades, part.sums)


def made(
    cast: Cast,
    source: str,
    classes: dict[int, Classes],
    binades: dict[int, int],
    sums: Sums | None,
) -> Tally:
    """The tally of what a backend counted, by sign."""
    total = [sum(column) for column in zip(*classes.values(), strict=True)]
    zero, exact, underflow, overflow, inexact, infinite, nan_in, subnormal = total
    out = {"inf": 0, "nan": 0}
    for sign, counted in classes.items():
        for name, special in _made_special(cast, sign):
            out[special] += getattr(counted, name)
    summary = None
    if sums is not None:
        where = None if sums.where < 0 else sums.where
        summary = Errors(
            sums.compared, sums.error, sums.squared_error, sums.signal, sums.largest, where
        )
    return Tally(
        cast=cast,
        source=source,
        elements=zero + exact + underflow + overflow + inexact + infinite + nan_in,
        zero=zero,
        exact=exact,
        inexact=inexact + underflow + overflow,
        underflow=underflow,
        subnormal=subnormal,
        overflow=overflow,
        infinite=infinite,
        nan=nan_in,
        infinite_out=out["inf"],
        nan_out=out["nan"],
        binades=tuple(sorted(binades.items())),
        errors=summary,
    )


@lru_cache(maxsize=1024)
def _made_special(cast: Cast, sign: int) -> tuple[tuple[str, str], ...]:
    """What values of one sign became that is no finite number: (their class, "inf" or "nan")."""
    codes, negative = cast.codes, sign == 1
    pairs = [
        ("zero", codes.zero_negative if negative else codes.zero),
        ("overflow", codes.over_negative if negative else codes.over),
        ("infinite", codes.infinite_negative if negative else codes.infinite),
        ("nan", codes.nan_negative if negative else codes.nan),
    ]
    if negative and not cast.target.signed and codes.keep == 0:
        pairs.append(("inexact", codes.sign))
    found = [(name, code_number(cast.target, code).special) for name, code in pairs]
    return tuple((name, special) for name, special in found if special)
