"""L3: where two profiles differ, as text."""

from __future__ import annotations

from halfulp.catalogue import format
from halfulp.exact import Number
from halfulp.explanations.columns import cut
from halfulp.explanations.page import WIDTH, Page, shown
from halfulp.explanations.profiles import Difference, Example, ProfileDiff, rule_sentence
from halfulp.language import N_, plural, translate
from halfulp.language import translate as _

# The fields of differences, which label what is said of them.
FIELDS = (
    N_("overflow"), N_("infinite"), N_("nan"), N_("zero"), N_("negative"), N_("tie"),
    N_("rounding"),
)  # fmt: skip


def diff_page(d: ProfileDiff) -> Page:
    """Each rule that differs, in each format, with what it makes of the first values."""
    out = Page()
    out.line((cut(_subject(d), WIDTH - 4), "title"))
    out.labelled(_("profiles"), _("{a} and {b}").format(a=d.a, b=d.b))
    for difference in d.differences:
        out.blank()
        _difference(out, d, difference)
    if d.differences:
        out.blank()
    out.labelled(_("the same"), _the_same(d))
    return out


def _subject(d: ProfileDiff) -> str:
    if d.elements is None:
        return d.subject
    text = plural("{n} element of {source}", "{n} elements of {source}", d.elements)
    return text.format(n=d.elements, source=d.subject.rpartition(" ")[2])  # the type ends it


def _difference(out: Page, d: ProfileDiff, difference: Difference) -> None:
    share = _("{differing} of {elements} elements differ")
    share = share.format(differing=difference.differing, elements=difference.elements)
    out.line((difference.name, "title"), (f"  {share}", "dim") if d.elements is not None else "")
    # The record has the sentence in English, as JSON does.
    fates = difference.a_fate, difference.b_fate
    target = format(difference.name)
    sentence = rule_sentence(target, difference.field, (d.a, d.b), fates, translate)
    out.labelled(_(difference.field), sentence)
    if d.elements is None:
        out.table([d.a, d.b], [_row(e) for e in difference.examples])
        return
    rows = [[str(e.index), shown(e.value, 14, 6), *_row(e)] for e in difference.examples]
    out.table([_("index"), _("value"), d.a, d.b], rows, right="0")


def _row(e: Example) -> list[str]:
    return [_made(e.a_value, e.a_code), _made(e.b_value, e.b_code)]


def _made(value: Number, code: str) -> str:
    return f"{shown(value, 14, 6)} ({code})"


def _the_same(d: ProfileDiff) -> str:
    parted = {difference.name for difference in d.differences}
    same = [name for name in d.compared if name not in parted]
    if not same:
        return _("in no other format that was compared")
    text = (
        plural("in the other format: {names}", "in {n} other formats: {names}", len(same))
        if parted
        else plural("in the one format: {names}", "in {n} formats: {names}", len(same))
    )
    there = text.format(n=len(same), names=", ".join(same))
    if d.elements is None:
        return there
    return _("for all {n} elements {there}").format(n=d.elements, there=there)
