"""L3: a walk under every strategy as text."""

from __future__ import annotations

from fractions import Fraction

from halfulp.exact import Number
from halfulp.explanations.page import Page, scientific, shown
from halfulp.language import translate as _
from halfulp.prediction import Prediction
from halfulp.records import decimal_string
from halfulp.recurrence import Update, half_gap, state_format
from halfulp.updates import ErrorBudget, Walk, WalkComparison


def walk_page(c: WalkComparison) -> Page:
    """What every strategy makes of the same weight and gradient."""
    out = Page()
    u = c.update
    title = f"{shown(u.weight, 24)} + {c.steps} × {shown(u.gradient, 24)}"
    within = _("in {format}").format(format=u.format)
    out.line((title, "title"), (f"  {within}", "dim"))
    out.labelled(_("weight"), f"{shown(u.stored_weight, 50)}{_changed(u.weight, u.stored_weight)}")
    if u.learning_rate is not None:
        text = _("{rate} in {format}") if u.gradient_format else _("{rate} in full")
        text = text.format(rate=shown(u.learning_rate, 50), format=u.gradient_format)
        out.labelled(_("rate"), text)
    out.labelled(_("update"), f"{shown(u.added, 50)}{_changed(u.gradient, u.added)}")
    out.labelled(_("to move"), threshold_text(u))
    out.blank()
    after = _("after {steps} steps").format(steps=c.steps)
    header = [_("strategy"), after, _("error"), _("lost"), _("stalls at")]
    out.table(header, [walk_row(w) for w in c.strategies], right="2")
    _stored(out, c.strategies)
    out.blank()
    out.labelled(_("predicted"), predicted_text(c.prediction))
    _budgets(out, c.strategies)
    return out


def strategy_page(w: Walk) -> Page:
    """One weight under one strategy."""
    out = Page()
    within = _("{steps} steps in {format}").format(steps=w.steps, format=w.format)
    out.line((w.name, "title"), (f"  {within}", "dim"))
    out.labelled(_("weight"), shown(w.update.stored_weight, 50))
    if is_steady(w):
        held = _changed(w.update.gradient, w.update.added)
        out.labelled(_("update"), f"{shown(w.update.added, 50)}{held}")
        out.labelled(_("to move"), threshold_text(w.update))
    out.labelled(_("final"), (shown(w.final, 50), "key"))
    if w.budget is not None:
        out.labelled(_("error"), signed_text(w.budget.total))
    if w.name != "exact":
        text = _("{lost} of {updates} nonzero updates")
        out.labelled(_("lost"), text.format(lost=w.lost, updates=w.updates))
    if w.stall_step is not None:
        out.labelled(_("stalls at"), _("step {step}").format(step=w.stall_step))
    _stored(out, (w,))
    return out


def is_steady(w: Walk) -> bool:
    """Whether each step had the same gradient, as far as the end can tell."""
    error = w.budget.total if w.budget else 0
    sum_of_all = w.update.weight.value + w.steps * w.update.gradient.value
    return w.final.is_finite and w.final.value - error == sum_of_all


def _changed(given: Number, held: Number) -> str:
    rounded = _("({value} rounded)").format(value=shown(given, 24))
    return "" if given == held else f"  {rounded}"


def threshold_text(u: Update) -> str:
    """How large an update must be to move the weight, in its own direction."""
    if not u.added.value:
        return (
            _("the update itself underflowed to zero: nothing can move")
            if u.gradient.value
            else _("the update is zero: nothing can move")
        )
    half = half_gap(u)
    if half is None:
        return _("the weight is at the end of the range")
    if abs(u.added.value) == half:
        text = _("half the gap to the next number is {half}: this update is exactly a tie")
    elif abs(u.added.value) < half:
        text = _("half the gap to the next number is {half}: this update is too small")
    else:
        text = _("half the gap to the next number is {half}: this update is enough")
    return text.format(half=shown(half, 30))


def walk_row(w: Walk) -> list[str]:
    """A strategy: its name, where it ends, its error, what it lost, and where it stalls."""
    stall = "" if w.stall_step is None else _("step {step}").format(step=w.stall_step)
    lost = _("{lost} of {updates}").format(lost=w.lost, updates=w.updates)
    lost = "" if w.name == "exact" else lost
    error = signed_text(w.budget.total) if w.budget else ""
    return [w.name, shown(w.final, 26), error, lost, stall]


def signed_text(value: Fraction) -> str:
    """A number with its sign, exact where it is short."""
    if not value:
        return "0"
    text = decimal_string(value) if value.denominator.bit_length() < 200 else ""
    text = text if 0 < len(text) <= 11 else scientific(value, 4)
    return text if value < 0 else f"+{text}"


def _stored(out: Page, walks: tuple[Walk, ...]) -> None:
    for w in walks:
        if w.stored is not None and w.stored != w.final:
            text = _("the {name} is a {held}; its {format} copy is {value}").format(
                name=w.name, held=state_format(w.format, w.name), format=w.format,
                value=shown(w.stored, 26),
            )  # fmt: skip
            out.labelled("", text)


def prediction_page(p: Prediction) -> Page:
    """Where the recurrence goes, in a sentence, and its value where steps were named."""
    out = Page()
    within = _("in {format}").format(format=p.format)
    title = f"{shown(p.weight, 30)} + n × {shown(p.gradient, 30)}"
    out.line((title, "title"), (f"  {within}", "dim"))
    out.labelled(_("update"), f"{shown(p.update, 50)}{_changed(p.gradient, p.update)}")
    out.labelled(_("predicted"), predicted_text(p))
    if p.final is not None and p.exact is not None:
        text = _("{value} after {steps} steps; exact: {exact}")
        shorter = shown(p.exact, 24)
        text = text.format(value=shown(p.final, 40), steps=p.steps, exact=shorter)
        out.labelled(_("final"), text)
    return out


def predicted_text(p: Prediction) -> str:
    """Where the recurrence goes under nearest, in a sentence."""
    if p.overflow_step is not None:
        text = _("nearest leaves the range at step {step}, to {value}")
        return text.format(step=p.overflow_step, value=p.overflow_value)
    if p.stall_step is None or p.stall_value is None:
        return _("nothing is added, so the weight stays where it is for ever")
    text = (
        _(
            "nearest stalls after {steps} steps, at {value}: every later update is lost, however "
            "many there are"
        )
        if p.stall_step
        else _("nearest never moves from {value}: every update is lost")
    )
    return text.format(steps=p.stall_step, value=shown(p.stall_value, 40))


def _budgets(out: Page, walks: tuple[Walk, ...]) -> None:
    found: list[tuple[str, ErrorBudget]] = [(w.name, w.budget) for w in walks if w.budget]
    if not found:
        return
    out.blank()
    header = [_("error budget"), _("input cast"), _("rounding once"), _("accumulation"), _("total")]
    rows = []
    for name, b in found:
        parts = (b.input_cast, b.rounding, b.accumulation, b.total)
        rows.append([name, *map(signed_text, parts)])
    out.table(header, rows, right="1234")
