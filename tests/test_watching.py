"""Watching trainings: they keep their bits, planted faults are named, and counts are right."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import halfulp as hu
from halfulp.runs.reading import Run, read_run
from halfulp.runs.samples import CLIPPED, GRADIENT, WEIGHT, Way
from halfulp.training import compare, prepare, watch
from halfulp.training.experiment import find_build
from halfulp.training.running import started

NEAREST = Way("bfloat16", "nearest")


class Loop:
    """A training as users write it: any of a GradScaler, accumulation, clipping, autocast."""

    def __init__(
        self, example: str, *, scaled: bool = False, accumulate: int = 1, clip: float | None = None,
        learning_rate: float | None = None,
    ) -> None:  # fmt: skip
        given = {} if learning_rate is None else {"learning_rate": learning_rate}
        with started(partial(find_build(example), **given), 0, example) as start:
            self.made, self._batches = start.experiment, start.batches
            batches = [next(self._batches) for _ in range(12 * accumulate)]
        self.batches: Iterator[Any] = iter(batches)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20, growth_interval=3)
        self.scaled, self.accumulate, self.clip = scaled, accumulate, clip
        self.losses: list[float] = []

    def step(self) -> None:
        made, optimizer = self.made, self.made.optimizer
        for _ in range(self.accumulate):
            inputs, targets = next(self.batches)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.scaled):
                loss = made.loss(made.model(inputs).float(), targets) / self.accumulate
            (self.scaler.scale(loss) if self.scaled else loss).backward()
            self.losses.append(float(loss.detach()))
        if self.scaled:
            self.scaler.unscale_(optimizer)
        if self.clip is not None:
            nn.utils.clip_grad_norm_(made.model.parameters(), self.clip)
        if self.scaled:
            self.scaler.step(optimizer)
            self.scaler.update()
        else:
            optimizer.step()
        optimizer.zero_grad()

    def state(self) -> list[Tensor]:
        tensors = [*self.made.model.state_dict().values()]
        for state in self.made.optimizer.state.values():
            tensors += [x for x in state.values() if isinstance(x, Tensor)]
        return [x.detach().clone() for x in tensors]


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "scaled": {"scaled": True},
    "accumulated and clipped": {"accumulate": 3, "clip": 0.1},
    "all of it": {"scaled": True, "accumulate": 2, "clip": 0.05},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("example", ["digits", "convnet", "gpt"])
def test_a_watched_training_has_the_same_bits(example: str, kind: str) -> None:
    plain, watched = Loop(example, **KINDS[kind]), Loop(example, **KINDS[kind])
    torch.manual_seed(5)
    for _ in range(6):
        plain.step()
    random = torch.get_rng_state()
    torch.manual_seed(5)
    scaler = watched.scaler if watched.scaled else None
    with watch(watched.made.model, watched.made.optimizer, scaler, every=2) as watcher:
        for _ in range(6):
            watched.step()
    assert watcher.failure is None
    assert len(watcher.run) == 3
    assert watched.losses == plain.losses
    assert all(torch.equal(a, b) for a, b in zip(watched.state(), plain.state(), strict=True))
    assert torch.equal(torch.get_rng_state(), random)
    assert watched.scaler.state_dict() == plain.scaler.state_dict()


def test_nothing_is_left_behind() -> None:
    loop = Loop("gpt")
    model, optimizer = loop.made.model, loop.made.optimizer

    def hooks() -> int:
        found = len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks)
        for module in model.modules():
            found += len(module._forward_hooks) + len(module._forward_pre_hooks)
        return found + sum(len(p._post_accumulate_grad_hooks or ()) for p in model.parameters())

    before = hooks()
    with watch(model, optimizer, every=1):
        assert hooks() > before
        loop.step()
    assert hooks() == before


def rows(run: Run, step: int, role: str) -> dict[str, dict[str, Any]]:
    observed = run.observed(step)
    found = {}
    for i, number in enumerate(observed.series):
        series = run.series[number]
        if series.role == role:
            columns = {f: getattr(observed, f)[i] for f in observed._fields[:8]}
            found[series.name] = {"dtype": series.dtype, **columns}
    return found


def test_gradients_are_the_true_ones() -> None:
    """Unscaled and accumulated, before and after clipping."""
    loop = Loop("digits", scaled=True, accumulate=3, clip=1e-3)
    model = loop.made.model
    true: list[float] = []
    clip = nn.utils.clip_grad_norm_

    def spy(parameters: Any, most: float) -> Any:
        true.extend(float(p.grad.abs().max()) for p in model.parameters())
        return clip(parameters, most)

    nn.utils.clip_grad_norm_ = spy
    try:
        with watch(model, loop.made.optimizer, loop.scaler, every=1) as watcher:
            loop.step()
    finally:
        nn.utils.clip_grad_norm_ = clip
    seen = rows(watcher.run, 0, GRADIENT)
    assert [row["largest"] for row in seen.values()] == pytest.approx(true, rel=1e-6)
    clipped = rows(watcher.run, 0, CLIPPED)
    assert set(clipped) == set(seen)
    assert all(clipped[name]["largest"] < 0.9 * seen[name]["largest"] for name in seen)
    assert watcher.run.heads[0].loss_scale == 2.0**20


def test_what_is_counted_is_what_tensors_hold() -> None:
    loop = Loop("convnet")
    model = loop.made.model
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with watch(model, loop.made.optimizer, every=1, formats=("float16", "float8_e4m3fn")) as w:
        loop.step()
    seen = rows(w.run, 0, WEIGHT)
    assert set(seen) == set(before)
    for name, row in seen.items():
        tallies = hu.tally(before[name].numpy(), w.run.about.formats)
        expected = [[t.exact, t.underflow, t.subnormal, t.overflow] for t in tallies]
        assert row["counts"].tolist() == expected
    roles = {series.role for series in w.run.series}
    assert {"activation", "activation gradient", "state exp_avg"} <= roles or "activation" in roles


def bfloat16_share(run: Run) -> float:
    way = run.about.ways.index(NEAREST)
    every = [u for step in run.steps() if (u := run.updates(step)) is not None]
    return sum(int(u.lost[:, way].sum()) for u in every) / sum(int(u.updates.sum()) for u in every)


@pytest.mark.parametrize(
    ("example", "rate", "steps"),
    [
        ("digits", 0.01, 60),
        ("digits", 0.1, 60),
        ("gpt", 1e-4, 40),
        ("gpt", 1e-3, 40),
        ("convnet", 1e-3, 40),
    ],
)
def test_what_if_of_a_float32_run_is_what_bfloat16_loses(
    example: str, rate: float, steps: int
) -> None:
    with started(partial(find_build(example), learning_rate=rate), 0, example) as start:
        made = start.experiment
        with watch(made.model, made.optimizer, every=1, exclude=["nothing"]) as watcher:
            for _ in range(steps):
                inputs, targets = next(start.batches)
                made.optimizer.zero_grad()
                made.loss(made.model(inputs), targets).backward()
                made.optimizer.step()
    real = compare(example, ["pure-bfloat16"], steps=steps, options={"learning_rate": rate})
    (row,) = real.recipes
    assert bfloat16_share(watcher.run) == pytest.approx(row.lost / row.updates, abs=0.02)


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": partial(torch.optim.SGD, lr=0.01),
    "SGD with momentum": partial(torch.optim.SGD, lr=0.01, momentum=0.9, nesterov=True),
    "Adam": partial(torch.optim.Adam, lr=0.001, weight_decay=0.1),
    "AdamW, foreach": partial(torch.optim.AdamW, lr=0.001, foreach=True),
    "AdamW, fused": partial(torch.optim.AdamW, lr=0.001, fused=True),
    "AdamW, amsgrad": partial(torch.optim.AdamW, lr=0.001, amsgrad=True),
    "NAdam": partial(torch.optim.NAdam, lr=0.001),
    "RAdam": partial(torch.optim.RAdam, lr=0.001),
    "Adamax": partial(torch.optim.Adamax, lr=0.001),
    "RMSprop": partial(torch.optim.RMSprop, lr=0.001, momentum=0.5, centered=True),
    "Adagrad": partial(torch.optim.Adagrad, lr=0.01),
    "Adadelta": partial(torch.optim.Adadelta, lr=1.0),
    "Rprop": partial(torch.optim.Rprop, lr=0.001),
    "ASGD": partial(torch.optim.ASGD, lr=0.001),
    "Adafactor": partial(torch.optim.Adafactor, lr=0.001),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_intended_updates_are_those_of_the_optimizer(name: str) -> None:
    """In float64 the recorded updates are what the step then does, to rounding."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 5)).double()
    optimizer = OPTIMIZERS[name](model.parameters())
    x = torch.randn(16, 20, dtype=torch.float64)
    named = dict(model.named_parameters())
    with watch(model, optimizer, every=1, formats=("float16",)) as watcher:
        for step in range(4):
            optimizer.zero_grad()
            model(x + step).square().sum().backward()
            before = {n: p.detach().clone().flatten() for n, p in named.items()}
            optimizer.step()
            assert watcher.failure is None
            for recorded in watcher.run.recorded():
                weight = watcher.run.series[recorded.series].name
                did = named[weight].detach().flatten() - before[weight]
                expected = did[torch.from_numpy(recorded.where)].numpy()
                assert recorded.step == step
                np.testing.assert_allclose(recorded.updates, expected, rtol=1e-5, atol=1e-12)


def test_a_schedule_does_not_disturb_what_is_foreseen() -> None:
    model = nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1)
    intended = []
    with watch(model, optimizer, every=1) as watcher:
        for step in range(3):
            optimizer.zero_grad()
            model(torch.ones(2, 4)).sum().backward()
            optimizer.step()
            schedule.step()
            intended.append(float(watcher.run.updates(step).intended.sum()))
    assert [head.settings[0] for head in watcher.run.heads] == [
        ("lr", 1.0), ("lr", pytest.approx(0.1)), ("lr", pytest.approx(0.01)),
    ]  # fmt: skip
    assert intended == pytest.approx([intended[0], intended[0] / 100, intended[0] / 10_000])


# Planted faults.


class Hot(nn.Module):
    """A block whose activations leave float16's range."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.first, self.second, self.factor = nn.Linear(8, 8), nn.Linear(8, 1), factor

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x) * self.factor)


def half_steps(model: nn.Module, watcher: Any, optimizer: Any, x: Tensor, steps: int = 3) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.float16):
            loss = model(x).float().square().mean()
        loss.backward()
        optimizer.step()


def test_an_activation_that_overflows_float16_is_named() -> None:
    torch.manual_seed(0)
    model = Hot(1e6)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with watch(model, optimizer, every=100) as watcher:
        half_steps(model, watcher, optimizer, torch.randn(4, 8), 1)
        half_steps(model, watcher, optimizer, torch.randn(4, 8), 2)  # not sampled
    events = [e for e in watcher.run.events if e.kind == "nonfinite"]
    assert "forward" in events[0].sentence
    origin = events[0].details["origin"]
    assert origin["operator"] == "mul"
    assert "first" in origin["place"]
    assert len([e for e in events if "forward" in e.sentence]) == 3


def test_a_nan_from_one_sample_is_traced_to_it() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(6, 4)
    with watch(model, optimizer, every=10) as watcher:
        for step in range(3):
            optimizer.zero_grad()
            if step == 2:
                x[3, 1] = torch.nan
            model(x).square().mean().backward()
            optimizer.step()
    first = watcher.run.events[0]
    assert (first.step, first.kind, first.details["samples"]) == (2, "nonfinite", [3])
    assert "sample 3" in first.sentence
    assert any("backward" in e.sentence for e in watcher.run.events)


def test_a_skip_names_the_gradient_that_forced_it() -> None:
    class Steep(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            return g * 1e36

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calm, self.steep = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.calm(x) + Steep.apply(self.steep(x))

    model = Branches()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    with watch(model, optimizer, scaler, every=100) as watcher:
        for _ in range(12):
            optimizer.zero_grad()
            scaler.scale(model(torch.ones(2, 4)).mean()).backward()
            scaler.step(optimizer)
            scaler.update()
    skips = [e for e in watcher.run.events if e.kind == "skip"]
    assert len(skips) >= 3
    assert all(e.parameter.startswith("steep.") for e in skips)
    assert skips[0].details["parameters"] == 2
    assert (skips[0].loss_scale, skips[0].scale_after) == (2.0**16, 2.0**15)
    assert watcher.step == 12
    assert watcher.run.heads[0].taken is False
    assert watcher.run.updates(0) is None


def test_a_frozen_layer_is_not_lost() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    with watch(model, optimizer, every=1) as watcher:
        for _ in range(7):
            model(torch.ones(2, 4)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    run, updates = watcher.run, watcher.run.updates(6)
    names = [run.series[i].name for i in updates.series]
    assert names == ["1.weight", "1.bias"]
    assert updates.lost[:, 0].tolist() == updates.updates.tolist() == [4, 1]
    assert updates.still.tolist() == [4, 1]
    assert updates.samples.tolist() == [5, 5]


def test_a_decay_below_resolution_is_counted() -> None:
    torch.manual_seed(0)
    model = nn.Linear(64, 64).bfloat16()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    with watch(model, optimizer, every=1) as watcher:
        model(torch.ones(2, 64, dtype=torch.bfloat16)).float().sum().backward()
        optimizer.step()
    updates = watcher.run.updates(0)
    way = int(updates.running[0])
    assert watcher.run.about.ways[way] == NEAREST
    assert updates.decays.tolist() == updates.decays_lost[:, way].tolist() == [1024, 64]
    assert (
        updates.decays_lost[:, watcher.run.about.ways.index(Way("float32", "nearest"))].sum() == 0
    )


# Trainings under recipes.


@pytest.mark.parametrize(
    "recipe",
    [
        "float32",
        "mixed-float16",
        "pure-bfloat16",
        "bfloat16-kahan",
        "bfloat16-split",
        "bfloat16-stochastic",
        "mxfp8",
    ],
)
def test_prepared_trainings_are_watched(recipe: str) -> None:
    def trained(watched: bool) -> tuple[list[Tensor], Any]:
        with started(find_build("digits"), 0, "digits") as start:
            made = start.experiment
            prepared = prepare(made.model, made.optimizer, recipe, emulate=None)
            watcher = watch(prepared, every=2, enabled=watched)
            for _ in range(4):
                inputs, targets = next(start.batches)
                prepared.backward(made.loss(made.model(inputs), targets))
                prepared.step()
            watcher.close()
            return [p.detach().clone() for p in made.model.parameters()], watcher

    (plain, _), (seen, watcher) = trained(False), trained(True)
    assert all(torch.equal(a, b) for a, b in zip(plain, seen, strict=True))
    assert watcher.failure is None
    run = watcher.run
    by = hu.training.recipe(recipe)
    ways = {run.about.ways[i] for i in run.updates(2).running}
    expected = "master" if by.master and by.weights != "float32" else by.update
    assert ways == {Way(by.weights, expected)}
    dtypes = {role: {s.dtype for s in run.series if s.role == role} for role in (WEIGHT, GRADIENT)}
    assert dtypes == {WEIGHT: {by.weights}, GRADIENT: {by.gradients}}


# What goes wrong is said, and the training goes on.


def trains(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 2) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(2, 4)).sum().backward()
        optimizer.step()


def small() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Linear(4, 4)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def test_a_second_watch_is_refused_and_the_first_goes_on() -> None:
    model, optimizer = small()
    with watch(model, optimizer, every=1) as first:
        with pytest.raises(hu.HalfulpError, match="watched already"):
            watch(model, optimizer)
        trains(model, optimizer)
    assert len(first.run) == 2
    with watch(model, optimizer, every=1) as second:
        trains(model, optimizer)
    assert len(second.run) == 2


def test_a_closed_watch_cannot_be_used_again() -> None:
    model, optimizer = small()
    watcher = watch(model, optimizer, every=1)
    watcher.close()
    watcher.close()
    with pytest.raises(hu.HalfulpError, match="was closed"):
        watcher.__enter__()
    trains(model, optimizer)
    assert len(watcher.run) == 0


def test_what_is_not_enabled_does_nothing() -> None:
    model, optimizer = small()
    with watch(model, optimizer, every=1, log="/no/such/folder/run.db", enabled=False) as watcher:
        trains(model, optimizer)
    assert not model._forward_hooks
    with pytest.raises(hu.HalfulpError, match="not enabled"):
        _ = watcher.run


def test_a_log_that_cannot_be_begun_is_said_and_the_run_stays_in_memory(tmp_path: Path) -> None:
    model, optimizer = small()
    other = tmp_path / "other.db"
    sqlite3.connect(other).execute("CREATE TABLE x (y)").connection.commit()
    for log in (other, tmp_path / "none" / "run.db"):
        with pytest.warns(UserWarning, match="kept in memory"):
            watcher = watch(model, optimizer, every=1, log=log)
        with watcher:
            trains(model, optimizer)
        assert len(watcher.run) == 2


def test_a_model_that_changes_shape_is_said_and_watched_on() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, every=1) as watcher:
        trains(model, optimizer)
        model.append(nn.Linear(4, 2))
        optimizer.add_param_group({"params": list(model[1].parameters())})
        trains(model, optimizer)
    assert watcher.failure is None
    (note,) = [e for e in watcher.run.events if e.kind == "note"]
    assert "2 were watched, and now 4 are" in note.sentence
    assert len(watcher.run.updates(3).series) == 4


def test_an_optimizer_with_a_closure_is_said_once() -> None:
    model = nn.Linear(4, 1)
    optimizer = torch.optim.LBFGS(model.parameters())

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = model(torch.ones(2, 4)).square().sum()
        loss.backward()
        return loss

    with watch(model, optimizer, every=1) as watcher:
        for _ in range(3):
            optimizer.step(closure)
    assert watcher.failure is None
    notes = [e.sentence for e in watcher.run.events if e.kind == "note"]
    assert len(notes) == 1
    assert "LBFGS" in notes[0]


def test_a_fault_of_our_own_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    from halfulp.training.watching import steps

    def broken(*_: Any) -> None:
        raise RuntimeError("out of luck")

    model, optimizer = small()
    monkeypatch.setattr(steps, "seen_in", broken)
    with (
        watch(model, optimizer, every=1) as watcher,
        pytest.warns(UserWarning, match="stopped") as said,
    ):
        trains(model, optimizer)
    (only,) = said
    assert "the training goes on: RuntimeError: out of luck" in str(only.message)
    assert watcher.failure == "RuntimeError: out of luck"
    assert not model._forward_hooks


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"every": 0}, "every is 0"),
        ({"every": True}, "every is True"),
        ({"formats": ["float17"]}, "float17"),
        ({"formats": ["float8_e8m0fnu"]}, "cannot be watched"),
        ({"include": ["nobody"]}, "updates none"),
        ({"scaler": 3}, "GradScaler"),
        ({"exclude": [3]}, "patterns of names"),
    ],
)
def test_wrong_arguments_are_one_sentence(given: dict[str, Any], said: str) -> None:
    model, optimizer = small()
    with pytest.raises(hu.HalfulpError, match=said):
        watch(model, optimizer, **given)
    with pytest.raises(hu.HalfulpError, match="needs a"):
        watch(model, model)
    assert not model._forward_hooks


FULL_DISK = """
import resource, signal, sys, torch, warnings
from halfulp.training import watch
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
model = torch.nn.Linear(64, 64)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
warnings.simplefilter("always")
with watch(model, optimizer, every=1, log=sys.argv[1]) as watcher:
    for step in range(60):
        if step == 5:
            size = sum(__import__("os").path.getsize(sys.argv[1] + s) for s in ("", "-wal"))
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20_000, resource.RLIM_INFINITY))
        optimizer.zero_grad(); model(torch.randn(2, 64)).sum().backward(); optimizer.step()
print("trained", step + 1, "failed" if watcher.failure else "fine", len(watcher.run))
"""


def test_a_full_disk_is_said_and_the_training_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "run.db"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(log)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("trained 60 failed")
    assert done.stderr.count("stopped watching") == 1
    assert "cannot write to the log" in done.stderr
    assert int(done.stdout.split()[-1]) >= 5


KILLED = """
import os, signal, sys, torch
from halfulp.training import watch
model = torch.nn.Linear(4, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with watch(model, optimizer, every=1, log=sys.argv[1]):
    for step in range(50):
        optimizer.zero_grad(); model(torch.randn(2, 4)).sum().backward(); optimizer.step()
        if step == 30:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_training_leaves_its_samples(tmp_path: Path) -> None:
    log = tmp_path / "run.db"
    done = subprocess.run([sys.executable, "-c", KILLED, str(log)], check=False)
    assert done.returncode == -signal.SIGKILL
    run = read_run(log)
    assert len(run) >= 30
    assert run.updates(29) is not None


def test_a_callback_is_given_numbers() -> None:
    model = nn.Linear(4, 4).bfloat16()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    given: list[tuple[int, dict[str, float]]] = []
    with watch(model, optimizer, every=1, callback=lambda step, n: given.append((step, n))):
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.ones(2, 4, dtype=torch.bfloat16)).float().sum().backward()
            optimizer.step()
    assert [step for step, _ in given] == [0, 1]
    numbers = given[1][1]
    assert numbers["lost_share"] == numbers["lost"] / numbers["updates"] > 0.9
    assert numbers["lost_share/bfloat16-master"] == 0.0


def test_checkpointed_blocks_are_seen_once() -> None:
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.calls = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)), 0
            self.block[0].register_forward_hook(self._called)

        def _called(self, *_: Any) -> None:
            self.calls += 1

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.block, x, use_reentrant=False).tanh()

    model = Checkpointed()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, every=1) as watcher, warnings.catch_warnings():
        model(torch.ones(3, 4)).sum().backward()
        optimizer.step()
    assert model.calls == 2  # forward, and once more for the backward pass
    seen = rows(watcher.run, 0, "activation")
    assert [seen[f"block.{i}"]["elements"] for i in range(3)] == [12, 12, 12]
