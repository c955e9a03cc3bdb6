"""L3: where two stacks make different things of the same value, and which rule of theirs it is.

Stacks round alike but for ties; they differ in the fates of what has no place in a format: the
fields of :class:`halfulp.casting.Policy`. The rule behind a difference is found by trying: taken
over from the other stack, it gives the other stack's result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from halfulp.arithmetic import operand
from halfulp.casting import Cast, Fate, Policy, code_number
from halfulp.catalogue import Format, format, formats
from halfulp.conversion import encode, kind_of
from halfulp.errors import HalfulpError
from halfulp.exact import Number, number
from halfulp.explanations.page import shown
from halfulp.language import N_
from halfulp.language import translate as _
from halfulp.profiles import profile_of, profiled_cast, require
from halfulp.records import Record, data_frame

EXAMPLES = 3  # elements of an array that are shown

# What is true of a format where two stacks part, by the rule they part in.
_SUBJECTS = {
    "overflow": N_("{max} is the largest number of {format}"),
    "infinite": N_("{format} has an infinity"),
    "nan": N_("{format} has no NaN"),
    "zero": N_("{format} has no zero"),
    "negative": N_("{format} has no negative numbers"),
    "tie": N_("a tie is halfway between two numbers of {format}"),
    "rounding": N_("a value between two numbers of {format} goes to one of them"),
}
_NO_INFINITY = N_("{format} has no infinity")
# What a stack does, by its fate or rounding, and where that is read.
_DEEDS = {
    Fate.INFINITY: N_("{name} gives infinity ({source})"),
    Fate.NAN: N_("{name} gives NaN ({source})"),
    Fate.MAX: N_("{name} saturates ({source})"),
    Fate.POSITIVE_MAX: N_("{name} gives {max} ({source})"),
    Fate.LEAST: N_("{name} gives the least number, {least} ({source})"),
    Fate.ZERO: N_("{name} gives zero ({source})"),
    Fate.OPPOSITE_ZERO: N_("{name} gives zero with the opposite sign ({source})"),
    Fate.MAGNITUDE: N_("{name} drops the sign ({source})"),
    "nearest_even": N_("{name} takes the even code ({source})"),
    "nearest_away": N_("{name} goes to the nearest, ties away from zero ({source})"),
    "up": N_("{name} goes up ({source})"),
}
_RULE = N_("{subject}; {a}, {b}")


@dataclass(frozen=True)
class Example(Record):
    """One value that two profiles cast to different codes."""

    value: Number
    index: int | None  # in C order, of an array
    a_code: str
    a_value: Number
    b_code: str
    b_value: Number


@dataclass(frozen=True)
class Difference(Record):
    """What one rule of two profiles does to the values of one format."""

    name: str  # of the format
    field: str  # of Policy; or "tie", or "rounding" where one does not round to nearest
    a_fate: str  # of Fate; or a rounding
    b_fate: str
    sentence: str  # the rule in words
    differing: int  # elements
    elements: int
    examples: tuple[Example, ...]  # the first ones


@dataclass(frozen=True)
class ProfileDiff(Record):
    """Where two profiles differ on a value or an array; false where they do not."""

    renderer = "halfulp.explanations.profiles_text:diff_page"

    a: str
    b: str
    a_source: str
    b_source: str
    subject: str  # the number as it was given, or what array it is
    elements: int | None  # of an array
    compared: tuple[str, ...]  # names of formats
    differences: tuple[Difference, ...]

    def __bool__(self) -> bool:
        return bool(self.differences)

    def to_pandas(self) -> Any:
        """One row a format and rule, with its first example."""
        rows = [_Row.of(d) for d in self.differences]
        return data_frame(rows or [_Row()]).iloc[: len(rows)]


@dataclass(frozen=True)
class _Row(Record):
    name: str = ""
    field: str = ""
    a_fate: str = ""
    b_fate: str = ""
    differing: int = 0
    elements: int = 0
    index: int | None = None
    value: Number | None = None
    a_code: str = ""
    a_value: Number | None = None
    b_code: str = ""
    b_value: Number | None = None
    sentence: str = ""

    @staticmethod
    def of(d: Difference) -> _Row:
        parts = {**vars(d.examples[0]), **vars(d)}
        return _Row(**{f.name: parts[f.name] for f in fields(_Row)})


def profile_diff(
    a: str,
    b: str,
    x: Any,
    to: str | Format | Sequence[str | Format] | None = None,
    *,
    rounding: str = "nearest_even",
) -> ProfileDiff:
    """Where casts of ``x`` differ under two profiles, and which rule makes each difference.

    ``x`` is a number or text as in :func:`halfulp.explain`, or an array of floats of any shape
    (NumPy, torch, JAX); ``to`` one format or several, by default all that both stacks have.

    Raises HalfulpError for unknown names, for a format that one of the stacks does not have, and
    for what cannot be cast.

    >>> diff = profile_diff("torch", "ml_dtypes", 1e6, "float8_e4m3fn")
    >>> [(d.field, d.a_fate, d.b_fate) for d in diff.differences]
    [('overflow', 'max', 'nan')]
    >>> bool(profile_diff("torch", "ml_dtypes", 448.0))
    False
    """
    sources = profile_of(a).source, profile_of(b).source
    targets = _targets(a, b, to)
    if rounding == "stochastic":
        raise HalfulpError(
            _("stochastic results differ by their random bits: name another rounding")
        )
    column = _Array(x) if kind_of(x) else _Single(x)
    found: list[Difference] = []
    for target in targets:
        one, other = (profiled_cast(target, rounding, name) for name in (a, b))
        if one != other:
            found += _differences(column, one, other, (a, b))
    names = tuple(target.name for target in targets)
    return ProfileDiff(a, b, *sources, column.subject, column.elements, names, tuple(found))


def _targets(
    a: str, b: str, to: str | Format | Sequence[str | Format] | None
) -> tuple[Format, ...]:
    if to is None:
        both = {*profile_of(a).formats} & {*profile_of(b).formats}
        return tuple(f for f in formats() if f.name in both)
    found = tuple(format(f) for f in ([to] if isinstance(to, (str, Format)) else to))
    if not found:
        raise HalfulpError(
            _("no format was named to compare in: give one, such as 'float8_e4m3fn'")
        )
    for target in found:
        require(a, target)
        require(b, target)
    return found


class _Single:
    """A number as a column: its codes are an int, what holds of them a bool."""

    elements = None

    def __init__(self, x: Any) -> None:
        given = operand(x)
        self.subject, self.number = given.text, given.number

    def codes(self, cast: Cast) -> Any:
        return cast.code(self.number)

    def where(self, holds: Any) -> Sequence[int]:
        return [0] if holds else []

    def example(self, i: int, codes: tuple[Any, Any]) -> tuple[Number, None, int, int]:
        return self.number, None, codes[0], codes[1]


class _Array:
    """An array of any framework as a column: its codes and what holds of them are NumPy's."""

    def __init__(self, x: Any) -> None:
        self.flat = (x.detach() if hasattr(x, "detach") else x).reshape(-1)
        encode(self.flat[:0], "float16")  # says what cannot be cast, also where nothing differs
        self.elements = int(self.flat.shape[0])
        self.subject = f"{self.elements} element{'s' * (self.elements != 1)} of {x.dtype}"

    def codes(self, cast: Cast) -> Any:
        made = encode(self.flat, cast.target, cast.rounding, overflow=cast.policy)
        return (made.cpu() if hasattr(made, "cpu") else made).__array__()

    def where(self, holds: Any) -> Sequence[int]:
        found: Sequence[int] = holds.nonzero()[0]
        return found

    def example(self, i: int, codes: tuple[Any, Any]) -> tuple[Number, int, int, int]:
        return number(float(self.flat[int(i)])), int(i), int(codes[0][i]), int(codes[1][i])


def _differences(
    column: _Single | _Array, a: Cast, b: Cast, names: tuple[str, str]
) -> Iterator[Difference]:
    """The differences of one format, a rule each."""
    codes = column.codes(a), column.codes(b)
    left = codes[0] != codes[1]
    for rule in (*(f.name for f in fields(Policy)), "rounding"):
        if not len(column.where(left)):
            return
        if _part(a, rule) == _part(b, rule):
            continue
        made = column.codes(_swapped(a, b, rule)) == codes[1]
        made = made | (column.codes(_swapped(b, a, rule)) == codes[0])
        at = column.where(left & made)
        left = left ^ (left & made)
        if len(at):
            examples = [_example(a.target, *column.example(i, codes)) for i in at[:EXAMPLES]]
            yield _difference(a, b, names, rule, len(at), column.elements or 1, tuple(examples))
    assert not len(column.where(left)), f"no single rule parts {names} in {a.target}"


def _part(cast: Cast, rule: str) -> str:
    return cast.rounding if rule == "rounding" else str(getattr(cast.policy, rule))


def _swapped(cast: Cast, other: Cast, rule: str) -> Cast:
    """A cast with one rule taken over from another."""
    if rule == "rounding":
        return replace(cast, rounding=other.rounding)
    return replace(cast, policy=replace(cast.policy, **{rule: getattr(other.policy, rule)}))


def _example(target: Format, value: Number, index: int | None, a_code: int, b_code: int) -> Example:
    a_value, b_value = code_number(target, a_code), code_number(target, b_code)
    return Example(value, index, target.hex(a_code), a_value, target.hex(b_code), b_value)


def _difference(
    a: Cast, b: Cast, names: tuple[str, str], rule: str, differing: int, elements: int,
    examples: tuple[Example, ...],
) -> Difference:  # fmt: skip
    fates = _part(a, rule), _part(b, rule)
    if all(fate.startswith("nearest") for fate in fates):
        rule = "tie"
    sentence = rule_sentence(a.target, rule, names, fates)
    return Difference(a.target.name, rule, *fates, sentence, differing, elements, examples)


def rule_sentence(
    target: Format, rule: str, names: tuple[str, str], fates: tuple[str, str],
    translated: Callable[[str], str] = str,
) -> str:  # fmt: skip
    """The rule in words: what is true of the format, what each stack does, where that is read.

    >>> stacks = "torch", "ml_dtypes"
    >>> print(rule_sentence(format("float8_e4m3fn"), "overflow", stacks, ("max", "nan")))
    448 is the largest number of float8_e4m3fn; torch saturates (torch 2.13, Tensor.to),
    ml_dtypes gives NaN (ml_dtypes 0.6)
    """
    of_format = {
        "format": target, "max": shown(target.max, 24, 6),
        "least": shown(target.least_positive, 24, 6),
    }  # fmt: skip
    subject = _SUBJECTS[rule] if rule != "infinite" or target.infinities else _NO_INFINITY
    a, b = (
        translated(_DEEDS[fate]).format(
            name=name, source=translated(profile_of(name).source_of(target)), **of_format
        )
        for name, fate in zip(names, fates, strict=True)
    )
    return translated(_RULE).format(subject=translated(subject).format(**of_format), a=a, b=b)
