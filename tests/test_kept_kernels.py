"""Kernels that several processes compiled and kept on disk, met in one."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import hashlib, sys
import numpy as np
import halfulp as hu

binades = np.repeat(np.ldexp(1.0, np.arange(-64, 64)), 32)
x = (np.random.default_rng(1).standard_normal(1 << 12) * binades).astype("float32")
for name, rounding in (job.split(":") for job in sys.argv[1:]):
    made = hu.encode(x, hu.block_format(name), rounding)
    codes = np.asarray(made.scales).tobytes() + np.asarray(made.codes).tobytes()
    print(hashlib.sha256(codes).hexdigest())
"""


def _hashes(folder: Path, *jobs: str) -> list[str]:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *jobs],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()


def test_kernels_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    # Functions of one name in two objects are one to the linker: both would run the first.
    jobs = ["mxfp4:up", "mxfp8_e4m3:nearest_even", "mxint8:nearest_even", "mxfp8_e4m3:toward_zero"]
    alone = [_hashes(tmp_path, job)[0] for job in jobs]
    assert _hashes(tmp_path, *jobs) == alone
    assert _hashes(tmp_path, *reversed(jobs)) == alone[::-1]
