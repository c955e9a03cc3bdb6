"""A loss scale and what it does to gradients as text: counts first, then the scales that fit."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from halfulp.catalogue import binade, power_of_two
from halfulp.explanations.columns import columns, wrapped
from halfulp.explanations.page import WIDTH, Page, shown
from halfulp.language import N_
from halfulp.language import translate as _
from halfulp.loss_scales.counts import Looked
from halfulp.loss_scales.shares import FormatShares, ScaleShares
from halfulp.runs.finding import share

EVEN, NAME = 2, 15  # columns that a line begins with, and of most names of formats
FITS = N_("{least} to {largest}, and {scale} fits")
LOW = N_("{least} to {largest}, and {scale} is too small")
HIGH = N_("{least} to {largest}, and {scale} is too large")
NONE = N_("none: {least} or more would be needed, and {largest} at most")
HIGHER = N_("at most {largest}, and {scale} is too large")
OPEN = N_("at most {largest}")
UNKNOWN = N_("not told: there is no nonzero element")
STYLES = {FITS: "good", LOW: "bad", HIGH: "bad", NONE: "bad", HIGHER: "bad"}


def shares_page(s: ScaleShares) -> Page:
    """One scale, what it does in each format, and which scales fit."""
    out = Page()
    times = _("gradients × {scale}").format(scale=scale_text(s.scale))
    out.line((s.looked.title, "title"), (f"  {times}", "key"))
    for sentence in _looked(s.looked):
        _prose(out, sentence, "dim")
    out.blank()
    _counts(out, s)
    out.blank()
    _windows(out, s)
    return out


def scale_text(scale: Fraction) -> str:
    """A scale: a power of two as one, with its digits where they are few.

    >>> scale_text(Fraction(65536)), scale_text(Fraction(1000)), scale_text(Fraction(2) ** 50)
    ('2^16 (65,536)', '1000', '2^50')
    """
    power = power_text(scale)
    return f"{power} ({int(scale):,})" if "^" in power and 1 < scale < 10**9 else power


def power_text(scale: Fraction) -> str:
    """A scale in few characters.

    >>> power_text(Fraction(65536)), power_text(Fraction(1)), power_text(Fraction(1, 3))
    ('2^16', '1', '1/3')
    """
    is_power = scale != 1 and scale == power_of_two(binade(scale))
    return f"2^{binade(scale)}" if is_power else shown(scale, 20, 6)


def kept_text(keep: Fraction) -> str:
    """A share in percent, without the sign.

    >>> kept_text(Fraction(999, 1000)), kept_text(Fraction(1))
    ('99.9', '100')
    """
    return f"{float(100 * keep):.4f}".rstrip("0").rstrip(".")


def _looked(looked: Looked) -> Iterator[str]:
    """What was looked at."""
    text = _("{elements} elements: {nonzero} nonzero, {zero} zero, {nonfinite} not finite.")
    yield text.format(
        elements=f"{looked.elements:,}", nonzero=f"{looked.nonzero:,}", zero=f"{looked.zero:,}",
        nonfinite=f"{looked.nonfinite:,}",
    )  # fmt: skip
    if looked.elements < looked.of_elements:
        text = _("They were evenly chosen from {tensors} tensors and stand for {n} elements.")
        yield text.format(tensors=looked.tensors, n=f"{looked.of_elements:,}")
    if not looked.exact:
        yield _(
            "Only their binades are known. What becomes of the binade that a format's bound lies "
            "in is left open: counts have a least and a most, and the least scale that fits is "
            "right or one power of two more than is needed."
        )


# The counts, as one table or, where that is too wide, as a tall one.


def _counts(out: Page, s: ScaleShares) -> None:
    header = [_("format"), _("become zero"), _("subnormal"), _("overflow")]
    rows = [
        [row.name, *(_cell(n, s) for n in (row.zero, row.subnormal, row.overflow))] for row in s
    ]
    widths = [max(map(columns, column)) + EVEN for column in zip(header, *rows, strict=True)]
    if s.looked.exact and sum(widths) <= WIDTH:
        out.table(header, rows, right="123")
    else:
        _tall(out, s)
    text = _("of {n} nonzero elements")
    _prose(out, text.format(n=f"{s.looked.nonzero:,}"), "dim")


def _cell(count: int, s: ScaleShares) -> str:
    return f"{count:,} {share(count, s.looked.nonzero):>8}"


def _tall(out: Page, s: ScaleShares) -> None:
    """A line for each kind, with the least and the most of each count."""
    header = [_("format"), "", _("at least"), _("at most")]
    rows = []
    for row in s:
        for name, kind, least, most in (
            (row.name, _("become zero"), row.zero, row.zero_most),
            ("", _("subnormal"), row.subnormal, row.subnormal_most),
            ("", _("overflow"), row.overflow, row.overflow_most),
        ):
            rows.append([name, kind, _cell(least, s), _cell(most, s)])
    if s.looked.exact:
        header, rows = [*header[:2], _("elements")], [row[:3] for row in rows]
    out.table(header, rows, right="23")


# The scales that fit.


def _windows(out: Page, s: ScaleShares) -> None:
    text = _(
        "Scales that fit: powers of two that keep {kept} % of each tensor's nonzero elements, and "
        "let none overflow."
    )
    _prose(out, text.format(kept=kept_text(s.keep)))
    width = max([NAME, *(len(row.name) for row in s)]) + 1
    for row in s:
        sentence, style = window_text(row, s.scale)
        first, *rest = wrapped(sentence, WIDTH - EVEN - width)
        out.line(" " * EVEN, (row.name.ljust(width), "key"), _styled(first, style))
        for line in rest:
            out.line(" " * (EVEN + width), _styled(line, style))
    for sentence in _bounds(s):
        _prose(out, sentence, "dim")


def window_text(row: FormatShares, scale: Fraction) -> tuple[str, str]:
    """Which scales fit a format, and whether one does; with the style that says it."""
    ends = {
        name: "" if end is None else power_text(end)
        for name, end in (("least", row.least), ("largest", row.largest))
    }
    text = {"in": FITS, "below": LOW, "above": HIGH, "none": NONE, "unknown": OPEN}[row.place]
    if row.largest is None:
        text = UNKNOWN
    elif row.place == "above" and row.least is None:
        text = HIGHER
    return _(text).format(scale=power_text(scale), **ends), STYLES.get(text, "")


def _bounds(s: ScaleShares) -> Iterator[str]:
    """What bounds the windows: once where it is the same for all formats."""
    told = [_bound(row) for row in s]
    if len(set(told)) == 1:
        yield from told[0]
        return
    for row, sentences in zip(s, told, strict=True):
        yield from (f"{row.name}: {sentence}" for sentence in sentences)


def _bound(row: FormatShares) -> tuple[str, ...]:
    parts = (
        (row.bound_below, _("The least is what {name} needs.")),
        (row.bound_above, _("The largest is what {name} bears.")),
        (row.hidden, _("The least is not told: {name} was narrow already, and what became zero in "
                       "it is not seen.")),
    )  # fmt: skip
    return tuple(text.format(name=name) for name, text in parts if name is not None)


def _prose(out: Page, text: str, style: str = "") -> None:
    """Indented lines; a number and its sign stay on one of them."""
    for line in wrapped(text.replace(" %", "\0%"), WIDTH - EVEN):
        out.line(" " * EVEN, _styled(line.replace("\0", " "), style))


def _styled(text: str, style: str) -> str | tuple[str, str]:
    return (text, style) if style else text
