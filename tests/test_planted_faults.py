"""Faults planted in real trainings, watched, and named by the findings; a healthy one has none."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from halfulp.training import lint, watch


class Half(nn.Module):
    """Trained under float16 autocast; ``factor`` plants an activation beyond its range."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.first, self.second, self.factor = nn.Linear(16, 16), nn.Linear(16, 1), factor

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x) * self.factor)


class Steepened(torch.autograd.Function):
    """The same numbers; gradients a million times as large."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * 2.0**20


class Branches(nn.Module):
    """Two branches, of which one has gradients far larger than the other's."""

    def __init__(self, steep: bool) -> None:
        super().__init__()
        self.calm, self.steep, self.is_steep = nn.Linear(16, 16), nn.Linear(16, 16), steep

    def forward(self, x: Tensor) -> Tensor:
        out = self.steep(x)
        return self.calm(x) + (Steepened.apply(out) if self.is_steep else out)


def watched(
    model: nn.Module, optimizer: torch.optim.Optimizer, *, scaler: Any = None, steps: int = 30,
    every: int = 1, half: bool = False, bad_step: int | None = None,
) -> Any:  # fmt: skip
    torch.manual_seed(1)
    scale = scaler or torch.amp.GradScaler("cpu", enabled=False)
    with watch(model, optimizer, scaler, every=every) as watcher:
        for step in range(steps):
            x = torch.randn(8, 16)
            if step == bad_step:
                x[5, 2] = torch.nan
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.float16, enabled=half):
                out = model(x.to(next(model.parameters()).dtype))
            scale.scale(out.float().square().mean()).backward()
            scale.step(optimizer)
            scale.update()
    assert watcher.failure is None
    return watcher.findings()


def sentences(found: Any, *, at_least: str = "warning") -> str:
    allowed = {
        "error": ("error",),
        "warning": ("error", "warning"),
        "note": ("error", "warning", "note"),
    }
    return "\n".join(f.sentence for f in found.findings if f.severity in allowed[at_least])


def test_a_healthy_training_has_no_errors() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4))
    found = watched(model, torch.optim.SGD(model.parameters(), lr=0.05))
    assert not found.of("error"), str(found)


def test_an_activation_beyond_float16() -> None:
    torch.manual_seed(0)
    model = Half(1e6)
    found = watched(model, torch.optim.SGD(model.parameters(), lr=0.0), half=True, steps=3)
    told = sentences(found)
    assert "first.weight" in told or "first.bias" in told
    assert "mul" in told
    calm = Half()
    assert not watched(calm, torch.optim.SGD(calm.parameters(), lr=0.0), half=True, steps=3).of(
        "error"
    )


def test_a_tensor_that_alone_forces_the_scale_down() -> None:
    for steep in (True, False):
        torch.manual_seed(0)
        model = Branches(steep)
        found = watched(model, torch.optim.SGD(model.parameters(), lr=0.0))
        told = "\n".join(f.sentence for f in found.of_kind("loss scale forced"))
        assert ("steep" in told) == steep, str(found)
        assert "calm" not in told


def test_an_eps_that_becomes_zero() -> None:
    model = nn.Linear(16, 1).half()
    found = lint(model, torch.optim.Adam(model.parameters(), eps=1e-8))
    (finding,) = [f for f in found.named("eps-vanishes") if "float16" in f.sentence][:1]
    assert "1e-08" in finding.sentence
    assert "0" in finding.sentence


def test_a_frozen_layer_is_frozen_and_not_lost() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4)).bfloat16()
    for p in model[0].parameters():
        p.requires_grad_(False)
    found = watched(model, torch.optim.SGD(model.parameters(), lr=1e-9), steps=8)
    lost = [f for f in found.findings if "lost" in f.sentence and f.severity != "note"]
    assert lost
    assert all("0.weight" not in f.sentence and "0.bias" not in f.sentence for f in lost)


def test_a_weight_decay_below_resolution() -> None:
    torch.manual_seed(0)
    for dtype, expected in ((torch.bfloat16, True), (torch.float32, False)):
        model = nn.Linear(16, 16).to(dtype)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
        found = watched(model, optimizer, steps=5)
        assert ("decay is never applied" in sentences(found)) == expected, str(found)


def test_a_nan_from_one_sample() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))
    found = watched(
        model, torch.optim.SGD(model.parameters(), lr=0.01), bad_step=12, every=100, steps=15
    )
    told = sentences(found, at_least="error")
    assert "step 12" in told
    assert "sample 5" in told


def test_a_skip_is_probing_or_a_fault() -> None:
    torch.manual_seed(0)
    model = nn.Linear(16, 16)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    probing = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=5)
    found = watched(model, optimizer, scaler=probing, steps=30)
    assert not [f for f in found.of("error") if "scale" in f.sentence], str(found)
    fault = Half(1e6)
    optimizer = torch.optim.SGD(fault.parameters(), lr=1e-3)
    found = watched(fault, optimizer, scaler=torch.amp.GradScaler("cpu"), half=True, steps=12)
    assert [f for f in found.of("error") if "skip" in f.sentence], str(found)
