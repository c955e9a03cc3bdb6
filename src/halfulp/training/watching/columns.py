"""Rows that were seen become the columns that a log keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from halfulp.backends.observing import Seen
from halfulp.runs.samples import Observed


def observed(rows: Sequence[tuple[int, Seen]], formats: int) -> Observed:
    """The columns of tensors that were seen, given with the numbers of their series."""
    ordered = sorted(rows, key=lambda row: row[0])
    seen = [s for _, s in ordered]
    firsts = [min(s.binades, default=0) for s in seen]
    widths = [max(s.binades, default=-1) - min(s.binades, default=0) + 1 for s in seen]
    binades = np.zeros(sum(widths), np.int64)
    at = 0
    for s, first, width in zip(seen, firsts, widths, strict=True):
        for exponent, count in s.binades.items():
            binades[at + exponent - first] = count
        at += width
    return Observed(
        series=np.array([series for series, _ in ordered], np.int64),
        elements=np.array([s.elements for s in seen], np.int64),
        zero=np.array([s.zero for s in seen], np.int64),
        infinite=np.array([s.infinite for s in seen], np.int64),
        nan=np.array([s.nan for s in seen], np.int64),
        largest=np.array([s.largest for s in seen], np.float64),
        least=np.array([s.least for s in seen], np.float64),
        counts=np.array([s.counts for s in seen], np.int64).reshape(len(seen), formats, 4),
        first_binade=np.array(firsts, np.int64),
        width=np.array(widths, np.int64),
        binades=binades,
    )
