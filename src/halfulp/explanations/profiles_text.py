"""L3: where two profiles differ, as text."""

from __future__ import annotations

from halfulp.explanations.page import Page
from halfulp.explanations.profiles import FIELDS, ProfileDiff


def diff_page(d: ProfileDiff) -> Page:
    """Each format with the rule that differs and what it made of the first values."""
    out = Page()
    out.line((d.subject, "title"), (f"  under {d.a} and {d.b}", "dim"))
    out.labelled(d.a, d.a_source)
    out.labelled(d.b, d.b_source)
    out.blank()
    if not d.differences:
        out.line(f"  The same codes in all {len(d.compared)} formats: {', '.join(d.compared[:4])}"
                 f"{' …' if len(d.compared) > 4 else ''}.")  # fmt: skip
        return out
    rows = []
    for difference in d.differences:
        for i, e in enumerate(difference.examples):
            name = difference.name if i == 0 else ""
            index = "" if e.index is None else f"[{e.index}] "
            made = (f"{_short(e.a_value)} {e.a_code}", f"{_short(e.b_value)} {e.b_code}")
            rows.append([name, index + _short(e.value), *made])
    out.table(["format", "value", d.a, d.b], rows)
    out.blank()
    for field in dict.fromkeys(difference.field for difference in d.differences):
        for a_fate, b_fate in dict.fromkeys(
            (f.a_fate, f.b_fate) for f in d.differences if f.field == field
        ):
            out.labelled(field, f"{FIELDS[field]}: {a_fate} in {d.a}, {b_fate} in {d.b}")
    if any(difference.elements > 1 for difference in d.differences):
        out.blank()
        out.table(
            ["format", "field", "differ", "of"],
            [[f.name, f.field, str(f.differing), str(f.elements)] for f in d.differences],
            right="23",
        )
    return out


def _short(number: str, most: int = 12) -> str:
    """A number's first digits, where there are many; all of them are in the JSON."""
    return number if len(number) <= most else f"{number[: most - 1]}…"
