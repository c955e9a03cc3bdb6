"""L3: conversions and operations as text for 80 columns. It only writes; the data knows."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from halfulp.exact import digits
from halfulp.explanations.conversion import Conversion, Explanation, Fields, Reason
from halfulp.explanations.page import Page, Part, share, shown

if TYPE_CHECKING:  # explaining a conversion does not need it, and starts the faster
    from halfulp.explanations.operation import Operation, Term

REASONS: dict[Reason, str] = {
    Reason.EXACT: "nothing is lost: the value is exact",
    Reason.BELOW_HALF: "{rest} of an ulp is left over, less than half: toward zero, to {value}",
    Reason.ABOVE_HALF: "{rest} of an ulp is left over, more than half: away from zero, to {value}",
    Reason.TIE_STAYS: "exactly half an ulp is left over, a tie: {parity} even, so it stays",
    Reason.TIE_UP: "exactly half an ulp is left over, a tie: {parity} odd, so it goes on to the "
    "even neighbour",
    Reason.TIE_AWAY: "exactly half an ulp is left over, a tie: away from zero",
    Reason.TOWARD_ZERO: "{rest} of an ulp is left over, and {rounding} drops it",
    Reason.AWAY: "{rest} of an ulp is left over, and {rounding} takes the neighbour away from zero",
    Reason.ODD: "{rest} of an ulp is left over, and to_odd keeps that in an odd last bit",
    Reason.OVERFLOW: "overflow: beyond what rounds to the largest number, {max}, so it becomes "
    "{value}",
    Reason.SATURATED: "overflow: beyond what rounds to the largest number, {max}: saturated",
    Reason.UNDERFLOW: "underflow: not more than half the least positive number, {least}, so it "
    "becomes zero",
    Reason.STAYS_IN_RANGE: "beyond the largest number, and {rounding} does not leave the range: "
    "it becomes {value}",
    Reason.CUT_TO_ZERO: "less than the least positive number, {least}, and {rounding} takes it to "
    "zero",
    Reason.LEAST: "less than the least number, and there is no zero: it becomes the least, {value}",
    Reason.INFINITY: "an infinity: it becomes {value}",
    Reason.NAN: "not a number: it becomes {value}",
    Reason.NO_PLACE: "{format} has no place for this value: it becomes {value}",
}
SYMBOLS = {"add": "+", "multiply": "×"}
BITS_SHOWN = 56


def explanation_page(e: Explanation) -> Page:
    """A chain of conversions, step by step."""
    out = Page()
    out.line((_cut(e.input, 76), "title"))
    if e.exact.is_finite:
        out.labelled("decimal", shown(e.exact, 64))
        out.labelled("binary", _cut(str(digits(e.exact, 2, limit=2000)), 64))
    for step in e.results:
        out.blank()
        _conversion(out, step)
    if e.double_rounding:
        out.blank()
        _double_rounding(out, e)
    return out


def _double_rounding(out: Page, e: Explanation) -> None:
    assert e.double_rounding is not None, "called only where the chain and the direct cast differ"
    out.line(
        ("double rounding", "bad"), ": straight to ", e.double_rounding.format.name, " it is ",
        (shown(e.double_rounding.value), "title"), f" ({e.double_rounding.code})",
    )  # fmt: skip
    out.labelled("", f"The chain rounds {len(e.results)} times, and each rounding sees only "
        "what the ones before it left.")  # fmt: skip


def _conversion(out: Page, c: Conversion) -> None:
    source = f" from {c.source_format}" if c.source_format else ""
    out.line(("→ ", "dim"), (c.format.name, "title"), (f"{source}, {c.rounding}", "dim"))
    out.labelled("value", (shown(c.value), "title"), _kind(c.fields))
    _bits(out, c)
    if c.kept:
        _kept_and_dropped(out, c)
    out.labelled("because", _reason(c))
    if c.next_bit_value is not None:
        others = "frameworks take ties to even" if c.format.fraction_bits else "as some stacks do"
        differs = f"would give {shown(c.next_bit_value, 30)}: {others}"
        out.labelled("", f'"look at the next bit" (1 up, 0 down) {differs}')
    if c.error:
        ulps = share(c.error_ulps or Fraction(0))
        equals = "" if ulps.startswith("≈") else "= "
        out.labelled("error", f"{shown(c.error, 44)}  {equals}{ulps} ulp")
    if c.error_from_input is not None and c.error_from_input != c.error:
        out.labelled("in all", f"{shown(c.error_from_input, 48)} from the number given")


def _bits(out: Page, c: Conversion) -> None:
    """The fields, and the code beside them or, where they fill the line, below."""
    if c.format.width <= 60:
        out.labelled("bits", *coloured(c.fields), ("   " + c.code, "dim"))
        return
    room = 64 - c.format.exponent_bits - int(c.format.signed)
    out.labelled("bits", *coloured(replace(c.fields, fraction=_cut(c.fields.fraction, room))))
    out.labelled("code", c.code)


def _kept_and_dropped(out: Page, c: Conversion) -> None:
    power = f" × 2^{c.exponent}"
    out.labelled("kept", (_cut(_point(c.kept), BITS_SHOWN), "fraction"), power)
    if not c.dropped and not c.endless:
        return
    rest = _cut(c.dropped + ("…" if c.endless else ""), 32)
    out.labelled(
        "dropped", (rest, "dim"), (f"  guard {c.guard}, round {c.round}, sticky {c.sticky}", "dim")
    )


def _reason(c: Conversion) -> str:
    rest = abs(c.error or Fraction(0)) / c.ulp
    rest = 1 - rest if c.error and (c.error > 0) != c.source.negative else rest
    bit = int(c.reason is Reason.TIE_UP)
    # Without fraction bits every significand is odd, and it is the code that is even or not.
    parity = f"the last kept bit is {bit}," if c.format.fraction_bits else "its code is"
    return REASONS[c.reason].format(
        rest=share(rest),
        parity=parity,
        value=shown(c.value, 34),
        rounding=c.rounding,
        format=c.format,
        max=shown(c.format.max, 34),
        least=shown(c.format.least_positive, 34),
    )


def coloured(f: Fields) -> list[Part]:
    """The bits of a code, its fields apart."""
    parts: list[Part] = []
    for text, style in ((f.sign, "sign"), (f.exponent, "exponent"), (f.fraction, "fraction")):
        if text:
            parts += [(text, style), " "]
    return parts[:-1]


def _kind(f: Fields) -> str:
    return f"  ({f.kind})" if f.kind == "subnormal" else ""


def _point(bits: str) -> str:
    return bits[0] + ("." + bits[1:] if len(bits) > 1 else "")


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def operation_page(o: Operation) -> Page:
    """An addition or multiplication, bit by bit."""
    out = Page()
    a, b = o.operands
    symbol = SYMBOLS[o.operation]
    sides = f"{_cut(a.text, 30)} {symbol} {_cut(b.text, 30)}"
    out.line((sides, "title"), (f"  in {o.format.name}", "dim"))
    for term in o.operands:
        _term(out, term)
    if o.promoted:
        names = " and ".join(str(t.format) for t in o.operands)
        out.labelled("promoted", f"{names} meet in {o.format}, where both are exact")
    out.blank()
    if o.exponent is not None and all(t.exponent is not None for t in o.operands):
        (_alignment if o.operation == "add" else _product)(out, o)
    out.labelled("exact", (shown(o.exact), "title"))
    if o.exact.is_nan and not any(t.value.is_nan for t in o.operands):
        out.labelled("", "inf - inf and 0 × inf have no value")
    out.blank()
    _conversion(out, o.result)
    return out


def _term(out: Page, t: Term) -> None:
    value = f"  = {shown(t.value, 40)}"
    width = t.format.width if t.format else 0
    bits: list[Part] = coloured(t.fields) if t.fields and width <= 32 else []
    if width > 32 and t.code:
        bits = [(t.code, "dim")]
    if width + len(value) > 66 and bits:
        out.labelled(str(t.format), *bits)
        out.labelled("", value.strip())
    else:
        out.labelled(str(t.format or "exact"), *bits, value)
    if t.rounded:
        out.labelled("", f"(rounded from {shown(t.given, 40)})")


def _alignment(out: Page, o: Operation) -> None:
    a, b = o.operands
    top = max(t.exponent or 0 for t in o.operands)
    late = next((t for t in o.operands if t.shift), None)
    if late is None:
        out.labelled("exponents", f"both {a.exponent}: the significands are already aligned")
    else:
        out.labelled("exponents", f"{a.exponent} and {b.exponent}: the smaller goes {late.shift} "
            f"place{'s' * (late.shift > 1)} right")  # fmt: skip
    rows = [(_sign(t.value.negative), _shifted(t.significand, t.shift)) for t in o.operands]
    total = _shifted(o.significand, -o.normalise)
    # A sum that carried has two digits before the point: the others make room for it.
    wide = max(text.index(".") for _, text in [*rows, ("", total)])
    for lead, (sign, text) in zip((" ", "+"), rows, strict=True):
        out.line("    ", f"{lead} {sign}", (_fit(_pad(text, wide)), "fraction"), f"  × 2^{top}")
    out.line(
        "    ", f"= {_sign(o.exact.negative)}", (_fit(_pad(total, wide)), "key"), f"  × 2^{top}"
    )
    _normalisation(out, o)


def _product(out: Page, o: Operation) -> None:
    a, b = o.operands
    power = (a.exponent or 0) + (b.exponent or 0)
    out.labelled("exponents", f"{a.exponent} + {b.exponent} = {power}".replace("+ -", "- "))
    if o.exact.negative or a.value.negative:
        signs = " × ".join("-" if t.value.negative else "+" for t in o.operands)
        out.labelled("signs", f"{signs} = {'-' if o.exact.negative else '+'}")
    out.line("      ", (_fit(_shifted(a.significand, 0)), "fraction"))
    out.line("    × ", (_fit(_shifted(b.significand, 0)), "fraction"))
    raw = _shifted(o.significand, -o.normalise)
    out.line("    = ", (_fit(raw), "key"), f"  × 2^{power}")
    _normalisation(out, o)


def _normalisation(out: Page, o: Operation) -> None:
    if o.normalise > 0:
        out.labelled("carry", f"the point moves {o.normalise} left: exponent {o.exponent}")
    elif o.normalise < 0:
        out.labelled("cancels", f"the point moves {-o.normalise} right: exponent {o.exponent}")


def _sign(negative: bool) -> str:
    return "-" if negative else " "


def _shifted(bits: str, right: int) -> str:
    """A significand with its point, moved ``right`` places (left if negative)."""
    if right <= 0:
        bits = bits.ljust(1 - right, "0")
        return f"{bits[: 1 - right]}.{bits[1 - right :] or '0'}"
    return "0." + "0" * (right - 1) + bits


def _pad(text: str, wide: int) -> str:
    return " " * (wide - text.index(".")) + text


def _fit(text: str) -> str:
    """Bits cut to the line, a long run of zeros after the point counted instead of drawn."""
    if len(text) <= BITS_SHOWN:
        return text
    head, _, tail = text.partition(".")
    zeros = len(tail) - len(tail.lstrip("0"))
    if zeros > 16:
        text = f"{head}.0…{zeros} zeros…0{tail[zeros:]}"
    return _cut(text, BITS_SHOWN)
