"""Verdicts on watched trainings: each fault planted and found, and not found where there is none."""

from __future__ import annotations

import json
import math
import os
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import halfulp as hu
from chinese import check
from chinese import english as english_in
from halfulp.cli.app import run as command_line
from halfulp.language import use
from halfulp.runs.finding import Finding, percent
from halfulp.runs.glance import glance
from halfulp.runs.glance_text import glance_page
from halfulp.runs.log import LogWriter
from halfulp.runs.reading import Run
from halfulp.runs.samples import (
    About,
    Event,
    Head,
    Observed,
    Recorded,
    Sample,
    Series,
    UpdateRows,
    Way,
)
from halfulp.runs.scale_window import window_at, windows
from halfulp.runs.verdicts import Findings, findings
from oracle import round_code

FORMATS = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
NEAREST, KAHAN = Way("bfloat16", "nearest"), Way("bfloat16", "kahan")
STOCHASTIC, SPLIT = Way("bfloat16", "stochastic"), Way("bfloat16", "split")
SINGLE, MASTER = Way("float32", "nearest"), Way("bfloat16", "master")
WAYS = (NEAREST, KAHAN, STOCHASTIC, SPLIT, SINGLE, MASTER)
SIZE = 512

Array = np.ndarray[Any, Any]


@dataclass
class Updated:
    """What became of one weight's updates at a step: shares lost by way, and sums."""

    updates: int = SIZE
    lost: dict[Way, float] = field(default_factory=dict)  # shares; none for the other ways
    running: Way = SINGLE
    length: dict[Way, float] = field(default_factory=dict)
    cosine: dict[Way, float] = field(default_factory=dict)
    decays: int = 0
    decays_lost: dict[Way, float] = field(default_factory=dict)
    still: int = 0
    samples: int = 10


class Planted:
    """A run that is made up, in memory or in a file."""

    def __init__(self, path: str | Path = ":memory:", formats: tuple[str, ...] = FORMATS) -> None:
        about = About("Net", "AdamW", formats, WAYS, 1, SIZE)
        self.writer, self.path, self.formats = LogWriter(path, about), str(path), formats

    def sample(
        self, step: int, tensors: dict[Series, Array], updated: dict[str, Updated] | None = None,
        *, scale: float | None = None, taken: bool | None = True,
        settings: tuple[tuple[str, float], ...] = (("lr", 1e-3),),
        recorded: dict[str, tuple[Array, Array]] | None = None, dtype: str = "float32",
    ) -> None:  # fmt: skip
        rows = [self._row(series, np.asarray(x)) for series, x in tensors.items()]
        observed = Observed(*(np.concatenate([row[i] for row in rows]) for i in range(11)))
        nonfinite = int(observed.infinite.sum() + observed.nan.sum())
        head = Head(step, 0.0, scale, taken, settings, nonfinite)
        weights = {s.name: self.writer.index(s) for s in tensors if s.role == "weight"}
        for name in updated or {}:
            weights.setdefault(name, self.writer.index(Series(name, "weight", dtype)))
        updates = None if updated is None else _rows(weights, updated)
        pairs = [
            Recorded(weights[name], step, np.arange(w.size) * 3, w, d)
            for name, (w, d) in (recorded or {}).items()
        ]
        self.writer.add(Sample(head, observed, updates), (), pairs)

    def _row(self, series: Series, x: Array) -> tuple[Array, ...]:
        tallies = hu.tally(x, self.formats)
        size = np.abs(x[np.isfinite(x)]).astype(float)
        counts = [[t.exact, t.underflow, t.subnormal, t.overflow] for t in tallies]
        first, *_ = [e for e, _ in tallies[0].binades] or [0]
        last = tallies[0].binades[-1][0] if tallies[0].binades else first - 1
        per = dict(tallies[0].binades)
        binades = [per.get(e, 0) for e in range(first, last + 1)]
        single = (
            self.writer.index(series), x.size, tallies[0].zero, tallies[0].infinite, tallies[0].nan,
            size.max(initial=0.0), min(size[size > 0], default=0.0), counts, first, len(binades),
        )  # fmt: skip
        return (*(np.array([part]) for part in single), np.array(binades, int))

    def event(self, step: int, kind: str, sentence: str = "it was so", **parts: Any) -> None:
        self.writer.tell(Event(step, kind, sentence, **parts))

    def run(self) -> Run:
        return Run(self.writer.connection, self.path)

    def found(self) -> Findings:
        return findings(self.run())


def _rows(weights: dict[str, int], updated: dict[str, Updated]) -> UpdateRows:
    def by_way(value: Callable[[Updated, Way], float]) -> Array:
        return np.array([[value(u, way) for way in WAYS] for u in updated.values()], float)

    def column(value: Callable[[Updated], float]) -> Array:
        return np.array([value(u) for u in updated.values()])

    return UpdateRows(
        series=np.array([weights[name] for name in updated], int),
        running=column(lambda u: WAYS.index(u.running)),
        updates=column(lambda u: u.updates),
        lost=by_way(lambda u, way: round(u.updates * u.lost.get(way, 0.0))).astype(int),
        intended=column(lambda u: float(bool(u.updates))),
        effective=by_way(lambda u, way: bool(u.updates) * u.length.get(way, 1.0) ** 2),
        product=by_way(
            lambda u, way: bool(u.updates) * u.length.get(way, 1.0) * u.cosine.get(way, 1.0)
        ),
        decays=column(lambda u: u.decays),
        decays_lost=by_way(lambda u, way: round(u.decays * u.decays_lost.get(way, 0.0))).astype(
            int
        ),
        looked=column(lambda u: SIZE),
        still=column(lambda u: u.still),
        samples=column(lambda u: u.samples),
    )


RNG = np.random.default_rng(5)


def normal(scale: float = 1.0, size: int = SIZE) -> Array:
    return (RNG.normal(size=size) * scale).astype(np.float32)


def spread(low: int, high: int, size: int = SIZE) -> Array:
    """Magnitudes from 2**low to 2**high, both included."""
    exponents = RNG.uniform(low, high, size)
    exponents[:2] = low, high
    return (2.0**exponents * RNG.choice([-1, 1], size)).astype(np.float32)


W, G = Series("fc.weight", "weight", "float32"), Series("fc.weight", "gradient", "float32")
ACTS = Series("fc", "activation", "float32")
SQUARES = Series("fc.weight", "state exp_avg_sq", "float32")


def tensors(**changed: Array) -> dict[Series, Array]:
    """One healthy step of one layer."""
    made = {"w": normal(0.1), "g": spread(-10, -2), "a": spread(-5, 3), "s": spread(-13, -4)}
    made |= changed
    return {W: made["w"], G: made["g"], ACTS: made["a"], SQUARES: made["s"]}


def healthy(planted: Planted, steps: int = 6, scale: float | None = 1024.0) -> Planted:
    for step in range(steps):
        planted.sample(step, tensors(), {"fc.weight": Updated()}, scale=scale)
    return planted


def only(found: Findings, kind: str) -> Finding:
    (one,) = found.of_kind(kind)
    return one


def check_page(found: Findings) -> None:
    """Eighty columns, plain JSON, HTML and a table; in Chinese as well."""
    assert max(map(len, str(found).splitlines())) <= 80, str(found)
    assert json.loads(found.to_json())["findings"] == [f.to_dict() for f in found.findings]
    assert "hu-steps" in found._repr_html_()
    assert all(len(f.sentence) > 20 and f.sentence.endswith((".", "?")) for f in found.findings)
    english, names = found.to_json(), " ".join(f.tensor or "" for f in found.findings)
    with use("zh"):
        chinese = str(found)
        assert found.to_json() == english
    # Names that are too long for a line are cut into pieces.
    pieces = {word for word in re.findall("[a-z]+", chinese) if word in names}
    check(chinese, "Net", "AdamW", *pieces)


def test_chinese_sentences_have_no_english_left() -> None:
    """All that is planted in this file, found in Chinese: JSON is English all the same."""
    for plant in (
        lambda: lossy(Planted(), names=3), lambda: healthy(Planted(), scale=2.0),
        lambda: healthy(Planted(), scale=2.0**40), lambda: Planted(),
    ):  # fmt: skip
        planted = plant()
        english = planted.found()
        with use("zh"):
            found = planted.found()
            assert found.to_json() == english.to_json()
            assert found == english
            page = glance_page(glance(planted.run()), found).plain()
            for f in found.findings:
                assert english_in(str(f)) <= {"fc"}, str(f)
            assert english_in(str(windows(planted.run()))) <= {"fc"}
        check(page, "Net", "AdamW", "lr", "memory")


def executed(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    program, *arguments = shlex.split(command)
    assert program == "halfulp"
    status = command_line(arguments)
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    return out


def test_a_healthy_run_has_no_faults() -> None:
    found = healthy(Planted()).found()
    assert found.is_healthy
    assert not found.fails("warning")
    assert {f.kind for f in found.findings} <= {"advice: format", "overflow", "underflow"}
    check_page(found)
    assert str(found).startswith("Net  AdamW, 6 sampled steps, 0 to 5")


def test_a_run_without_samples() -> None:
    found = Planted().found()
    assert (found.sampled, found.findings, found.windows) == (0, (), None)
    assert "No step was sampled yet." in str(found)


# Updates.


def lossy(planted: Planted, names: int = 1, steps: int = 3, lost: float = 0.99) -> Planted:
    weights = np.asarray(hu.cast(normal(0.1, 256), "bfloat16"), float)
    updates = np.abs(weights) * RNG.uniform(1e-5, 1e-3, 256)
    for step in range(steps):
        updated = {
            f"layer.{i}.weight": Updated(
                lost={NEAREST: lost, STOCHASTIC: 0.98},
                running=NEAREST,
                length={NEAREST: 0.1, STOCHASTIC: 7.0},
                cosine={NEAREST: 0.3, STOCHASTIC: 0.15},
                still=500,
            )
            for i in range(names)
        }
        updated["layer.0.weight"].lost[NEAREST] = min(lost + 0.005, 1.0)
        recorded = dict.fromkeys(updated, (weights, updates))
        planted.sample(step * 10, tensors(), updated, recorded=recorded, dtype="bfloat16")
    return planted


def test_lost_updates_are_found_once_for_all_tensors(capsys: pytest.CaptureFixture[str]) -> None:
    found = lossy(Planted(), names=40).found()
    lost = only(found, "lost updates")
    parts = dict(lost.evidence)
    assert (lost.severity, lost.tensor, lost.step) == ("error", "layer.0.weight", 0)
    assert parts["updates"] == 3 * 40 * SIZE
    assert parts["lost"] == 3 * (39 * round(0.99 * SIZE) + round(0.995 * SIZE))
    assert lost.sentence.startswith("bfloat16, nearest: 99.")
    assert percent(parts["lost"], parts["updates"]) in lost.sentence
    assert (parts["length"], parts["parameters"]) == (pytest.approx(0.1), 40)
    assert parts["cosine"] == pytest.approx(0.3)
    out = executed(lost.command or "", capsys)  # that very element: it stays
    assert f"value      {hu.number(parts['weight'])}" in out
    moved = only(found, "never moved")
    assert (moved.severity, dict(moved.evidence)["parameters"]) == ("warning", 40)
    assert found.fails("error")
    assert len(found.findings) < 15
    check_page(found)


def test_few_lost_updates_are_no_finding() -> None:
    assert not lossy(Planted(), lost=0.004).found().of_kind("lost updates")
    assert only(lossy(Planted(), lost=0.03).found(), "lost updates").severity == "note"
    assert only(lossy(Planted(), lost=0.2).found(), "lost updates").severity == "warning"


def test_small_losses_weigh_less() -> None:
    """Where nearly all of the norm arrives, it is a step less severe."""
    planted = Planted()
    lost = Updated(lost={SINGLE: 0.6}, running=SINGLE)
    planted.sample(0, tensors(), {"fc.weight": lost})
    assert only(planted.found(), "lost updates").severity == "warning"


def test_stochastic_rounding_is_not_called_lost() -> None:
    planted = Planted()
    up = Updated(lost={STOCHASTIC: 0.99}, running=STOCHASTIC, length={STOCHASTIC: 9.0}, still=510)
    planted.sample(0, tensors(), {"fc.weight": up})
    found = planted.found()
    assert not found.of_kind("lost updates")
    assert not found.of_kind("never moved")
    assert not found.of_kind("advice: updates")


def test_a_frozen_weight_is_never_called_lost() -> None:
    planted = Planted()
    other = Series("emb.weight", "weight", "float32")
    for step in range(4):
        seen = {**tensors(), other: normal()}
        idle = Updated(updates=0, still=SIZE, lost={NEAREST: 1.0}, running=NEAREST)
        planted.sample(step, seen, {"fc.weight": Updated(), "emb.weight": idle})
    found = planted.found()
    assert only(found, "frozen").tensor == "emb.weight"
    assert "frozen" in only(found, "frozen").sentence
    told = " ".join(f.sentence for f in found.findings if f.kind != "frozen" and f.tensor)
    assert not found.of_kind("lost updates")
    assert not found.of_kind("never moved")
    assert "emb.weight" not in told


def test_a_weight_with_a_gradient_that_nobody_updates() -> None:
    planted = Planted()
    head = Series("head.weight", "weight", "float32")
    slope = Series("head.weight", "gradient", "float32")
    planted.sample(
        0, {**tensors(), head: normal(), slope: spread(-9, -3)}, {"fc.weight": Updated()}
    )
    one = only(planted.found(), "not updated")
    assert (one.severity, one.tensor) == ("warning", "head.weight")
    assert "is it in the optimizer?" in one.sentence


def test_of_an_embedding_most_rows_stay_by_right() -> None:
    planted = Planted()
    planted.sample(0, tensors(), {"fc.weight": Updated(updates=20, still=490)})
    one = only(planted.found(), "never moved")
    assert one.severity == "note"
    assert "few of its updates were lost, 0.00 % (0 of 20): they had none" in one.sentence


def test_weights_that_were_compared_too_little_are_not_judged() -> None:
    planted = Planted()
    planted.sample(0, tensors(), {"fc.weight": Updated(still=512, samples=2)})
    assert not planted.found().of_kind("never moved")


def test_weight_decay_that_is_never_applied(capsys: pytest.CaptureFixture[str]) -> None:
    settings = (("lr", 1e-3), ("weight_decay", 0.01))
    pair = (np.asarray(hu.cast(normal(0.1, 64), "bfloat16"), float), normal(1e-3, 64).astype(float))
    for share, severe in ((1.0, True), (0.97, True), (0.5, False)):
        planted = Planted()
        up = Updated(running=NEAREST, decays=SIZE, decays_lost={NEAREST: share})
        planted.sample(
            0, tensors(), {"fc.weight": up}, settings=settings, recorded={"fc.weight": pair}
        )
        found = planted.found()
        assert bool(found.of_kind("weight decay")) is severe
        if severe:
            one = only(found, "weight decay")
            assert percent(round(SIZE * share), SIZE) in one.sentence
            assert ("is never applied" in one.sentence) is (share == 1)
            parts = dict(one.evidence)
            assert parts["update"] == pytest.approx(-1e-5 * float(parts["weight"]))
            assert f"value      {hu.number(parts['weight'])}" in executed(one.command or "", capsys)
            assert "decays lost" in str(found)


# Advice.


def test_the_fix_is_the_cheapest_that_was_checked(capsys: pytest.CaptureFixture[str]) -> None:
    fix = only(lossy(Planted()).found(), "advice: updates")
    assert fix.sentence.startswith("Keep weights as bfloat16, stochastic (2 bytes a weight)")
    parts = dict(fix.evidence)
    for way in ("stochastic", "kahan", "split", "master"):
        assert parts[f"bfloat16, {way}: passes"] == "yes"
        assert float(parts[f"bfloat16, {way}: drift"]) == pytest.approx(1, abs=0.05)
    assert float(parts["drift as it runs"]) < 0.1
    assert f"{float(parts['bfloat16, stochastic: drift']):.3f} of what is meant" in fix.sentence
    assert "stochastic" in executed(fix.command or "", capsys)


def test_a_way_that_fails_one_of_both_checks_is_not_recommended() -> None:
    """Stochastic rounding is out where it is no candidate; Kahan where its counts say so."""
    planted = Planted()
    weights = np.asarray(hu.cast(normal(0.1, 256), "bfloat16"), float)
    up = Updated(
        lost={NEAREST: 0.9, KAHAN: 0.3}, running=NEAREST, length={NEAREST: 0.2, SPLIT: 0.9}
    )
    planted.sample(
        0, tensors(), {"fc.weight": up}, recorded={"fc.weight": (weights, 1e-4 * np.abs(weights))}
    )
    parts = dict(only(planted.found(), "advice: updates").evidence)
    passes = {k.split(":")[0]: v for k, v in parts.items() if k.endswith("passes")}
    assert passes == {
        "bfloat16, kahan": "no", "bfloat16, stochastic": "yes", "bfloat16, split": "no",
        "float32, nearest": "yes", "bfloat16, master": "yes",
    }  # fmt: skip


def test_where_no_way_passes_that_is_said() -> None:
    planted = Planted()
    weights = np.asarray(hu.cast(normal(0.1, 64), "bfloat16"), float)
    ways = dict.fromkeys(WAYS, 0.9)
    up = Updated(lost=ways, running=NEAREST, length={NEAREST: 0.2})
    tiny = 1e-12 * np.abs(weights)
    planted.sample(0, tensors(), {"fc.weight": up}, recorded={"fc.weight": (weights, tiny)})
    one = only(planted.found(), "advice: updates")
    assert (one.severity, one.command) == ("warning", None)
    assert one.sentence.startswith("None of the ways that were watched keeps the updates")


def test_without_recorded_elements_nothing_is_recommended() -> None:
    planted = Planted()
    planted.sample(0, tensors(), {"fc.weight": Updated(lost={NEAREST: 0.9}, running=NEAREST)})
    assert "can be checked" in only(planted.found(), "advice: updates").sentence


def test_formats_by_role_are_the_narrowest_that_hold() -> None:
    planted = Planted()
    seen = {Series(f"l{i}", "activation", "float32"): spread(-4, 4) for i in range(19)}
    seen[Series("wide", "activation", "float32")] = spread(-4, 12)
    seen[Series("vast", "activation", "float32")] = spread(-4, 17)
    planted.sample(0, seen, {})
    found = planted.found()
    by_name = {row.name: row for row in found.formats if row.role == "activation"}
    assert (by_name["l0"].format, by_name["l0"].is_wider) == ("float8_e4m3fn", False)
    assert (by_name["wide"].format, by_name["wide"].is_wider) == ("float8_e5m2", True)
    assert (by_name["vast"].format, by_name["vast"].underflow) == ("bfloat16", 0)
    (one,) = found.of_kind("advice: format")
    assert "float8_e4m3fn would do for 19 of 21 tensors" in one.sentence
    assert "but for wide, vast: candidates for keep_float32" in one.sentence


def test_gradients_that_float16_loses_are_told_the_scale() -> None:
    planted = Planted()
    planted.sample(0, tensors(g=spread(-40, -20)), {})
    found = planted.found()
    (one,) = [f for f in found.of_kind("advice: format") if dict(f.evidence)["role"] == "gradient"]
    assert "bfloat16 would do" in one.sentence
    assert "with a loss scale of 2^16 to 2^35 so would float16" in one.sentence


# Ranges.


def test_nan_names_where_it_came_first() -> None:
    planted = healthy(Planted(), 3)
    bad = normal()
    bad[7:10] = np.nan
    planted.sample(3, tensors(a=bad), None, taken=False)
    planted.sample(4, tensors(a=bad, w=bad, g=bad), {})
    one = only(planted.found(), "NaN")
    assert (one.severity, one.tensor, one.step) == ("error", "fc", 3)
    assert one.sentence.startswith(
        "Activation fc has NaN elements: first seen at step 3, later in 2"
    )
    assert percent(6, 5 * SIZE) in one.sentence


def test_gradients_of_a_skipped_step_may_be_infinite() -> None:
    bad = normal()
    bad[0] = np.inf
    planted = healthy(Planted(), 3)
    planted.sample(3, tensors(g=bad), None, taken=False, scale=1024.0)
    assert not planted.found().of_kind("infinite")
    planted.sample(4, tensors(g=bad), {}, taken=True)
    one = only(planted.found(), "infinite")
    assert (one.severity, one.tensor, one.step) == ("error", "fc.weight", 4)


def test_infinite_activations_are_a_warning() -> None:
    bad = normal()
    bad[3] = -np.inf
    planted = healthy(Planted(), 2)
    planted.sample(2, tensors(a=bad), {"fc.weight": Updated()})
    assert only(planted.found(), "infinite").severity == "warning"


def test_events_of_what_is_not_finite_are_quoted() -> None:
    planted = healthy(Planted(), 2)
    planted.event(1, "nonfinite", "exp after fc made 3 numbers infinite.", parameter="fc.weight")
    planted.event(2, "nonfinite", "again")
    one = only(planted.found(), "nonfinite")
    assert (one.severity, one.step, one.tensor) == ("error", 1, "fc.weight")
    assert one.sentence == "“exp after fc made 3 numbers infinite”, and 1 time more up to step 2."


def test_activations_that_would_overflow(capsys: pytest.CaptureFixture[str]) -> None:
    planted = Planted()
    planted.sample(0, tensors(a=spread(-4, 16)), {})
    one = next(
        f for f in planted.found().of_kind("overflow") if dict(f.evidence)["role"] == "activation"
    )
    assert one.severity == "note"
    assert "would overflow float16, unscaled, in 1 tensor of 1, worst in fc" in one.sentence
    assert "(it ends at 65,504); float8_e5m2 in 1 tensor; float8_e4m3fn in" in one.sentence
    assert dict(one.evidence)["largest"] == 2.0**16
    assert one.command == "halfulp explain 65536 --to float16"
    assert "inf" in executed(one.command, capsys)


def test_gradients_that_would_underflow(capsys: pytest.CaptureFixture[str]) -> None:
    planted = Planted()
    gradients = spread(-40, -10)
    planted.sample(0, tensors(g=gradients), {})
    rows = planted.found().of_kind("underflow")
    one = next(f for f in rows if dict(f.evidence)["role"] == "gradient")
    zeroed = int((np.float16(gradients) == 0).sum())
    assert f"would become zero in float16, unscaled: {percent(zeroed, SIZE)}" in one.sentence
    assert one.command == f"halfulp explain {2.0**-40!r} --to float16"
    assert "value      0" in executed(one.command, capsys)
    assert not [f for f in healthy(Planted()).found().of_kind("underflow")
                if dict(f.evidence)["format"] in ("float16", "bfloat16")]  # fmt: skip


def test_a_state_that_becomes_zero() -> None:
    planted = Planted()
    state = spread(-20, -10)
    for step in range(3):
        state = state.copy()
        state[: 20 * step] = 0
        planted.sample(step, tensors(s=state), {"fc.weight": Updated()})
    one = only(planted.found(), "state underflow")
    assert one.severity == "warning"
    assert f"exp_avg_sq of fc.weight became zero in float32 in {percent(40, SIZE)}" in one.sentence
    assert not healthy(Planted()).found().of_kind("state underflow")


def test_squares_in_bfloat16_cannot_shrink(capsys: pytest.CaptureFixture[str]) -> None:
    for dtype, beta2, found in (
        ("bfloat16", 0.999, True), ("bfloat16", 0.95, False), ("float16", 0.999, False),
        ("float16", 0.9999, True), ("float32", 0.999, False),
    ):  # fmt: skip
        planted = Planted()
        squares = replace(SQUARES, dtype=dtype)
        planted.sample(
            0, {W: normal(), squares: spread(-9, -3)}, {"fc.weight": Updated()},
            settings=(("lr", 1e-3), ("beta2", beta2)),
        )  # fmt: skip
        rows = planted.found().of_kind("state precision")
        assert bool(rows) is found
        if rows:
            out = executed(rows[0].command or "", capsys)
            assert "nearest never moves" in out


# The loss scale.


def brute_force(gradients: list[Array], target: str, share: Fraction) -> tuple[int, int]:
    """The least and the largest exponent of a scale, by trying; the least by whole binades."""
    f = hu.format(target)

    def keeps(e: int) -> bool:
        for x in gradients:
            floors = Counter(math.frexp(v)[1] - 1 for v in np.abs(x[x != 0]).tolist())
            kept = sum(n for e0, n in floors.items() if Fraction(2) ** (e0 + e) >= f.least_positive)
            if kept < share * floors.total():
                return False
        return True

    def fits(e: int) -> bool:
        return all(
            round_code(f, Fraction(float(np.abs(x).max())) * Fraction(2) ** e, "nearest_even")
            != "overflow"
            for x in gradients
        )

    tried = range(-130, 140)
    return min(e for e in tried if keeps(e)), max(e for e in tried if fits(e))


@pytest.mark.parametrize("target", ["float16", "bfloat16", "float8_e5m2", "float8_e4m3"])
@pytest.mark.parametrize("share", [Fraction(999, 1000), 0.9, 1])
def test_windows_are_those_of_brute_force(target: str, share: Any) -> None:
    names = ["a", "b", "c"]
    planted, every = Planted(), []
    for step in range(3):
        arrays = [spread(-30 - step, -8), normal(10.0 ** -(step + 2)), spread(-14, 3 - step)]
        arrays[0][:3] = 2.0**-60  # some that no share but all would keep
        planted.sample(
            step,
            {Series(n, "gradient", "float32"): x for n, x in zip(names, arrays, strict=True)},
            {},
        )
        every.append(arrays)
    found = windows(planted.run(), target, share)
    wanted = [brute_force(arrays, target, Fraction(str(share))) for arrays in every]
    rows = [(row.least, row.largest) for row in found.rows]
    assert rows == [(Fraction(2) ** low, Fraction(2) ** high) for low, high in wanted]
    assert found.least == max(low for low, _ in rows)
    assert found.largest == min(high for _, high in rows)
    assert found.rows[0] == window_at(planted.run(), 0, target, share)


def test_the_least_scale_keeps_the_share_and_is_at_most_twice_what_is_needed() -> None:
    planted = Planted()
    x = spread(-50, -8)
    planted.sample(0, {G: x}, {})
    least = windows(planted.run()).rows[0].least
    assert least is not None

    def kept(scale: float) -> bool:
        return bool((hu.cast(x.astype(float) * scale, "float16") != 0).mean() >= 0.999)

    assert kept(float(least))
    assert not kept(float(least) / 4)


def test_the_edge_of_the_largest_scale_is_exact() -> None:
    for size, high in ((65519.0, 0), (65520.0, -1), (32760.0, 0), (32759.0, 1)):
        planted = Planted()
        planted.sample(0, {G: np.float64([size])}, {})
        assert windows(planted.run()).rows[0].largest == Fraction(2) ** high


def test_a_window_names_its_bounds_and_what_it_cannot_tell() -> None:
    planted = Planted()
    low, high = (
        Series("low", "gradient", "float32"),
        Series("high", "activation gradient", "float32"),
    )
    planted.sample(0, {low: spread(-30, -20), high: spread(-5, 2)}, {}, scale=64.0)
    (row,) = windows(planted.run()).rows
    assert (row.bound_below, row.bound_above, row.loss_scale) == ("low", "high", 64.0)
    assert (str(row), row.above_next) == ("step 0: 2^6 to 2^13 for float16", 2.0**22)
    planted.sample(1, {replace(low, dtype="float16"): spread(-20, -18)}, {}, scale=64.0)
    late = windows(planted.run())
    assert (late.rows[1].least, late.rows[1].hidden) == (None, "low")
    assert (late.least, late.largest) == (None, 2**13)
    assert "cannot be told" in only(planted.found(), "loss scale hidden").sentence


def test_a_step_that_overflowed_bounds_the_scale() -> None:
    planted = Planted()
    bad = spread(-10, -2)
    bad[5] = np.inf
    planted.sample(0, {G: bad}, None, scale=4096.0, taken=False)
    (row,) = windows(planted.run()).rows
    assert (row.largest, row.nonfinite, row.is_above) == (2**11, 1, True)


@pytest.mark.parametrize("share", [0, -1, 1.5, "x", float("nan")])
def test_a_share_is_between_nothing_and_all(share: Any) -> None:
    with pytest.raises(hu.HalfulpError, match="share is"):
        windows(Planted().run(), share=share)


def test_windows_of_formats_without_a_sign_are_refused() -> None:
    with pytest.raises(hu.HalfulpError, match="weights need one"):
        windows(Planted().run(), "float8_e8m0fnu")


def test_no_scale_fits() -> None:
    planted = Planted()
    far = Series("far", "gradient", "float32")
    planted.sample(0, {**tensors(), far: spread(-70, -60)}, {}, scale=1024.0)
    planted.sample(1, tensors(), {}, scale=1024.0)
    one = only(planted.found(), "loss scale")
    assert (one.severity, one.step, one.tensor) == ("warning", 0, "far")
    assert percent(1, 2) in one.sentence
    assert "99.9 % of the nonzero" in one.sentence
    assert "far needs 2^46 or more and fc.weight bears 2^17 at most, where of" in one.sentence
    assert percent(SIZE, 2 * SIZE) in one.sentence  # all of far's, of both tensors' elements
    check_page(planted.found())


def test_no_one_scale_fits_all_steps() -> None:
    planted = Planted()
    planted.sample(0, {G: spread(-50, -45)}, {}, scale=2.0**30)
    planted.sample(1, {G: spread(0, 8)}, {}, scale=1.0)
    found = planted.found()
    assert only(found, "loss scale").sentence.startswith("No one loss scale fits float16")
    assert found.windows is not None
    assert (found.windows.is_empty, found.windows.static) == (True, None)


def test_a_scale_outside_of_its_window() -> None:
    for scale, where, severity in ((2.0, "below", "warning"), (2.0**30, "above", "warning")):
        planted = Planted()
        for step in range(4):
            planted.sample(step, {G: spread(-34, -3)}, {"fc.weight": Updated()}, scale=scale)
        one = only(planted.found(), f"loss scale {where}")
        assert (one.severity, dict(one.evidence)["loss scale"]) == (severity, scale)
        assert "2^10 to 2^18 fits" in one.sentence
        assert percent(4, 4) in one.sentence


def test_one_tensor_that_forces_the_scale_down() -> None:
    spiky, calm = Series("spiky", "gradient", "float32"), Series("calm", "gradient", "float32")
    for high, forced in ((5, True), (0, False)):
        planted = Planted()
        for step in range(3):
            planted.sample(step, {spiky: spread(-5, high), calm: spread(-8, -1)}, {}, scale=16.0)
        rows = planted.found().of_kind("loss scale forced")
        assert bool(rows) is forced
        if rows:
            assert rows[0].tensor == "spiky"
            assert "64 times at step 0" in rows[0].sentence


def falling(planted: Planted, scales: list[float], first: int = 100, kind: str = "skip") -> Planted:
    for i, (before, after) in enumerate(pairwise(scales)):
        sentence = f"step {first + i} was skipped at {before:g}"
        planted.event(first + i, kind, sentence, loss_scale=before, scale_after=after)
    return planted


def test_a_skip_now_and_then_is_normal() -> None:
    planted = healthy(Planted(), 6, scale=2.0**17)
    falling(planted, [2.0**18, 2.0**17], first=2)
    falling(planted, [2.0**18, 2.0**17], first=4)
    one = only(planted.found(), "skip")
    assert one.severity == "note"
    assert "2 steps were skipped while the loss scale was probed, which is normal" in one.sentence
    assert "last at step 4: “step 4 was skipped at 262144”" in one.sentence
    assert not planted.found().of_kind("scale collapse")


def test_a_scale_may_come_down_to_its_place_at_the_start() -> None:
    planted = healthy(Planted(), 20, scale=2.0**17)
    falling(planted, [2.0**e for e in range(24, 16, -1)], first=0)
    found = planted.found()
    assert only(found, "skip").severity == "note"
    assert not found.of_kind("scale collapse")


def test_skips_in_a_row_are_a_fault_and_a_collapse() -> None:
    planted = healthy(Planted(), 60, scale=1024.0)
    falling(planted, [2.0**e for e in range(10, -4, -1)], first=40)
    found = planted.found()
    skip, fall = only(found, "skip"), only(found, "scale collapse")
    assert (skip.severity, fall.severity) == ("error", "error")
    assert "13 steps were skipped by a fault (the scale fell to 0.125" in skip.sentence
    assert "such as at step 40: “step 40 was skipped at 1024”" in skip.sentence
    assert dict(fall.evidence)["times"] == 13
    check_page(found)


def test_a_skip_for_what_was_not_finite_before_any_gradient() -> None:
    planted = healthy(Planted(), 4)
    planted.event(
        2, "skip", "no scale can help", loss_scale=1024.0, scale_after=512.0,
        details={"output_finite": False},
    )  # fmt: skip
    planted.event(2, "nonfinite", "log of 0 at fc")
    found = planted.found()
    assert "which no scale cures" in only(found, "skip").sentence
    assert only(found, "nonfinite").sentence == "“log of 0 at fc”."


def test_skips_with_room_in_the_scale_are_a_fault() -> None:
    planted = healthy(Planted(), 8, scale=1024.0)
    falling(planted, [1024.0, 512.0], first=3)
    assert only(planted.found(), "skip").severity == "note"
    falling(planted, [1024.0, 512.0], first=6)
    one = only(planted.found(), "skip")
    assert one.severity == "warning"
    assert "not for its size" in one.sentence


def test_some_skips_in_a_row_are_less_than_many() -> None:
    for count, severity in ((2, "note"), (3, "warning"), (8, "error")):
        planted = healthy(Planted(), 60, scale=2.0**17)
        falling(planted, [2.0 ** (20 - i) for i in range(count + 1)], first=40)
        assert only(planted.found(), "skip").severity == severity


def test_a_healthy_scale_has_no_findings() -> None:
    found = healthy(Planted(), 6, scale=2.0**14).found()
    kinds = {f.kind for f in found.findings}
    assert not [kind for kind in kinds if kind.startswith(("loss scale", "scale", "skip"))]


# The records, and the command.


@pytest.mark.extra
def test_findings_print_and_become_tables() -> None:
    found = lossy(Planted(), names=3).found()
    check_page(found)
    frame = found.to_pandas()
    assert list(frame.index) == [f.kind for f in found.findings]
    assert list(frame.severity) == sorted(frame.severity, key=["error", "warning", "note"].index)
    assert found.windows is not None
    assert list(found.windows.to_pandas().index) == [0, 10, 20]
    with pytest.raises(hu.HalfulpError, match="unknown severity"):
        found.fails("fatal")


def test_long_names_stay_within_the_page() -> None:
    planted = Planted()
    name = "model.decoder.layers.11." + "self_attention_projection." * 3 + "weight"
    up = Updated(lost={NEAREST: 1.0}, running=NEAREST, still=SIZE, length={NEAREST: 0.0})
    planted.sample(0, {Series(name, "gradient", "float32"): spread(-70, 5)}, {name: up}, scale=2.0)
    planted.event(0, "skip", "because " * 30, loss_scale=2.0, scale_after=1.0)
    check_page(planted.found())
    text = glance_page(glance(planted.run()), planted.found()).plain()
    assert max(map(len, text.splitlines())) <= 80, text


def written(path: Path, make: Callable[[Planted], Planted] = lossy) -> str:
    planted = make(Planted(path))
    planted.writer.close()
    return str(path)


def watched(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = command_line(["watch", *arguments])
    out, err = capsys.readouterr()
    return status, out, err


def test_watch_prints_once_where_it_is_piped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = written(tmp_path / "run.db")
    status, out, err = watched(capsys, log)
    assert (status, err) == (0, "")
    assert "Net  AdamW, run.db" in out
    assert "step       20, taken" in out
    assert "99.41 % (509 of 512)" in out
    assert "error    bfloat16, nearest: 99.41 %" in out
    assert max(map(len, out.splitlines())) <= 80
    assert watched(capsys, log, "--once") == (status, out, err)


def test_watch_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = watched(capsys, written(tmp_path / "run.db"), "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["glance"]["last"]["step"] == 20
    assert found["findings"]["findings"][0]["kind"] == "lost updates"


def test_watch_fails_on_what_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad, good = written(tmp_path / "a.db"), written(tmp_path / "b.db", healthy)
    assert watched(capsys, bad, "--fail-on", "error")[0] == 1
    assert watched(capsys, bad, "--fail-on", "warning", "--json")[0] == 1
    assert watched(capsys, good, "--fail-on", "warning")[0] == 0


def test_watch_of_an_empty_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = written(tmp_path / "run.db", lambda planted: planted)
    status, out, err = watched(capsys, log)
    assert (status, err) == (0, "")
    assert "No step was sampled yet" in out


def test_watch_refuses_what_is_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import sqlite3

    plain, other = tmp_path / "plain.db", tmp_path / "other.db"
    plain.write_text("this is no database at all" * 100)
    sqlite3.connect(other).execute("CREATE TABLE x (y)").connection.close()
    later = Path(written(tmp_path / "later.db"))
    with sqlite3.connect(later) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    damaged = Path(written(tmp_path / "damaged.db"))
    with sqlite3.connect(damaged) as connection:
        connection.execute("UPDATE samples SET updates = x'0102'")
    connection.close()
    for name, said in (
        ("none.db", "there is no log"), (plain, "no log"),
        (other, "but no log"), (later, "version 99"), (damaged, "damaged"), (tmp_path, "is a folder"),
    ):  # fmt: skip
        status, out, err = watched(capsys, str(name))
        assert (status, out) == (2, "")
        assert said in err
        assert err.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("how", ["q", "interrupt"])
def test_watch_is_live_on_a_terminal(tmp_path: Path, how: str) -> None:
    """It waits for the first sample, shows it when it comes, and leaves when it is asked to."""
    import pty

    planted = Planted(tmp_path / "run.db")
    ours, theirs = pty.openpty()
    command = "from halfulp.cli.app import main; main()"
    program = subprocess.Popen(
        [sys.executable, "-c", command, "watch", planted.path],
        stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    try:
        read_until(ours, "No step was sampled yet")
        lossy(planted)
        shown = read_until(ours, "1 error")
        assert "layer.0.weight: 99.41 % (509 of 512)" in shown
        if how == "q":
            os.write(ours, b"q")
        else:
            program.send_signal(signal.SIGINT)
        assert program.wait(20) == 0
    finally:
        program.kill()
        os.close(ours)


def read_until(terminal: int, text: str) -> str:
    shown, end = "", time.monotonic() + 60
    while text not in shown:
        assert time.monotonic() < end, shown
        if select.select([terminal], [], [], 0.2)[0]:
            shown += os.read(terminal, 65536).decode(errors="replace")
    return shown
