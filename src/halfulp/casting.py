"""L1: a cast: which format, which rounding, and what becomes of what has no place in the format.

The rule decides between two neighbours, ``carrier.py`` puts codes together; here are the choices:
policies, casts by name, the patterns that a cast's fates have, and the cast of a single number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from halfulp.carrier import Converted, Outcome, convert, drop_of, placement, settle
from halfulp.catalogue import Format, NanStyle, binade, format
from halfulp.errors import HalfulpError, listed, unknown
from halfulp.exact import Number, finite, number
from halfulp.language import translate as _
from halfulp.records import Record
from halfulp.rounding import DECISIONS, chance_of


class Fate(StrEnum):
    """What a value becomes that has no place in the format."""

    INFINITY = "infinity"
    NAN = "nan"
    MAX = "max"  # the largest finite number, with the value's sign
    POSITIVE_MAX = "positive_max"
    LEAST = "least"  # the least positive number
    ZERO = "zero"
    OPPOSITE_ZERO = "opposite_zero"  # zero with the other sign: ml_dtypes' NaN without a NaN
    MAGNITUDE = "magnitude"  # the sign is dropped


@dataclass(frozen=True)
class Policy(Record):
    """The fates of the values without a place; each applies only where a format lacks one."""

    overflow: Fate  # a finite value beyond what rounds to the largest finite number
    infinite: Fate  # an infinity
    nan: Fate  # a NaN
    zero: Fate = Fate.NAN  # zero, in a format that has none
    negative: Fate = Fate.NAN  # a negative number, in an unsigned format

    def __iter__(self) -> Iterator[Fate]:
        return iter((self.overflow, self.infinite, self.nan, self.zero, self.negative))


#: The strings that ``overflow=`` takes.
OVERFLOWS: dict[str, tuple[Fate, Fate]] = {
    "infinity": (Fate.INFINITY, Fate.INFINITY),
    "nan": (Fate.NAN, Fate.NAN),
    "saturate": (Fate.MAX, Fate.MAX),
    "saturate_finite": (
        Fate.MAX,
        Fate.INFINITY,
    ),  # infinities stay, or are NaN where there are none
}


def default_policy(target: Format) -> Policy:
    """What NumPy and ml_dtypes do: infinity, else NaN, else the largest finite number."""
    fate = _best(target, Fate.INFINITY)
    return Policy(fate, fate, Fate.NAN if target.has_nan else Fate.OPPOSITE_ZERO)


def _best(target: Format, fate: Fate) -> Fate:
    """A fate the format can express: infinity gives way to NaN, NaN to the largest number."""
    if fate is Fate.INFINITY and not target.infinities:
        fate = Fate.NAN
    if fate is Fate.NAN and not target.has_nan:
        fate = Fate.MAX
    return fate


@dataclass(frozen=True)
class Cast(Record):
    """A conversion to a format: rounded once, by one rule, under one policy.

    >>> to_half = cast_to("float16")
    >>> to_half.number("1.12156456132").value
    Fraction(287, 256)
    """

    target: Format
    rounding: str
    policy: Policy
    random_bits: int = 32  # of each stochastic decision

    @cached_property
    def spec(self) -> str:
        """The cast as one line, for those who pass nothing but texts: see :meth:`of_spec`."""
        fates = [fate.value for fate in self.policy]
        return " ".join([self.target.name, self.rounding, *fates, str(self.random_bits)])

    @staticmethod
    @lru_cache(maxsize=1024)
    def of_spec(spec: str) -> Cast:
        """The cast of a line that :attr:`spec` made.

        >>> Cast.of_spec(cast_to("float16", "up").spec) == cast_to("float16", "up")
        True
        """
        name, rounding, *fates, bits = spec.split()
        return _cast(format(name), rounding, Policy(*map(Fate, fates)), int(bits))

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        # Casts are looked up at every call; a dataclass would hash all its parts each time.
        return hash((self.target, self.rounding, self.policy, self.random_bits))

    @property
    def is_stochastic(self) -> bool:
        """Whether the decisions need random bits."""
        return self.rounding == "stochastic"

    @property
    def decide(self) -> Callable[..., Any]:
        """The rule's decision function."""
        return DECISIONS[self.rounding]

    def overflows_away(self, negative: bool) -> bool:
        """Whether a rounded value beyond the range leaves it (IEEE 754-2019 §7.4), by sign."""
        if self.rounding in ("up", "down"):
            return negative == (self.rounding == "down")
        return self.rounding not in ("toward_zero", "to_odd")

    @cached_property
    def codes(self) -> Outcome:
        """The patterns of this cast when it answers with codes."""
        return outcome(self, self.target)

    def number(self, source: Any, *, word: int = 0) -> Number:
        """The cast of one number of any kind and size, rounded once from its exact value."""
        return code_number(self.target, self.code(source, word=word))

    def code(self, source: Any, *, word: int = 0) -> int:
        """The code that one number becomes."""
        return self.detail(number(source), word=word).code

    def detail(self, source: Number, *, word: int = 0) -> Detail:
        """The cast of one number with everything the rule saw: what explanations are made of."""
        exact = abs(source.value) if source.is_finite else Fraction(0)
        exponent, significand, width, sticky = _significand(exact, self.target)
        # An exact carrier has room for every shift: nothing is ever clamped.
        place = placement(self.target, width, self.target.bias, longest=1 << 30)
        field = exponent + self.target.bias
        chance = chance_of(word, self.random_bits, drop_of(field, place), place.longest)
        negative = int(source.negative)
        step = convert(negative, field, significand, place, chance, self.decide)
        over = source.is_finite and step.code > self.target.max_code
        special = (source.special == "inf", source.is_nan)
        code = settle(
            step.code, negative, step.rule.rounded == 0, exact == 0, over, *special, self.codes
        )
        return Detail(source, code, step, significand, width, exponent, sticky, bool(over))


class Detail(NamedTuple):
    """One number's cast in full: the exact operands of the rule and what it answered."""

    source: Number
    code: int
    step: Converted
    significand: int  # the source's, ``width`` bits; the last stands for all that follow if sticky
    width: int
    exponent: int  # of the significand's first bit
    sticky: bool  # the source has further bits, without end
    overflow: bool


def cast_to(
    target: str | Format,
    rounding: str = "nearest_even",
    overflow: str | Policy | None = None,
    random_bits: int = 32,
) -> Cast:
    """A cast from names: the border at which strings are accepted, and checked.

    Raises HalfulpError for an unknown format, rounding or overflow.
    """
    found = format(target)
    if not isinstance(rounding, str) or rounding not in DECISIONS:
        raise unknown(_("rounding"), str(rounding), DECISIONS)
    if not isinstance(random_bits, int) or not 1 <= random_bits <= 32:
        raise HalfulpError(
            _("random_bits is {random_bits}: allowed are 1 to 32").format(random_bits=random_bits)
        )
    return _cast(found, rounding, policy_of(found, overflow), random_bits)


def checked_seed(cast: Cast, seed: int | None) -> int:
    """The seed of a cast; what draws nothing needs none.

    Raises HalfulpError where one is needed and missing, and for what is no integer.
    """
    if cast.is_stochastic and seed is None:
        raise HalfulpError(_("stochastic rounding draws random bits: pass seed=, any integer"))
    if seed is not None and not isinstance(seed, int):
        raise HalfulpError(
            _("seed must be an integer: found {found}").format(found=type(seed).__name__)
        )
    return seed or 0


@lru_cache(maxsize=1024)
def _cast(target: Format, rounding: str, policy: Policy, random_bits: int) -> Cast:
    # One object for equal casts, so that what it derives is derived once.
    return Cast(target, rounding, policy, random_bits)


def policy_of(target: Format, overflow: str | Policy | None) -> Policy:
    """A policy from what ``overflow=`` takes, made of fates that the format can express."""
    chosen = default_policy(target)
    if isinstance(overflow, Policy):
        chosen = overflow
    elif overflow is not None:
        if not isinstance(overflow, str) or overflow not in OVERFLOWS:
            raise unknown(_("overflow"), str(overflow), OVERFLOWS)
        finite, infinite = OVERFLOWS[overflow]
        if finite is Fate.INFINITY and not target.infinities:
            raise _cannot(target, overflow, _("infinities"))
        if finite is Fate.NAN and not target.has_nan:
            raise _cannot(target, overflow, "NaN")
        chosen = Policy(finite, infinite, chosen.nan)
    return Policy(
        _best(target, chosen.overflow), _best(target, chosen.infinite), _best(target, chosen.nan),
        _best(target, chosen.zero), _best(target, chosen.negative),
    )  # fmt: skip


def _cannot(target: Format, overflow: str, lacking: str) -> HalfulpError:
    able = [name for name, (fate, _infinite) in OVERFLOWS.items() if _best(target, fate) is fate]
    return HalfulpError(
        _(
            "{target} has no {lacking}, so it cannot overflow to {overflow!r}: allowed is {able}"
        ).format(target=target, lacking=lacking, overflow=overflow, able=listed(able))
    )


# The patterns of a cast.


def outcome(cast: Cast, container: Format) -> Outcome:
    """The Outcome of a cast whose results are written as codes of ``container``.

    That is the target itself for codes, or the format of the source for values.
    """
    target, policy = cast.target, cast.policy

    def write(fate: Fate, negative: bool) -> int:
        if negative and not target.signed:
            fate = fate if policy.negative is Fate.MAGNITUDE else policy.negative
            negative = False
        return number_code(container, _fated(target, fate, negative))

    over = [policy.overflow if cast.overflows_away(n) else Fate.MAX for n in (False, True)]
    void = Fate.ZERO if target.zero else Fate.LEAST
    zero = Fate.ZERO if target.zero else policy.zero
    drops_sign = not target.signed and policy.negative is not Fate.MAGNITUDE
    return Outcome(
        keep=0 if drops_sign else -1,
        sign=write(policy.negative, True) if drops_sign else container.sign_bit * target.signed,
        void=write(void, False),
        void_negative=write(void, True),
        zero=write(zero, False),
        zero_negative=write(zero, target.signed),
        over=write(over[0], False),
        over_negative=write(over[1], True),
        infinite=write(policy.infinite, False),
        infinite_negative=write(policy.infinite, True),
        nan=write(policy.nan, False),
        nan_negative=write(policy.nan, target.signed),
    )


def _fated(target: Format, fate: Fate, negative: bool) -> Number:
    """What a value without a place becomes."""
    zero = finite(Fraction(0), negative and target.signed_zero)
    largest = finite(-target.max if negative else target.max)
    least = finite(-target.least_positive if negative else target.least_positive)
    return {
        Fate.INFINITY: Number(negative=negative, special="inf"),
        Fate.NAN: Number(negative=negative and target.signed_zero, special="nan"),
        Fate.MAX: largest,
        Fate.POSITIVE_MAX: finite(target.max),
        Fate.LEAST: least,
        Fate.ZERO: zero,
        Fate.OPPOSITE_ZERO: finite(Fraction(0), target.signed_zero and not negative),
    }[fate]


def number_code(container: Format, given: Number) -> int:
    """The code of a number that the format has; beyond its range, of infinity or NaN.

    >>> hex(number_code(format("float16"), number("-1.12109375")))
    '0xbc7c'
    """
    sign = container.sign_bit if given.negative else 0
    if given.is_finite and abs(given.value) <= container.max:
        code = magnitude_code(container, abs(given.value))
        return code | (sign if code or container.signed_zero else 0)
    if container.infinities and not given.is_nan:
        return (container.max_code + 1) | sign
    nan = container.nan_code
    return (container.max_code if nan is None else nan) | (sign if container.signed_zero else 0)


def magnitude_code(container: Format, magnitude: Fraction) -> int:
    """The code of a magnitude that the format has exactly."""
    if not magnitude:
        return 0
    exponent = max(binade(magnitude), container.emin)
    # The significand is a whole number, so that shifts divide; gcd takes the square of the length.
    left = container.fraction_bits - exponent - (magnitude.denominator.bit_length() - 1)
    significand = magnitude.numerator << left if left >= 0 else magnitude.numerator >> -left
    return significand + ((exponent + container.bias - 1) << container.fraction_bits)


def _significand(exact: Fraction, target: Format) -> tuple[int, int, int, bool]:
    """Exponent, significand, its width, and whether a sticky last bit stands for an endless rest.

    All bits of a dyadic number; of others 64 beyond the precision, and the sticky bit.
    """
    precision = target.precision
    if not exact:
        return target.emin, 0, precision, False
    exponent = binade(exact)
    if exact.denominator & (exact.denominator - 1) == 0:
        length = exact.numerator.bit_length()
        width = max(precision, length)
        return exponent, exact.numerator << (width - length), width, False
    width = precision + 64
    left = width - 1 - exponent
    over, under = exact.numerator << max(left, 0), exact.denominator << max(-left, 0)
    return exponent, over // under << 1 | 1, width + 1, True


def code_number(target: Format, code: int) -> Number:
    """What a code means, exactly.

    Raises HalfulpError for a code the format does not have.

    >>> str(code_number(format("float16"), 0x3C7C))
    '1.12109375'
    """
    if not 0 <= code < target.codes:
        raise HalfulpError(
            _("{target} has no code {code}: its codes are 0 to {last}").format(
                target=target, code=hex(code), last=target.hex(target.codes - 1)
            )
        )
    magnitude = code & ~target.sign_bit
    negative = bool(code & target.sign_bit)
    if negative and magnitude == 0 and not target.signed_zero:
        is_nan = target.nan is NanStyle.NEGATIVE_ZERO
        return Number(special="nan") if is_nan else Number()
    if magnitude <= target.max_code:
        value = target.magnitude(magnitude)
        return finite(-value if negative else value, negative and target.signed_zero)
    if magnitude == target.infinity_code:
        return Number(negative=negative, special="inf")
    return Number(negative=negative, special="nan")
