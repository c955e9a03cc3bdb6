"""Casting 4 GiB into 4 GiB that are there: what it takes beyond them, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

PROGRAM = """
import sys
import numpy as np
import halfulp as hu

def peak():
    line = next(l for l in open("/proc/self/status") if l.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

x, out = np.full(1 << 30, 1.1, np.float32), np.full(1 << 30, 0.0, np.float32)
hu.cast(x[:1000], "float16", *sys.argv[1:], seed=0)  # compiled before it is measured
open("/proc/self/clear_refs", "w").write("5")
before = peak()
hu.cast(x, "float16", *sys.argv[1:], seed=0, out=out)
print(peak() - before)
"""


def test_four_gibibytes(benchmark: Any) -> None:
    for rounding in ("nearest_even", "stochastic"):
        found = subprocess.run(
            [sys.executable, "-c", PROGRAM, rounding], capture_output=True, text=True, check=True
        )
        print(f"\n  4 GiB, {rounding}, out=: {float(found.stdout):.1f} MiB beyond")
    benchmark.pedantic(lambda: None, rounds=1)
