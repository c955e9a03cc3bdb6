"""Watching models that torch.compile has in hand: they keep their bits, and are compiled as before.

``fullgraph=True`` fails wherever a hook would break the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from halfulp.runs.reading import Run
from halfulp.runs.samples import ACTIVATION, CLIPPED, GRADIENT
from halfulp.training import watch

STEPS = 8


class Net(nn.Module):
    """Of a class of one's own: torch compiles none of its own in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 1)
        self.block: nn.Module = nn.Sequential(nn.Linear(16, 16), nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(self.block(self.first(x)))
        return found


def outside(model: nn.Module) -> nn.Module:
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    assert isinstance(compiled, nn.Module)
    return compiled


def in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="aot_eager", fullgraph=True)
    return model


def one_block(model: nn.Module) -> nn.Module:
    assert isinstance(model, Net)
    model.block = outside(model.block)
    return model


WAYS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "outside": outside, "in place": in_place, "one block": one_block,
}  # fmt: skip


def trained(
    compiled: Callable[[nn.Module], nn.Module], scale: float | None, watched: bool
) -> tuple[list[Tensor], Run | None]:
    torch._dynamo.reset()
    torch.manual_seed(3)
    model = compiled(Net())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale or 1.0, enabled=scale is not None)
    seen: list[Tensor] = []
    with watch(model, optimizer, scaler, every=2, enabled=watched) as watcher:
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = 16 * model(torch.randn(4, 8)).pow(2).sum()  # the largest scale overflows
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            seen.append(loss.detach())
    assert watcher.failure is None
    assert not watched or watcher.step == STEPS
    return [*seen, *model.state_dict().values()], watcher.run if watched else None


@pytest.mark.parametrize("scale", [None, 8.0, 2.0**127])
@pytest.mark.parametrize("way", WAYS)
def test_a_compiled_training_keeps_its_bits(way: str, scale: float | None) -> None:
    plain, _ = trained(WAYS[way], scale, watched=False)
    found, run = trained(WAYS[way], scale, watched=True)
    assert all(torch.equal(a, b) for a, b in zip(found, plain, strict=True))
    assert run is not None
    roles = [series.role for series in run.series]
    assert roles.count(GRADIENT) == 6
    assert CLIPPED not in roles
    skips = [event for event in run.events if event.kind == "skip"]
    assert bool(skips) == (scale == 2.0**127)
    assert all(event.parameter for event in skips)


@pytest.mark.parametrize(
    ("way", "names"), [("outside", []), ("in place", []), ("one block", ["first", "block", "last"])]
)
def test_activations_are_seen_from_outside(way: str, names: list[str]) -> None:
    _, run = trained(WAYS[way], None, watched=True)
    assert run is not None
    assert [s.name for s in run.series if s.role == ACTIVATION] == names
    told: list[Any] = [event for event in run.events if "compiled" in event.sentence]
    assert bool(told) == (not names)
