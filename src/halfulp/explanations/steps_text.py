"""L3: conversions and operations as text for 80 columns. It only writes; the data knows."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from halfulp.exact import digits
from halfulp.explanations.columns import cut
from halfulp.explanations.conversion import Conversion, Explanation, Fields, Reason
from halfulp.explanations.page import Page, Part, share, shown, woven
from halfulp.language import N_, plural
from halfulp.language import translate as _

if TYPE_CHECKING:  # explaining a conversion does not need it, and starts the faster
    from halfulp.explanations.operation import Operation, Term

REASONS: dict[Reason, str] = {
    Reason.EXACT: N_("nothing is lost: the value is exact"),
    Reason.BELOW_HALF: N_("{rest} of an ulp is left over, less than half: toward zero, to {value}"),
    Reason.ABOVE_HALF: N_(
        "{rest} of an ulp is left over, more than half: away from zero, to {value}"
    ),
    Reason.TIE_STAYS: N_(
        "exactly half an ulp is left over, a tie: the last kept bit is 0, even, so it stays"
    ),
    Reason.TIE_UP: N_(
        "exactly half an ulp is left over, a tie: the last kept bit is 1, odd, so it goes on to "
        "the even neighbour"
    ),
    Reason.TIE_AWAY: N_("exactly half an ulp is left over, a tie: away from zero"),
    Reason.TOWARD_ZERO: N_("{rest} of an ulp is left over, and {rounding} drops it"),
    Reason.AWAY: N_(
        "{rest} of an ulp is left over, and {rounding} takes the neighbour away from zero"
    ),
    Reason.ODD: N_("{rest} of an ulp is left over, and to_odd keeps that in an odd last bit"),
    Reason.OVERFLOW: N_(
        "overflow: beyond what rounds to the largest number, {max}, so it becomes {value}"
    ),
    Reason.SATURATED: N_("overflow: beyond what rounds to the largest number, {max}: saturated"),
    Reason.UNDERFLOW: N_(
        "underflow: not more than half the least positive number, {least}, so it becomes zero"
    ),
    Reason.STAYS_IN_RANGE: N_(
        "beyond the largest number, and {rounding} does not leave the range: it becomes {value}"
    ),
    Reason.CUT_TO_ZERO: N_(
        "less than the least positive number, {least}, and {rounding} takes it to zero"
    ),
    Reason.LEAST: N_(
        "less than the least number, and there is no zero: it becomes the least, {value}"
    ),
    Reason.INFINITY: N_("an infinity: it becomes {value}"),
    Reason.NAN: N_("not a number: it becomes {value}"),
    Reason.NO_PLACE: N_("{format} has no place for this value: it becomes {value}"),
}
# Without fraction bits every significand is odd, and it is the code that is even or not.
TIES_OF_CODES: dict[Reason, str] = {
    Reason.TIE_STAYS: N_("exactly half an ulp is left over, a tie: its code is even, so it stays"),
    Reason.TIE_UP: N_(
        "exactly half an ulp is left over, a tie: its code is odd, so it goes on to the even "
        "neighbour"
    ),
}
SYMBOLS = {"add": "+", "multiply": "×"}
BITS_SHOWN = 56


def explanation_page(e: Explanation) -> Page:
    """A chain of conversions, step by step."""
    out = Page()
    out.line((cut(e.input, 76), "title"))
    if e.exact.is_finite:
        out.labelled(_("decimal"), shown(e.exact, 64))
        out.labelled(_("binary"), cut(str(digits(e.exact, 2, limit=2000)), 64))
    for step in e.results:
        out.blank()
        _conversion(out, step)
    if e.double_rounding:
        out.blank()
        _double_rounding(out, e)
    return out


def _double_rounding(out: Page, e: Explanation) -> None:
    assert e.double_rounding is not None, "called only where the chain and the direct cast differ"
    direct = e.double_rounding
    text = _("{finding}: straight to {format} it is {value} ({code})")
    out.line(
        *woven(
            text, finding=(_("double rounding"), "bad"), format=direct.format.name,
            value=(shown(direct.value), "title"), code=direct.code,
        )
    )  # fmt: skip
    text = _(
        "The chain rounds {times} times, and each rounding sees only what the ones before it left."
    )
    out.labelled("", text.format(times=len(e.results)))


def _conversion(out: Page, c: Conversion) -> None:
    text = (
        _("→ {format} from {source}, {rounding}")
        if c.source_format
        else _("→ {format}, {rounding}")
    )
    name, source = (c.format.name, "title"), c.source_format or ""
    out.line(*woven(text, "dim", format=name, source=source, rounding=c.rounding))
    out.labelled(_("value"), (shown(c.value), "title"), _kind(c.fields))
    _bits(out, c)
    if c.kept:
        _kept_and_dropped(out, c)
    out.labelled(_("because"), reason_text(c))
    if c.next_bit_value is not None:
        out.labelled("", _next_bit(c).format(value=shown(c.next_bit_value, 30)))
    if c.error:
        ulps = share(c.error_ulps or Fraction(0))
        equals = "" if ulps.startswith("≈") else "= "
        out.labelled(_("error"), f"{shown(c.error, 44)}  {equals}{ulps} ulp")
    if c.error_from_input is not None and c.error_from_input != c.error:
        text = _("{error} from the number given")
        out.labelled(_("in all"), text.format(error=shown(c.error_from_input, 48)))


def _next_bit(c: Conversion) -> str:
    if c.format.fraction_bits:
        return _(
            '"look at the next bit" (1 up, 0 down) would give {value}: frameworks take ties to even'
        )
    return _('"look at the next bit" (1 up, 0 down) would give {value}: as some stacks do')


def _bits(out: Page, c: Conversion) -> None:
    """The fields, and the code beside them or, where they fill the line, below."""
    if c.format.width <= 60:
        out.labelled(_("bits"), *coloured(c.fields), ("   " + c.code, "dim"))
        return
    room = 64 - c.format.exponent_bits - int(c.format.signed)
    out.labelled(_("bits"), *coloured(replace(c.fields, fraction=cut(c.fields.fraction, room))))
    out.labelled(_("code"), c.code)


def _kept_and_dropped(out: Page, c: Conversion) -> None:
    power = f" × 2^{c.exponent}"
    out.labelled(_("kept"), (cut(_point(c.kept), BITS_SHOWN), "fraction"), power)
    if not c.dropped and not c.endless:
        return
    rest = cut(c.dropped + ("…" if c.endless else ""), 32)
    text = _("guard {guard}, round {round}, sticky {sticky}")
    text = text.format(guard=c.guard, round=c.round, sticky=c.sticky)
    out.labelled(_("dropped"), (rest, "dim"), (f"  {text}", "dim"))


def reason_text(c: Conversion) -> str:
    """Why the result is what it is, in a sentence."""
    rest = abs(c.error or Fraction(0)) / c.ulp
    rest = 1 - rest if c.error and (c.error > 0) != c.source.negative else rest
    texts = REASONS if c.format.fraction_bits else REASONS | TIES_OF_CODES
    return _(texts[c.reason]).format(
        rest=share(rest),
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
    return "  " + _("(subnormal)") if f.kind == "subnormal" else ""


def _point(bits: str) -> str:
    return bits[0] + ("." + bits[1:] if len(bits) > 1 else "")


def operation_page(o: Operation) -> Page:
    """An addition or multiplication, bit by bit."""
    out = Page()
    a, b = o.operands
    symbol = SYMBOLS[o.operation]
    sides = f"{cut(a.text, 30)} {symbol} {cut(b.text, 30)}"
    within = _("in {format}").format(format=o.format)
    out.line((sides, "title"), (f"  {within}", "dim"))
    for term in o.operands:
        _term(out, term)
    if o.promoted:
        text = _("{a} and {b} meet in {format}, where both are exact")
        out.labelled(_("promoted"), text.format(a=a.format, b=b.format, format=o.format))
    out.blank()
    if o.exponent is not None and all(t.exponent is not None for t in o.operands):
        (_alignment if o.operation == "add" else _product)(out, o)
    out.labelled(_("exact"), (shown(o.exact), "title"))
    if o.exact.is_nan and not any(t.value.is_nan for t in o.operands):
        out.labelled("", _("inf - inf and 0 × inf have no value"))
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
        out.labelled(str(t.format or _("exact")), *bits, value)
    if t.rounded:
        out.labelled("", _("(rounded from {value})").format(value=shown(t.given, 40)))


def _alignment(out: Page, o: Operation) -> None:
    a, b = o.operands
    top = max(t.exponent or 0 for t in o.operands)
    late = next((t for t in o.operands if t.shift), None)
    if late is None:
        text = _("both {a}: the significands are already aligned")
    else:
        text = plural(
            "{a} and {b}: the smaller goes {n} place right",
            "{a} and {b}: the smaller goes {n} places right", late.shift,
        )  # fmt: skip
    shift = late.shift if late else 0
    out.labelled(_("exponents"), text.format(a=a.exponent, b=b.exponent, n=shift))
    rows = [(_sign(t.value.negative), shifted(t.significand, t.shift)) for t in o.operands]
    total = shifted(o.significand, -o.normalise)
    # A sum that carried has two digits before the point: the others make room for it.
    wide = max(text.index(".") for __, text in [*rows, ("", total)])
    for lead, (sign, text) in zip((" ", "+"), rows, strict=True):
        out.line("    ", f"{lead} {sign}", (_fit(_pad(text, wide)), "fraction"), f"  × 2^{top}")
    out.line(
        "    ", f"= {_sign(o.exact.negative)}", (_fit(_pad(total, wide)), "key"), f"  × 2^{top}"
    )
    _normalisation(out, o)


def _product(out: Page, o: Operation) -> None:
    a, b = o.operands
    power = (a.exponent or 0) + (b.exponent or 0)
    out.labelled(_("exponents"), f"{a.exponent} + {b.exponent} = {power}".replace("+ -", "- "))
    if o.exact.negative or a.value.negative:
        signs = " × ".join("-" if t.value.negative else "+" for t in o.operands)
        out.labelled(_("signs"), f"{signs} = {'-' if o.exact.negative else '+'}")
    out.line("      ", (_fit(shifted(a.significand, 0)), "fraction"))
    out.line("    × ", (_fit(shifted(b.significand, 0)), "fraction"))
    raw = shifted(o.significand, -o.normalise)
    out.line("    = ", (_fit(raw), "key"), f"  × 2^{power}")
    _normalisation(out, o)


def _normalisation(out: Page, o: Operation) -> None:
    if o.normalise > 0:
        text = _("the point moves {n} left: exponent {exponent}")
        out.labelled(_("carry"), text.format(n=o.normalise, exponent=o.exponent))
    elif o.normalise < 0:
        text = _("the point moves {n} right: exponent {exponent}")
        out.labelled(_("cancels"), text.format(n=-o.normalise, exponent=o.exponent))


def _sign(negative: bool) -> str:
    return "-" if negative else " "


def shifted(bits: str, right: int) -> str:
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
    head, tail = text.split(".")
    zeros = len(tail) - len(tail.lstrip("0"))
    if zeros > 16:
        counted = _("{n} zeros").format(n=zeros)
        text = f"{head}.0…{counted}…0{tail[zeros:]}"
    return cut(text, BITS_SHOWN)
