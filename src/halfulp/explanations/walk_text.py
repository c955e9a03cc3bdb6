"""L3: a walk under every strategy as text."""

from __future__ import annotations

from fractions import Fraction

from halfulp.exact import Number, neighbours
from halfulp.explanations.page import Page, scientific, shown
from halfulp.prediction import Prediction
from halfulp.records import decimal_string
from halfulp.recurrence import Update, state_format
from halfulp.updates import ErrorBudget, Walk, WalkComparison


def walk_page(c: WalkComparison) -> Page:
    """What every strategy makes of the same weight and gradient."""
    out = Page()
    u = c.update
    title = f"{shown(u.weight, 24)} + {c.steps} × {shown(u.gradient, 24)}"
    out.line((title, "title"), (f"  in {u.format}", "dim"))
    out.labelled("weight", f"{shown(u.stored_weight, 50)}{_changed(u.weight, u.stored_weight)}")
    if u.learning_rate is not None:
        out.labelled("rate", f"{shown(u.learning_rate, 50)} in {u.gradient_format or 'full'}")
    out.labelled("update", f"{shown(u.added, 50)}{_changed(u.gradient, u.added)}")
    out.labelled("to move", _threshold(u))
    out.blank()
    out.table(
        ["strategy", f"after {c.steps} steps", "error", "lost", "stalls at"],
        [_row(w) for w in c.strategies],
        right="2",
    )
    _stored(out, c.strategies)
    out.blank()
    out.labelled("predicted", _predicted(c.prediction))
    _budgets(out, c.strategies)
    return out


def _changed(given: Number, held: Number) -> str:
    return "" if given == held else f"  ({shown(given, 24)} rounded)"


def _threshold(u: Update) -> str:
    """How large an update must be to move the weight, in its own direction."""
    if not u.added.value:
        lost = (
            "the update is zero"
            if not u.gradient.value
            else "the update itself underflowed to zero"
        )
        return f"{lost}: nothing can move"
    below, above = neighbours(u.stored_weight.value, u.format)
    next_one = above if u.added.value > 0 else below
    if next_one is None:
        return "the weight is at the end of the range"
    half = abs(next_one - u.stored_weight.value) / 2
    verdict = "too small" if abs(u.added.value) < half else "enough"
    verdict = "exactly a tie" if abs(u.added.value) == half else verdict
    return f"half the gap to the next number is {shown(half, 30)}: this update is {verdict}"


def _row(w: Walk) -> list[str]:
    stall = "" if w.stall_step is None else f"step {w.stall_step}"
    lost = "" if w.name == "exact" else f"{w.lost} of {w.updates}"
    error = _signed(w.budget.total) if w.budget else ""
    return [w.name, shown(w.final, 26), error, lost, stall]


def _signed(value: Fraction) -> str:
    if not value:
        return "0"
    text = decimal_string(value) if value.denominator.bit_length() < 200 else ""
    text = text if 0 < len(text) <= 11 else scientific(value, 4)
    return text if value < 0 else f"+{text}"


def _stored(out: Page, walks: tuple[Walk, ...]) -> None:
    for w in walks:
        if w.stored is not None and w.stored != w.final:
            out.labelled(
                "",
                f"the {w.name} is a {state_format(w.format, w.name)}; its {w.format} copy is "
                f"{shown(w.stored, 26)}",
            )


def prediction_page(p: Prediction) -> Page:
    """Where the recurrence goes, in a sentence, and its value where steps were named."""
    out = Page()
    out.line(
        (f"{shown(p.weight, 30)} + n × {shown(p.gradient, 30)}", "title"),
        (f"  in {p.format}", "dim"),
    )
    out.labelled("update", f"{shown(p.update, 50)}{_changed(p.gradient, p.update)}")
    out.labelled("predicted", _predicted(p))
    if p.final is not None and p.exact is not None:
        out.labelled(
            "final", f"{shown(p.final, 40)} after {p.steps} steps; exact: {shown(p.exact, 24)}"
        )
    return out


def _predicted(p: Prediction) -> str:
    if p.overflow_step is not None:
        return f"nearest leaves the range at step {p.overflow_step}, to {p.overflow_value}"
    if p.stall_step is None or p.stall_value is None:
        return "nothing is added, so the weight stays where it is for ever"
    if not p.stall_step:
        return f"nearest never moves from {shown(p.stall_value, 40)}: every update is lost"
    return (
        f"nearest stalls after {p.stall_step} steps, at {shown(p.stall_value, 40)}: every later "
        "update is lost, however many there are"
    )


def _budgets(out: Page, walks: tuple[Walk, ...]) -> None:
    found: list[tuple[str, ErrorBudget]] = [(w.name, w.budget) for w in walks if w.budget]
    if not found:
        return
    out.blank()
    out.table(
        ["error budget", "input cast", "rounding once", "accumulation", "total"],
        [
            [name, *(_signed(part) for part in (b.input_cast, b.rounding, b.accumulation, b.total))]
            for name, b in found
        ],
        right="1234",
    )
