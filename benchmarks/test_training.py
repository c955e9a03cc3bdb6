"""Steps of a training under recipes, as ratios to the plain float32 step; and others' emulation.

The model is a GPT of 4 layers, width 256, on batches of 16 × 64 characters, with torch's AdamW.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import pytest
import torch

from conftest import seconds
from halfulp.training import RECIPES, prepare
from halfulp.training.examples.gpt import build

PAIRS = 9
SHAPE: dict[str, Any] = {"width": 256, "layers": 4, "heads": 4, "context": 64, "batch": 16}
EMULATED = [name for name in RECIPES if name not in ("float32", "autocast-float16")]
UPDATES = ("mixed-bfloat16", "bfloat16-stochastic", "bfloat16-kahan", "bfloat16-split")


def plain_step() -> Callable[[], Any]:
    made = build(0, **SHAPE)
    inputs, targets = next(iter(made.batches))

    def step() -> None:
        made.optimizer.zero_grad()
        made.loss(made.model(inputs), targets).backward()
        made.optimizer.step()

    return step


def prepared_step(recipe: str, emulate: bool | None) -> Callable[[], Any]:
    made = build(0, **SHAPE)
    inputs, targets = next(iter(made.batches))
    prepared = prepare(made.model, made.optimizer, recipe, emulate=emulate)

    def step() -> None:
        prepared.backward(made.loss(made.model(inputs), targets))
        prepared.step()

    return step


def ratio(work: Callable[[], Any], base: Callable[[], Any]) -> float:
    for warm in (work, base, work, base):
        warm()
    return statistics.median(seconds(work) / seconds(base) for _ in range(PAIRS))


@pytest.mark.parametrize("recipe", EMULATED)
def test_emulated_step(benchmark: Any, recipe: str) -> None:
    step, base = prepared_step(recipe, True), plain_step()
    found = ratio(step, base)
    benchmark.pedantic(step, rounds=3)
    print(f"\n  emulated step, {recipe}: {found:.2f} × the float32 step")


@pytest.mark.parametrize("recipe", ["autocast-float16", "mixed-float16", "mixed-bfloat16"])
def test_native_step(benchmark: Any, recipe: str) -> None:
    step, base = prepared_step(recipe, None), plain_step()
    found = ratio(step, base)
    benchmark.pedantic(step, rounds=2)
    print(f"\n  in torch's own dtypes, {recipe}: {found:.2f} × the float32 step")


@pytest.mark.parametrize("recipe", UPDATES)
def test_update(benchmark: Any, recipe: str) -> None:
    """The optimizer's step alone, against torch's foreach AdamW in float32."""
    made, plain = build(0, **SHAPE), build(0, **SHAPE)
    gradients = [torch.randn_like(p) * 1e-3 for p in plain.model.parameters()]
    plain.optimizer = torch.optim.AdamW(plain.model.parameters(), lr=0.003, foreach=True)
    prepared = prepare(made.model, made.optimizer, recipe)
    ours = [g.to(p.dtype) for g, p in zip(gradients, made.model.parameters(), strict=True)]

    def base() -> None:
        for p, g in zip(plain.model.parameters(), gradients, strict=True):
            p.grad = g
        plain.optimizer.step()

    def step() -> None:
        for p, g in zip(made.model.parameters(), ours, strict=True):
            p.grad = g
        prepared.backward(torch.zeros((), requires_grad=True))
        prepared.step()

    found = ratio(step, base)
    benchmark.pedantic(step, rounds=3)
    print(f"\n  update, {recipe}: {found:.2f} × torch's foreach AdamW step")


def of_qtorch(x: torch.Tensor) -> torch.Tensor:
    from qtorch.quant import float_quantize

    return float_quantize(x, 5, 10, rounding="nearest")  # type: ignore[no-any-return]  # no types


def of_torch(x: torch.Tensor) -> torch.Tensor:
    return x.half().float()


@pytest.mark.parametrize("peer", [of_qtorch, of_torch])
def test_peers_round_activations(benchmark: Any, peer: Callable[[Any], Any]) -> None:
    """Other emulators round where hooks let them: outputs of modules, forward alone."""
    made, base = build(0, **SHAPE), plain_step()
    inputs, targets = next(iter(made.batches))
    straight = torch.autograd.Function

    class Through(straight):  # type: ignore[misc]  # torch's class has no types
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return peer(x.contiguous())

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return peer(g.contiguous())

    for module in made.model.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda m, a, out: Through.apply(out))

    def step() -> None:
        made.optimizer.zero_grad()
        made.loss(made.model(inputs), targets).backward()
        made.optimizer.step()

    found = ratio(step, base)
    benchmark.pedantic(step, rounds=3)
    print(f"\n  {peer.__name__[3:]} after every module: {found:.2f} × the float32 step")
