"""What answers at once: predict at 10**15 steps, and the start of `halfulp explain`."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import halfulp as hu
from conftest import paired

CASES = [
    ("1.125", "0.00041999", "float16"), ("1.125", "0.00041999", "float32"),
    ("0", "0.001", "bfloat16"), ("-60000", "0.4", "float16"), ("1.125", "0.00041999", "float64"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_predict_far(benchmark: Any, case: tuple[str, str, str]) -> None:
    found = benchmark(lambda: hu.predict(*case, 10**15))
    print(f"\n  predict {' '.join(case)}: {len(found.progressions)} progressions, "
          f"median {benchmark.stats.stats.median * 1e3:.3f} ms")  # fmt: skip


def test_explain_starts_fast(benchmark: Any) -> None:
    import shutil
    from pathlib import Path

    command = shutil.which("halfulp", path=str(Path(sys.executable).parent))
    explain = [str(command), *["explain", "1.12156456132", "--via", "float32", "--to", "float16"]]
    imports = [sys.executable, "-c", "import typer, rich"]

    def run(arguments: list[str]) -> Any:
        return subprocess.run(arguments, capture_output=True, check=True)

    ratio = paired(lambda: run(explain), lambda: run(imports), rounds=25)
    print(f"\n  halfulp explain / python -c 'import typer, rich': {ratio:.2f}")
    benchmark.pedantic(lambda: run(explain), rounds=5)
