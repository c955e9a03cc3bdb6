"""Gradients of one sampled step of a watched run: known by binade, and by their extremes."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from halfulp.catalogue import Format
from halfulp.errors import HalfulpError
from halfulp.language import translate as _
from halfulp.loss_scales.bounds import Edges
from halfulp.loss_scales.counts import Counts, Fit, Looked
from halfulp.runs.reading import Run
from halfulp.runs.samples import Observed
from halfulp.runs.scale_window import ROLES, window_at

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Cells:
    """The binades of all tensors, each cut to where its tensor has elements."""

    exponents: Array
    counts: Array
    first: Array  # the least magnitude that an element can have
    last: Array  # the largest


@dataclass(frozen=True, eq=False)
class Sampled:
    """Gradients of a sampled step, as :func:`of_run` reads them."""

    run: Run
    step: int
    looked: Looked
    cells: Cells
    fits: dict[tuple[Format, Fraction], Fit] = field(default_factory=dict)  # found so far

    @cached_property
    def binades(self) -> tuple[tuple[int, int], ...]:
        """How many nonzero finite elements each binade has."""
        exponents, where = np.unique(self.cells.exponents, return_inverse=True)
        counts = np.bincount(where, self.cells.counts, exponents.size).astype(np.int64)
        pairs = zip(exponents.tolist(), counts.tolist(), strict=True)
        return tuple((exponent, count) for exponent, count in pairs if count)

    def counts(self, edges: Edges) -> Counts:
        """What a scaled cast does to the elements: a binade that an edge is in may do both."""
        cells, (kept, normal, over) = self.cells, edges

        def total(which: Array) -> int:
            return int(cells.counts[which].sum())

        return Counts(
            zero=total(cells.last < kept),
            zero_most=total(cells.first < kept),
            subnormal=total((cells.first >= kept) & (cells.last < normal)),
            subnormal_most=total((cells.last >= kept) & (cells.first < normal)),
            overflow=total(cells.first >= over),
            overflow_most=total(cells.last >= over),
        )

    def fit(self, target: Format, keep: Fraction) -> Fit:
        """The scales that keep a share of each tensor's nonzero elements and overflow none.

        The least is told by binade: it is right, or one power of two more than is needed.
        """
        if (target, keep) not in self.fits:
            found = window_at(self.run, self.step, target, keep)
            self.fits[target, keep] = Fit(
                found.least, found.largest, found.bound_below, found.bound_above, found.hidden
            )
        return self.fits[target, keep]


def of_run(run: Run, step: int | None = None) -> Sampled:
    """The gradients of a sampled step of a run, of weights and activations; the last by default.

    Raises HalfulpError for a step that was not sampled, for a run without any, and where the log
    is damaged.
    """
    if not run.heads:
        raise HalfulpError(
            _("{path} has no sampled step yet: every {every} will be").format(
                path=run.path, every=run.about.every
            )
        )
    step = run.heads[-1].step if step is None else step
    observed = run.observed(step)
    wanted = np.array([series.role in ROLES for series in run.series], bool)[observed.series]
    nonfinite = observed.infinite + observed.nan
    elements, zero, odd = (
        int(column[wanted].sum()) for column in (observed.elements, observed.zero, nonfinite)
    )
    looked = Looked(
        run.about.name, step, int(wanted.sum()), elements, elements, elements - zero - odd, zero,
        odd, exact=False,
    )  # fmt: skip
    return Sampled(run, step, looked, _cells(observed, wanted))


def _cells(observed: Observed, wanted: Array) -> Cells:
    row = np.repeat(np.arange(observed.width.size), observed.width)
    begin = np.cumsum(observed.width) - observed.width
    exponents = observed.first_binade[row] + np.arange(row.size) - begin[row]
    mine = wanted[row] & (observed.binades > 0)
    row, exponents = row[mine], exponents[mine]
    with np.errstate(over="ignore"):  # the end of float64's last binade
        ends = np.nextafter(np.ldexp(1.0, exponents + 1), 0.0)
    return Cells(
        exponents,
        observed.binades[mine],
        np.maximum(np.ldexp(1.0, exponents), observed.least[row]),
        np.minimum(ends, observed.largest[row]),
    )
