"""L1: in which format two operands of different formats meet: halfulp's rule, and frameworks'.

- ``halfulp``: in the one that holds both, or the least standard one that does.
- ``numpy``: in what NumPy's own sum of ml_dtypes' types is; NumPy is asked, for it has no rule.
- ``torch``, ``jax``: in the wider of the types of 16 bits and more, float16 and bfloat16 in
  float32; smaller types in nothing but themselves.

Sources: torch.promote_types; jax.numpy.promote_types (JEP 9407); both are run against in tests.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

from halfulp.catalogue import Format, format
from halfulp.errors import HalfulpError, unknown
from halfulp.language import translate as _

# Types that torch and JAX promote, each after all that it gives way to.
PROMOTED = ("float16", "bfloat16", "float32", "float64")


def promoted(*given: Format, rule: str = "halfulp") -> Format:
    """The format that operands meet in, from left to right.

    Raises HalfulpError for an unknown rule, and for formats that meet in none.

    >>> promoted(format("float16"), format("bfloat16")).name
    'float32'
    >>> promoted(format("float16"), format("float32"), rule="torch").name
    'float32'
    """
    if rule not in RULES:
        raise unknown(_("promotion"), rule, RULES)
    if rule == "halfulp":
        return _held(given)
    return reduce(RULES[rule], given)


def _held(given: tuple[Format, ...]) -> Format:
    for candidate in (*given, format("float32"), format("float64")):
        if all(candidate.holds(f) for f in given):
            return candidate
    names = _(" and ").join(str(f) for f in given)
    raise HalfulpError(
        _("no standard format holds both {names}: name one with --in").format(names=names)
    )


def _by_framework(framework: str) -> Callable[[Format, Format], Format]:
    def rule(a: Format, b: Format) -> Format:
        if a == b:
            return a
        if a.name not in PROMOTED or b.name not in PROMOTED:
            raise _apart(framework, a, b)
        if {a.name, b.name} == {"float16", "bfloat16"}:
            return format("float32")
        return max(a, b, key=lambda f: PROMOTED.index(f.name))

    return rule


def _by_numpy(a: Format, b: Format) -> Format:
    from halfulp.backends.numpy import added_dtype

    found = added_dtype(a, b)
    if found is None:
        raise _apart("numpy", a, b)
    return found


def _apart(framework: str, a: Format, b: Format) -> HalfulpError:
    return HalfulpError(
        _(
            "{framework} does not add {a} and {b}: convert one of them first, or name the "
            "format of the result"
        ).format(framework=framework, a=a, b=b)
    )


RULES: dict[str, Callable[[Format, Format], Format]] = {
    "halfulp": lambda a, b: _held((a, b)),
    "numpy": _by_numpy,
    "torch": _by_framework("torch"),
    "jax": _by_framework("jax"),
}
