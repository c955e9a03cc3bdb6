"""Watching on two ranks: counts of all of them, written once, and the training's bits kept."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import halfulp as hu
from halfulp.runs.reading import read_run
from halfulp.training import watch
from processes import ended, joined, leave, once, start

LAYOUTS = ("wrapped", "sharded", "wrapped and scaled")
FAILING = ("written", "seen")
FORMATS = ("float16", "float8_e4m3fn")
STEPS = 4


def trained(rank: int, layout: str, log: Path | None) -> dict[str, Any]:
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 15), nn.LayerNorm(15), nn.GELU(), nn.Linear(15, 3))
    first = {name: p.detach().clone() for name, p in net.named_parameters()}
    if layout == "sharded":
        model: nn.Module = fully_shard(net)
    else:
        model = DistributedDataParallel(net)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scaled = layout == "wrapped and scaled"
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127 if scaled else 1.0, enabled=scaled)
    watcher = watch(
        model, optimizer, scaler, every=1, formats=FORMATS, log=log, enabled=log is not None
    )
    draw = torch.Generator().manual_seed(3)
    for _ in range(STEPS):
        x = torch.randn(8, 6, generator=draw)[rank::2] * 1e3
        scaler.scale(model(x).square().mean()).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    watcher.close()
    whole = {
        name.removeprefix("module."): getattr(p, "full_tensor", lambda p=p: p)().detach().clone()
        for name, p in model.named_parameters()
    }
    return {"failure": watcher.failure, "steps": watcher.step, "first": first, "last": whole}


def failing(rank: int, what: str, log: Path) -> dict[str, Any]:
    """One rank fails in its second sample: to write, which rank 0 does, or to see."""
    from halfulp.runs import log as logs
    from halfulp.training.watching import steps

    if (what, rank) == ("written", 0):
        target: Any = logs.LogWriter
        name = "add"
    elif (what, rank) == ("seen", 1):
        target, name = steps, "seen_in"
    else:
        return trained(rank, "wrapped", log)
    whole, calls = getattr(target, name), [0]

    def broken(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] > (1 if name == "add" else 30):
            raise OSError("no room")
        return whole(*arguments, **named)

    setattr(target, name, broken)
    try:
        return trained(rank, "wrapped", log)
    finally:
        setattr(target, name, whole)


def both(rank: int, folder: Path) -> None:
    joined(rank, folder, "store")
    found: dict[str, Any] = {}
    for layout in LAYOUTS:
        try:
            log = folder / f"{layout}.db"
            found[layout] = trained(rank, layout, log), trained(rank, layout, None)
        except Exception:
            found[layout] = traceback.format_exc()
    for what in FAILING:
        found[what] = failing(rank, what, folder / f"{what}.db")
    torch.save(found, folder / f"rank-{rank}.pt")
    leave()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def work(place: Path) -> None:
        assert ended(start(both, place)) == [0, 0]

    return once(tmp_path_factory, "watched-ranks", work)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_ranks_are_watched_together(folder: Path, layout: str) -> None:
    results = [
        torch.load(folder / f"rank-{rank}.pt", weights_only=False)[layout] for rank in range(2)
    ]
    for found in results:
        assert not isinstance(found, str), found
        watched, plain = found
        assert watched["failure"] is None
        assert all(torch.equal(watched["last"][name], x) for name, x in plain["last"].items())
    run = read_run(folder / f"{layout}.db")
    assert run.about.ranks == 2
    assert run.steps()[:3] == [0, 1, 2]
    observed, first = run.observed(0), results[0][0]["first"]
    seen = {(run.series[n].name, run.series[n].role): i for i, n in enumerate(observed.series)}
    for name, p in first.items():
        row = seen.get((name, "weight"))
        if layout == "wrapped and scaled":
            assert row is None  # the first steps are skipped
            continue
        assert row is not None
        tallies = hu.tally(p.numpy(), FORMATS)
        expected = [[t.exact, t.underflow, t.subnormal, t.overflow] for t in tallies]
        assert int(observed.elements[row]) == p.numel()
        assert observed.counts[row].tolist() == expected
    outputs = int(observed.elements[seen["3", "activation"]])
    assert outputs == 2 * 4 * 3  # of both ranks


def test_updates_of_shards_add_up(folder: Path) -> None:
    run = read_run(folder / "sharded.db")
    updates = run.updates(1)
    assert updates is not None
    total = 6 * 15 + 15 + 15 + 15 + 15 * 3 + 3
    assert int(updates.updates.sum()) == total
    wrapped = read_run(folder / "wrapped.db").updates(1)
    assert wrapped is not None
    assert int(wrapped.updates.sum()) == total
    np.testing.assert_allclose(updates.intended.sum(), wrapped.intended.sum(), rtol=1e-5)


def test_ranks_agree_on_skips(folder: Path) -> None:
    run = read_run(folder / "wrapped and scaled.db")
    skips = [e for e in run.events if e.kind == "skip"]
    assert len(skips) >= 2
    assert [head.taken for head in run.heads][:2] == [False, False]
    counted = [torch.load(folder / f"rank-{r}.pt", weights_only=False) for r in range(2)]
    assert len({found["wrapped and scaled"][0]["steps"] for found in counted}) == 1


@pytest.mark.parametrize("what", FAILING)
def test_where_one_rank_fails_all_stop_watching_and_train_on(folder: Path, what: str) -> None:
    plain = torch.load(folder / "rank-0.pt", weights_only=False)["wrapped"][1]["last"]
    for rank in range(2):
        found = torch.load(folder / f"rank-{rank}.pt", weights_only=False)[what]
        fails = rank == FAILING.index(what)
        assert found["failure"] == ("OSError: no room" if fails else "another rank has stopped")
        assert all(torch.equal(found["last"][name], x) for name, x in plain.items())
    assert read_run(folder / f"{what}.db").steps() == [0]
