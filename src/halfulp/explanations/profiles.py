"""L3: where two stacks make different things of the same value, and which rule of theirs it is.

Stacks round alike; they differ in the fates of what has no place in a format: the fields of
:class:`halfulp.casting.Policy`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from halfulp.casting import Cast, code_number
from halfulp.catalogue import Format, format, formats
from halfulp.conversion import encode, kind_of
from halfulp.errors import HalfulpError
from halfulp.exact import Number, number
from halfulp.profiles import profile_of, profiled_cast
from halfulp.records import Record, data_frame

EXAMPLES = 3  # elements of an array that are shown

#: What a value without a place is called, by the field of the policy that decides.
FIELDS = {
    "overflow": "a finite value beyond the largest number",
    "infinite": "an infinity",
    "nan": "NaN",
    "zero": "zero, which the format has not",
    "negative": "a negative number, which the format has not",
}


@dataclass(frozen=True)
class Example(Record):
    """One value that two profiles cast to different codes."""

    value: str
    index: int | None  # in C order, of an array
    a_code: str
    a_value: str
    b_code: str
    b_value: str


@dataclass(frozen=True)
class Difference(Record):
    """What one field of the policies does to the values of one format."""

    name: str  # of the format
    field: str  # of Policy
    a_fate: str
    b_fate: str
    differing: int  # elements
    elements: int
    examples: tuple[Example, ...]

    @property
    def sentence(self) -> str:
        """The rule in words."""
        return f"{FIELDS[self.field]} becomes {self.a_fate} in one and {self.b_fate} in the other"


@dataclass(frozen=True)
class ProfileDiff(Record):
    """Where two profiles differ on a value or an array."""

    renderer = "halfulp.explanations.profiles_text:diff_page"

    a: str
    b: str
    a_source: str
    b_source: str
    subject: str
    compared: tuple[str, ...]  # names of formats
    differences: tuple[Difference, ...]

    def __bool__(self) -> bool:
        return bool(self.differences)

    def to_pandas(self) -> Any:
        """One row a format and field."""
        return data_frame(self.differences, leave_out=["examples"])


def profile_diff(
    a: str, b: str, x: Any, to: str | Format | Sequence[str | Format] | None = None
) -> ProfileDiff:
    """Where casts of ``x`` differ under two profiles, and which rule makes the difference.

    ``x`` is a number of any kind or an array of floats; ``to`` one format or several, by default
    the whole catalogue.

    Raises HalfulpError for unknown names, and for what cannot be cast.

    >>> diff = profile_diff("torch", "ml_dtypes", 1e6, "float8_e4m3fn")
    >>> [(d.field, d.a_fate, d.b_fate) for d in diff.differences]
    [('overflow', 'max', 'nan')]
    """
    source_a, source_b = profile_of(a).source, profile_of(b).source
    asked: Sequence[str | Format] = formats() if to is None else _listed(to)
    targets = tuple(format(target) for target in asked)
    if not targets:
        raise HalfulpError("no format was named to compare in: give one, such as 'float8_e4m3fn'")
    kind = kind_of(x)
    if kind not in (None, "numpy"):
        raise HalfulpError(f"profiles are compared on NumPy arrays and numbers, not on {kind}'s")
    found: list[Difference] = []
    for target in targets:
        casts = [profiled_cast(target, "nearest_even", name) for name in (a, b)]
        found += _on_array(x, *casts) if kind else _on_number(number(x), *casts)
    subject = f"{x.size} elements of {x.dtype}" if kind else str(number(x))
    names = tuple(target.name for target in targets)
    return ProfileDiff(a, b, source_a, source_b, subject, names, tuple(found))


def _listed(to: str | Format | Sequence[str | Format]) -> Sequence[str | Format]:
    return [to] if isinstance(to, (str, Format)) else list(to)


def _on_number(x: Number, a: Cast, b: Cast) -> list[Difference]:
    codes = a.code(x), b.code(x)
    if codes[0] == codes[1]:
        return []
    return [_difference(a, b, _field_of(x, a), 1, 1, [_example(str(x), None, a, codes)])]


def _on_array(x: Any, a: Cast, b: Cast) -> list[Difference]:
    import numpy as np

    flat = np.ravel(x)
    codes = [encode(flat, c.target, overflow=c.policy) for c in (a, b)]
    at = np.flatnonzero(codes[0] != codes[1])
    values = flat[at].astype(np.float64)
    fields: dict[str, Callable[[], Any]] = {
        "nan": lambda: np.isnan(values),
        "infinite": lambda: np.isinf(values),
        "zero": lambda: values == 0,
        "negative": lambda: (values < 0) & (not a.target.signed),
        "overflow": lambda: np.ones(values.shape, bool),
    }
    found, left = [], np.ones(values.shape, bool)
    for field, belongs in fields.items():
        chosen = np.flatnonzero(left & belongs())
        left[chosen] = False
        if chosen.size:
            examples = [
                _example(str(number(float(values[i]))), int(at[i]), a,
                         (int(codes[0][at[i]]), int(codes[1][at[i]])))
                for i in chosen[:EXAMPLES]
            ]  # fmt: skip
            found.append(_difference(a, b, field, chosen.size, flat.size, examples))
    return found


def _field_of(x: Number, cast: Cast) -> str:
    if x.is_nan:
        return "nan"
    if not x.is_finite:
        return "infinite"
    if not x.value:
        return "zero"
    return "negative" if x.negative and not cast.target.signed else "overflow"


def _difference(
    a: Cast, b: Cast, field: str, differing: int, elements: int, examples: list[Example]
) -> Difference:
    a_fate, b_fate = (str(getattr(cast.policy, field).value) for cast in (a, b))
    return Difference(
        a.target.name, field, a_fate, b_fate, int(differing), int(elements), tuple(examples)
    )


def _example(value: str, index: int | None, cast: Cast, codes: tuple[int, int]) -> Example:
    target = cast.target
    a_value, b_value = (str(code_number(target, code)) for code in codes)
    return Example(value, index, target.hex(codes[0]), a_value, target.hex(codes[1]), b_value)
