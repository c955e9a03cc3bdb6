"""L3: where two profiles differ, as text."""

from __future__ import annotations

from halfulp.exact import Number
from halfulp.explanations.page import WIDTH, Page, shown
from halfulp.explanations.profiles import Difference, Example, ProfileDiff


def diff_page(d: ProfileDiff) -> Page:
    """Each rule that differs, in each format, with what it makes of the first values."""
    out = Page()
    out.line((_cut(d.subject, WIDTH - 4), "title"))
    out.labelled("profiles", f"{d.a} and {d.b}")
    for difference in d.differences:
        out.blank()
        _difference(out, d, difference)
    if d.differences:
        out.blank()
    out.labelled("the same", _the_same(d))
    return out


def _difference(out: Page, d: ProfileDiff, difference: Difference) -> None:
    share = f"  {difference.differing} of {difference.elements} elements differ"
    out.line((difference.name, "title"), (share, "dim") if d.elements is not None else "")
    out.labelled(difference.field, difference.sentence)
    if d.elements is None:
        out.table([d.a, d.b], [_row(e) for e in difference.examples])
        return
    rows = [[str(e.index), shown(e.value, 14, 6), *_row(e)] for e in difference.examples]
    out.table(["index", "value", d.a, d.b], rows, right="0")


def _row(e: Example) -> list[str]:
    return [_made(e.a_value, e.a_code), _made(e.b_value, e.b_code)]


def _made(value: Number, code: str) -> str:
    return f"{shown(value, 14, 6)} ({code})"


def _the_same(d: ProfileDiff) -> str:
    parted = {difference.name for difference in d.differences}
    same = [name for name in d.compared if name not in parted]
    if not same:
        return "in no other format that was compared"
    elements = "" if d.elements is None else f"for all {d.elements} elements "
    other = "other " if parted else ""
    count = f"{len(same)} {other}formats" if len(same) > 1 else f"the {other or 'one '}format"
    return f"{elements}in {count}: {', '.join(same)}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
