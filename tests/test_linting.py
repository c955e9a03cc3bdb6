"""Lost updates told from half gaps, exhaustively for small formats; then what a lint says."""

from __future__ import annotations

import numpy as np
import pytest

import halfulp as hu
from halfulp.backends.lost import lost
from tests.cases import SMALL, by_name
from tests.oracle import meaning

pytestmark = pytest.mark.extra
SIGNED = [f for f in SMALL if f.signed]


def numbers(f):
    """Every finite number of a format, −0 included, as float64."""
    found = [meaning(f, code) for code in range(f.codes)]
    return np.array(
        [-0.0 if x == "-0" else float(x) for x in found if x not in ("nan", "inf", "-inf")]
    )


def updates_around(values):
    """Every midpoint between neighbours seen from zero, the values beside it, and larger ones."""
    sizes = np.unique(np.abs(values))
    gaps = np.unique(np.diff(sizes))
    sizes = np.unique(
        np.concatenate([gaps / 4, gaps / 2, gaps, gaps * 1.5, sizes, [sizes.max() * 4]])
    )
    sizes = np.concatenate([np.nextafter(sizes, 0), sizes, np.nextafter(sizes, np.inf)])
    return np.concatenate([-sizes, [0.0, -0.0, np.nan, np.inf, -np.inf, 5e-324], sizes])


@pytest.mark.parametrize("f", SIGNED, ids=by_name)
def test_an_update_is_lost_where_the_rounded_sum_is_the_weight(f):
    """All numbers of each small format, with updates on and beside every midpoint: as hu.add says."""
    w = numbers(f)[:, None]
    d = updates_around(w.ravel())[None, :]
    w, d = np.broadcast_arrays(w, d)
    with np.errstate(invalid="ignore"):
        added = hu.add(np.ascontiguousarray(w), np.ascontiguousarray(d), f)
    expected = (added == w) & (d != 0) & ~np.isnan(d)
    wrong = lost(w, d, f) != expected
    assert not wrong.any(), [(w[wrong][0], d[wrong][0], expected[wrong][0])]
