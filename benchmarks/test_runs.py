"""A log of 1,000 series and 10,000 samples: its size, and the time and memory of its report.

The log is made up, with the noise that real ones have: counts of binades scatter as counts do.
``python benchmarks/test_runs.py run.db [series] [samples]`` writes one to look at.
"""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from halfulp.catalogue import binade, format
from halfulp.runs.log import LogWriter
from halfulp.runs.reading import read_run
from halfulp.runs.samples import About, Event, Head, Observed, Sample, Series, UpdateRows, Way

FORMATS = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
WAYS = (
    Way("float16", "nearest"), Way("float16", "master"), Way("float16", "kahan"),
    Way("bfloat16", "nearest"), Way("bfloat16", "stochastic"),
)  # fmt: skip
# By role: log2 of the usual magnitude, its drift over the whole run, and how elements spread:
# normal numbers, each times 2**(a normal exponent of this deviation), to this power.
ROLES = {
    "weight": (-5.5, 0.4, 0.5, 1), "gradient": (-19.0, -3.0, 1.5, 1),
    "state exp_avg": (-19.5, -3.0, 1.5, 1), "state exp_avg_sq": (-38.0, -6.0, 1.5, 2),
    "activation": (-0.5, 0.8, 1.0, 1), "activation gradient": (-21.0, -2.0, 2.0, 1),
}  # fmt: skip
GRID = np.linspace(-80, 40, 1921)  # exponents, relative to the usual one
PARAMETERS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj", "ln_1")
WIDTH, EVERY = 72, 100


def below(deviation: float, power: int) -> np.ndarray:
    """The share of elements that are less than 2**GRID."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(31)
    sizes = 2.0 ** (GRID[:, None] / power - deviation * nodes)
    erf = np.vectorize(math.erf)(sizes / math.sqrt(2))
    return erf @ (weights / weights.sum())


class Training:
    """A training as a monitor would see it: of every ten series, eight are of parameters."""

    def __init__(self, series: int, samples: int, seed: int = 0) -> None:
        self.rng, self.samples = np.random.default_rng(seed), samples
        modules = [f"transformer.h.{i // 5}.{PARAMETERS[i % 5]}" for i in range(series)]
        self.count = series // 5
        roles = list(ROLES)
        self.series = [
            Series(f"{m}.weight", r, "float16" if r == "weight" else "float32")
            for r in roles[:4]
            for m in modules[: self.count]
        ]
        seen = modules[: series - len(self.series)]
        self.series += [Series(m, roles[4 + i % 2], "float16") for i, m in enumerate(seen)]
        rows = np.array([ROLES[s.role] for s in self.series])
        own = np.tile(self.rng.normal(0, 1.5, series), 6)[: len(rows)]
        self.centre, self.drift = rows[:, 0] + own, rows[:, 1]
        self.shapes = {role: below(*values[2:]) for role, values in ROLES.items()}
        self.role = np.array([roles.index(s.role) for s in self.series])
        sizes = 2 ** self.rng.integers(10, 22, series)
        of_parameter = sizes[: self.count]
        self.elements = np.concatenate([*[of_parameter] * 4, sizes])[: len(rows)]
        self.scale = 2.0**14

    def sample(self, number: int) -> tuple[Sample, list[Event]]:
        """The next sampled step."""
        step = number * EVERY
        observed, scale = self._observed(number / self.samples), self.scale
        events = self._scaled(number, step, observed.largest[self.count : 2 * self.count])
        skipped = any(event.kind == "skip" for event in events)
        head = Head(step, 1.7e9 + step, scale, not skipped, (("lr", 3e-4),))
        updates = None if skipped else self._updates(observed, number / self.samples)
        return Sample(head, observed, updates), events

    def _scaled(self, number: int, step: int, largest: np.ndarray) -> list[Event]:
        """What becomes of the loss scale: doubled now and then, halved where that was too much."""
        before = self.scale
        if before * largest.max() >= 65520:
            self.scale /= 2
            name = self.series[self.count + int(largest.argmax())].name
            said = f"step {step} was skipped: a gradient of {name} overflowed at {before:g}"
            return [Event(step, "skip", said, before, self.scale, name)]
        if number % 20 == 19:
            self.scale *= 2
            return [Event(step, "scale", f"grew to {self.scale:g}", before, self.scale)]
        return []

    def _observed(self, at: float) -> Observed:
        rows, rng = len(self.series), self.rng
        centre = self.centre + self.drift * at + rng.normal(0, 0.25, rows)
        first = np.floor(centre - WIDTH * 0.8).astype(np.int64)
        edges = first[:, None] + np.arange(WIDTH + 1) - centre[:, None]
        share = np.empty(edges.shape)
        for number, shape in enumerate(self.shapes.values()):
            mine = self.role == number
            share[mine] = np.interp(edges[mine], GRID, shape)
        mean = self.elements[:, None] * np.diff(share, axis=1)
        noise = np.sqrt(mean) * rng.standard_normal(mean.shape, dtype=np.float32)
        counts = np.maximum(np.rint(mean + noise), 0).astype(np.int64)
        zero = rng.poisson(self.elements * 1e-3)
        counts[np.arange(rows), counts.argmax(1)] += self.elements - zero - counts.sum(1)
        some = counts > 0
        low = some.argmax(1)
        high = WIDTH - some[:, ::-1].argmax(1)
        inside = (np.arange(WIDTH) >= low[:, None]) & (np.arange(WIDTH) < high[:, None])
        tops = 2.0 ** (first + high - rng.random(rows))
        ends = 2.0 ** (first + low + rng.random(rows))
        return Observed(
            np.arange(rows), self.elements, zero, np.zeros(rows, int), np.zeros(rows, int),
            *(x.astype(np.float32).astype(float) for x in (tops, ends)), self._casts(counts, first),
            first + low, high - low, counts[inside],
        )  # fmt: skip

    def _casts(self, counts: np.ndarray, first: np.ndarray) -> np.ndarray:
        binades = first[:, None] + np.arange(WIDTH)
        found = []
        for name in FORMATS:
            f = format(name)
            below = counts * (binades < binade(f.least_positive) - 1)
            above = counts * (binades > f.emax)
            subnormal = counts * (binades < f.emin) - below
            exact = self.rng.poisson(counts.sum(1) / 2**f.precision)
            found.append(np.stack([exact, *(c.sum(1) for c in (below, subnormal, above))], 1))
        return np.stack(found, 1)

    def _updates(self, observed: Observed, at: float) -> UpdateRows:
        n, rng = self.count, self.rng
        updates = observed.elements[:n] - observed.zero[:n]
        share = np.array([0.55, 0.0, 1e-4, 0.93, 0.88]) + 0.35 * at * np.array([1, 0, 0, 0.1, 0.1])
        own = np.clip(share + rng.normal(0, 0.03, (n, 5)) * (share > 0.01), 0, 1)
        lost = rng.binomial(updates[:, None], own)
        intended = updates * 1e-8 * rng.uniform(0.5, 2, n)
        none, looked = np.zeros(n, np.int64), np.minimum(updates, 4096)
        return UpdateRows(
            np.arange(n), none, updates, lost, intended, intended[:, None] * (1 - own),
            intended[:, None] * (1 - own), none, np.zeros((n, 5), np.int64), looked,
            rng.binomial(looked, 0.1), none + min(10, int(at * self.samples)),
        )  # fmt: skip


def write_log(path: str | Path, series: int = 1000, samples: int = 10_000) -> None:
    """A log as a long training leaves it."""
    training = Training(series, samples)
    size = int(training.elements[: training.count].sum())
    about = About("GPT", "AdamW", FORMATS, WAYS, EVERY, size, started=1.7e9)
    writer = LogWriter(path, about)
    for name in training.series:
        writer.index(name)
    for number in range(samples):
        writer.add(*training.sample(number))
    writer.close()


PEAK = """
import sys
from halfulp.cli.app import run
status = run(sys.argv[1:])
line = next(l for l in open("/proc/self/status") if l.startswith("VmHWM"))
print(f"peak {int(line.split()[1]) / 1024:.0f} MiB", file=sys.stderr)
sys.exit(status)
"""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("run") / "run.db"
    begin = time.perf_counter()
    write_log(path)
    size = path.stat().st_size
    print(f"\n  1,000 series, 10,000 samples: {size / 1e6:.0f} MB", end="")
    print(f", made in {time.perf_counter() - begin:.0f} s")
    assert size < 1e9
    yield path
    path.unlink()


def measured(log: Path, *arguments: str) -> float:
    """The seconds of a command in a process of its own, its start included."""
    begin = time.perf_counter()
    call = [sys.executable, "-c", PEAK, "report", str(log), *arguments]
    ran = subprocess.run(call, capture_output=True, text=True, check=True)
    took = time.perf_counter() - begin
    peak = ran.stderr.strip().splitlines()[-1]
    print(f"\n  report {' '.join(a.split('/')[-1] for a in arguments)}: {took:.1f} s, {peak}")
    return took


def test_report(benchmark: Any, log: Path) -> None:
    page = log.with_suffix(".html")
    took = benchmark.pedantic(measured, args=(log, "--html", str(page)), rounds=3)
    print(f"  {page.stat().st_size / 1e6:.1f} MB of HTML")
    assert took < 10


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("table", ["tensors", "updates"])
def test_export(benchmark: Any, log: Path, ending: str, table: str) -> None:
    target = log.with_name(f"{table}.{ending}")
    call = (log, "--export", str(target), "--table", table)
    benchmark.pedantic(measured, args=call, rounds=1)
    print(f"  {target.stat().st_size / 1e6:.0f} MB")
    target.unlink()


@pytest.mark.parametrize("part", ["seen", "updates", "observed"])
def test_reading(benchmark: Any, log: Path, part: str) -> None:
    run = read_run(log)
    steps = run.steps(100)
    benchmark.pedantic(lambda: [getattr(run, part)(step) for step in steps], rounds=5)
    print(f"\n  {part}: {10 * benchmark.stats.stats.median:.3f} ms a sample")


if __name__ == "__main__":
    write_log(sys.argv[1], *map(int, sys.argv[2:]))
