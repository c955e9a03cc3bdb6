"""The formats and roundings that tests run over."""

from __future__ import annotations

import ml_dtypes

import halfulp as hu
from halfulp.rounding import DECISIONS

CATALOGUE = hu.formats()
CUSTOMS = [
    hu.format(name)
    for name in (
        "e5m10", "e4m3b7", "e4m3b7_nosub", "ue5m3fn", "e3m0", "e5m2f", "e4m3fn_nosub", "e2m1fnuz",
        "e6m9_nonegzero", "e8m7_inf_nannegzero", "e1m6", "e9m3", "e12m3",
    )
]  # fmt: skip
P3109 = [f for width in range(3, 9) for f in hu.p3109_formats(width)]
# Of a byte or two; NumPy knows them by name once ml_dtypes is imported.
KNOWN_TO_ML_DTYPES = [f for f in CATALOGUE if hasattr(ml_dtypes, f.name) or f.name == "float16"]
SMALL = [f for f in (*CATALOGUE, *CUSTOMS, *P3109) if f.width <= 8]
MODES = [mode for mode in DECISIONS if mode != "stochastic"]
DRAWN_AND_NOT = [*MODES, "stochastic"]


def by_name(f: object) -> str:
    return str(f)
