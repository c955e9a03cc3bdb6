"""The loss scales at which a format would have held a run's gradients: from where, and up to where.

Gradients of samples are the true ones, so a scale multiplies them. Too large a scale overflows the
largest of them, which is known exactly; too small a one makes the least of them zero, which is told
by binade: an element counts as kept where the whole of its binade stays at or above the least
positive number, so that the least scale is right or one power of two more than is needed.

Source: Micikevicius et al., "Mixed Precision Training" (arXiv 1710.03740) §3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import frexp
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from halfulp.catalogue import Format, binade, format, power_of_two
from halfulp.errors import HalfulpError
from halfulp.exact import number
from halfulp.language import N_, Told, spoken, told
from halfulp.language import translate as _
from halfulp.records import Record, data_frame
from halfulp.recurrence import walkable
from halfulp.runs.reading import Run
from halfulp.runs.samples import ACTIVATION_GRADIENT, GRADIENT, Head, Observed, Series

Array = npt.NDArray[Any]

SHARE = Fraction(999, 1000)
ROLES = (GRADIENT, ACTIVATION_GRADIENT)
FINEST = 10**6  # denominator of a share
FLOAT32 = format("float32")


@dataclass(frozen=True)
class Window(Record):
    """The loss scales that fit the gradients of one sampled step: powers of two, ends included.

    ``least`` is None where it cannot be told, and ``largest`` where no gradient was nonzero.
    """

    step: int
    format: Format
    share: Fraction  # of the nonzero elements of every tensor that stay numbers but zero
    least: Fraction | None
    largest: Fraction | None
    bound_below: str | None  # the tensor that asks for the largest of the least scales
    bound_above: str | None  # the tensor with the largest element
    above_next: float | None  # that element over the largest one of any other module
    loss_scale: float | None  # that the training had
    tensors: int  # with a nonzero gradient
    hidden: str | None  # a gradient that was narrow already: what became zero in it is not seen
    nonfinite: int  # elements of gradients; the window is of the others, below that scale
    nonzero: int  # elements of all gradients
    zeroed_at_largest: int  # of them, those that the largest scale leaves too small, by binades
    zeroed: int | None  # those that the training's own scale does

    @property
    def name(self) -> int:
        """Its step."""
        return self.step

    @property
    def is_empty(self) -> bool:
        """Whether no scale fits."""
        return self.least is not None and self.largest is not None and self.least > self.largest

    @property
    def is_below(self) -> bool:
        """Whether the training's own scale lost more of the small gradients than the share."""
        scale = self.loss_scale
        return scale is not None and self.least is not None and Fraction(scale) < self.least

    @property
    def is_above(self) -> bool:
        """Whether the training's own scale made a gradient overflow."""
        scale = self.loss_scale
        return scale is not None and self.largest is not None and Fraction(scale) > self.largest

    def __str__(self) -> str:
        scales = spoken(range_text(self.least, self.largest))
        text = _("step {step}: {scales} for {format}")
        return text.format(step=self.step, scales=scales, format=self.format)


@dataclass(frozen=True)
class Windows(Record):
    """The windows of sampled steps, and what is in all of them: one scale for the whole run."""

    renderer = "halfulp.runs.verdicts_text:windows_page"

    format: Format
    share: Fraction
    sampled: int  # steps; as many as there are rows, or more
    least: Fraction | None  # of the scales that are in all windows
    largest: Fraction | None
    bound_below: str | None
    below_step: int | None  # where it bounds
    bound_above: str | None
    above_step: int | None
    rows: tuple[Window, ...]

    @property
    def is_empty(self) -> bool:
        """Whether no one scale would have fitted all steps."""
        return self.least is not None and self.largest is not None and self.least > self.largest

    @property
    def static(self) -> Fraction | None:
        """The largest scale that would have fitted all steps, or None."""
        return None if self.is_empty or not self.rows else self.largest

    def to_pandas(self) -> Any:
        """One row a step."""
        return data_frame(self.rows)


class _Limits(NamedTuple):
    """What a format does to magnitudes, as exponents."""

    least: int  # the least positive number is 2**least
    mantissa: float  # magnitudes from mantissa * 2**exponent on overflow, or beyond it
    exponent: int
    ties_stay: bool  # whether that very magnitude rounds to the largest number


def windows(
    run: Run, format: str | Format = "float16", share: Fraction | float = SHARE, most: int = 400
) -> Windows:
    """The loss scales that would have kept a run's gradients in a format, step by step.

    At most ``most`` of the sampled steps are read, evenly spread. ``share`` is of the nonzero
    elements of every tensor. Steps whose gradients were not all finite bound the scale to below
    the one they had.

    Raises HalfulpError for an unknown format, one that float64 does not hold, and a share that is
    not above 0 and at most 1.

    >>> import numpy as np
    >>> from halfulp.runs import log, samples
    >>> writer = log.LogWriter(":memory:", samples.About("Net", "SGD", (), (), 1, 3))
    >>> series = np.array([writer.index(samples.Series("layer.weight", "gradient", "float32"))])
    >>> three = np.array([3])  # elements, all of them in the binade 2**-30
    >>> none, size = np.zeros(1, int), np.array([2.0**-30])
    >>> counts = np.zeros((1, 0, 4), int)
    >>> observed = samples.Observed(
    ...     series, three, none, none, none, size, size, counts, none - 30, none + 1, three)
    >>> writer.add(samples.Sample(samples.Head(0, 0.0, 1.0, True), observed, None))
    >>> found = windows(Run(writer.connection, ":memory:"))
    >>> found.least == 2**6, found.largest == 2**45, found.bound_below
    (True, True, 'layer.weight')
    """
    reader = _reader(run, format, share)
    heads = {head.step: head for head in run.heads}
    rows = [reader.window(heads[step], run.observed(step)) for step in run.steps(most)]
    return _together(reader.format, reader.share, len(run), rows)


def window_at(
    run: Run, step: int, format: str | Format = "float16", share: Fraction | float = SHARE
) -> Window:
    """The window of one sampled step; as :func:`windows`.

    Raises HalfulpError as it does, and for a step that was not sampled.
    """
    head = next((head for head in run.heads if head.step == step), None)
    if head is None:
        raise HalfulpError(
            _("step {step} was not sampled: every {every} was").format(
                step=step, every=run.about.every
            )
        )
    return _reader(run, format, share).window(head, run.observed(step))


def share_of(share: Fraction | float | str) -> Fraction:
    """A share as it is written: 0.999 is 999/1000.

    Raises HalfulpError where it is not above 0 and at most 1.
    """
    try:
        found = number(str(share)).value.limit_denominator(FINEST)
    except HalfulpError:
        found = Fraction(0)
    if not 0 < found <= 1:
        raise HalfulpError(
            _("share is {share}: give one above 0 and at most 1, such as 0.999").format(share=share)
        )
    return found


def range_text(least: Fraction | None, largest: Fraction | None) -> Told:
    """From where to where a window goes.

    >>> range_text(Fraction(8), Fraction(2) ** 15), range_text(Fraction(8), Fraction(1, 2))
    ('2^3 to 2^15', 'none: 2^3 or more would be needed, and 2^-1 at most')
    """
    low, high = (None if x is None else f"2^{binade(x)}" for x in (least, largest))
    if least is not None and largest is not None and least > largest:
        text = N_("none: {least} or more would be needed, and {largest} at most")
    elif low is None:
        text = N_("any") if high is None else N_("at most {largest}")
    else:
        text = N_("{least} or more") if high is None else N_("{least} to {largest}")
    return told(text, least=low, largest=high)


class _Reader(NamedTuple):
    """What the windows of a run's steps have in common."""

    limits: _Limits
    format: Format
    share: Fraction
    names: Sequence[str]  # by series
    modules: Array  # by series: the first series of that module
    wanted: Array  # which series are gradients
    narrow: Array  # which of these were kept in fewer exponents than float32's

    def window(self, head: Head, observed: Observed) -> Window:
        """The window of one step."""
        mine = np.flatnonzero(self.wanted[observed.series])
        above = mine[observed.largest[mine] > 0]
        least, below = self._least(observed, mine)
        largest, highest, over_next = self._largest(observed, above)
        hidden = observed.series[mine[self.narrow[observed.series[mine]]]]
        sizes, counts = self._binades(observed)
        infinite = int(observed.infinite[mine].sum())
        if infinite and head.loss_scale:
            capped = power_of_two(binade(Fraction(head.loss_scale)) - 1)
            first = observed.series[mine[observed.infinite[mine] > 0][0]]
            if largest is None or capped < largest:
                largest, highest, over_next = capped, self.names[first], None
        return Window(
            step=head.step,
            format=self.format,
            share=self.share,
            least=None if hidden.size else least,
            largest=largest,
            bound_below=None if hidden.size else below,
            bound_above=highest,
            above_next=over_next,
            loss_scale=head.loss_scale,
            tensors=int(above.size),
            hidden=self.names[hidden[0]] if hidden.size else None,
            nonfinite=infinite + int(observed.nan[mine].sum()),
            nonzero=int(counts.sum()),
            zeroed_at_largest=self._zeroed(sizes, counts, largest or Fraction(1)),
            zeroed=self._zeroed(sizes, counts, Fraction(head.loss_scale))
            if head.loss_scale
            else None,
        )

    def _largest(
        self, observed: Observed, rows: Array
    ) -> tuple[Fraction | None, str | None, float | None]:
        """The largest scale; what bounds it, and by how much more than the next module."""
        if not rows.size:
            return None, None, None
        sizes = observed.largest[rows]
        top = int(sizes.argmax())
        name = self.names[observed.series[rows[top]]]
        module = self.modules[observed.series[rows]]
        others = sizes[module != module[top]]
        size = float(sizes[top])
        mantissa, exponent = frexp(size)
        limit = self.limits
        fits = mantissa < limit.mantissa or (limit.ties_stay and mantissa == limit.mantissa)
        scale = power_of_two(limit.exponent - exponent - (not fits))
        return scale, name, size / float(others.max()) if others.size else None

    def _binades(self, observed: Observed) -> tuple[Array, Array]:
        """The binades of all gradients, and the elements in each."""
        row_of = np.repeat(np.arange(observed.width.size), observed.width)
        begin = np.cumsum(observed.width) - observed.width
        sizes = observed.first_binade[row_of] + np.arange(row_of.size) - begin[row_of]
        mine = self.wanted[observed.series][row_of]
        return sizes[mine], observed.binades[mine]

    def _zeroed(self, sizes: Array, counts: Array, scale: Fraction) -> int:
        """How many elements lie in binades that reach below the least positive number, scaled."""
        return int(counts[sizes + binade(scale) < self.limits.least].sum())

    def _least(self, observed: Observed, rows: Array) -> tuple[Fraction | None, str | None]:
        """The least scale, and what bounds it: the lowest binade that must be kept of a tensor."""
        width = observed.width
        row_of = np.repeat(np.arange(width.size), width)
        ends = np.cumsum(width)
        sums = np.concatenate([[0], np.cumsum(observed.binades)])
        total = sums[ends] - sums[ends - width]
        lost = 1 - self.share
        spared = total * lost.numerator // lost.denominator
        # Binades that may be lost: as many as the spared elements fill from below.
        within = sums[1:] - sums[ends - width][row_of] <= spared[row_of]
        lowest = observed.first_binade + np.bincount(row_of, within, width.size).astype(np.int64)
        kept = rows[total[rows] > 0]
        if not kept.size:
            return None, None
        first = kept[int(lowest[kept].argmin())]
        scale = power_of_two(self.limits.least - int(lowest[first]))
        return scale, self.names[observed.series[first]]


def _reader(run: Run, spec: str | Format, share: Fraction | float) -> _Reader:
    target = walkable(format(spec))
    if not format("float64").holds(target):
        raise HalfulpError(
            _("{format} is wider than float64, which gradients are seen in").format(format=target)
        )
    names = [series.name for series in run.series]
    firsts: dict[str, int] = {}
    owners = [_module_of(series) for series in run.series]
    modules = [firsts.setdefault(owner, number) for number, owner in enumerate(owners)]
    wanted = np.array([series.role in ROLES for series in run.series], bool)
    narrow = np.array([is_narrow(series.dtype) for series in run.series], bool)
    return _Reader(
        _limits(target), target, share_of(share), names, np.array(modules, int), wanted,
        narrow & wanted,
    )  # fmt: skip


def _limits(target: Format) -> _Limits:
    """Where a format ends: half an ulp above its largest number, which the even one of two takes.

    >>> limits = _limits(format("float16"))
    >>> limits.mantissa * 2**limits.exponent, limits.ties_stay, limits.least
    (65520.0, False, -24)
    """
    end = target.max + target.ulp(target.max) / 2
    exponent = binade(end) + 1
    return _Limits(
        binade(target.least_positive),
        float(end / power_of_two(exponent)),
        exponent,
        not target.max_code & 1,
    )


@cache
def is_narrow(dtype: str) -> bool:
    """Whether a dtype has a smaller range than float32 and bfloat16; unknown ones have not."""
    try:
        return format(dtype).emin > FLOAT32.emin
    except HalfulpError:
        return False


def _together(target: Format, share: Fraction, sampled: int, rows: list[Window]) -> Windows:
    """All steps: the largest of the least scales, and the least of the largest."""
    below = max((r for r in rows if r.least is not None), key=_least_of, default=None)
    above = min((r for r in rows if r.largest is not None), key=_largest_of, default=None)
    if any(r.hidden for r in rows):
        below = None
    return Windows(
        format=target,
        share=share,
        sampled=sampled,
        least=None if below is None else below.least,
        largest=None if above is None else above.largest,
        bound_below=None if below is None else below.bound_below,
        below_step=None if below is None else below.step,
        bound_above=None if above is None else above.bound_above,
        above_step=None if above is None else above.step,
        rows=tuple(rows),
    )


def _least_of(row: Window) -> Fraction:
    return row.least or Fraction(0)


def _module_of(series: Series) -> str:
    """The module whose gradient a tensor has: of its output, its weight or its bias."""
    if series.role == ACTIVATION_GRADIENT:
        return series.name.partition(",")[0].partition("[")[0]
    return series.name.rpartition(".")[0] or series.name


def _largest_of(row: Window) -> Fraction:
    return row.largest or Fraction(0)
