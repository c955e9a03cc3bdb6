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


def given_gradients(model: torch.nn.Module) -> Callable[[], None]:
    """Hands the model the same gradients again, each in its parameter's dtype."""
    torch.manual_seed(0)
    parameters = list(model.parameters())
    gradients = [torch.randn(p.shape).mul_(1e-3).to(p.dtype) for p in parameters]

    def give() -> None:
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = g

    return give


def updates(made: torch.nn.Module, step: Callable[[], Any]) -> Callable[[], None]:
    """The optimizer's step alone, on gradients that are there already."""
    give = given_gradients(made)

    def work() -> None:
        give()
        step()

    return work


def torch_update() -> Callable[[], None]:
    """Torch's foreach AdamW in float32."""
    model = build(0, **SHAPE).model
    return updates(model, torch.optim.AdamW(model.parameters(), lr=0.003, foreach=True).step)


@pytest.mark.parametrize("recipe", UPDATES)
@pytest.mark.parametrize("kind", ["foreach", "fused"])
def test_update(benchmark: Any, kind: str, recipe: str) -> None:
    model = build(0, **SHAPE).model
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003, **{kind: True})
    prepared = prepare(model, optimizer, recipe)

    def step() -> None:
        prepared.backward(torch.zeros((), requires_grad=True))
        prepared.step()

    work = updates(model, step)
    found = ratio(work, torch_update())
    benchmark.pedantic(work, rounds=3)
    print(f"\n  update, {recipe} of a {kind} AdamW: {found:.2f} × torch's foreach AdamW step")


def optimi_kahan(model: torch.nn.Module) -> Any:
    from optimi import AdamW

    return AdamW(model.parameters(), lr=0.003, kahan_sum=True, foreach=True)


def torchao_stochastic(model: torch.nn.Module) -> Any:
    from torchao.optim import _AdamW  # its one optimizer with stochastic rounding

    return _AdamW(model.parameters(), lr=0.003, bf16_stochastic_round=True)


@pytest.mark.parametrize("peer", [optimi_kahan, torchao_stochastic])
def test_peers_update(benchmark: Any, peer: Callable[[Any], Any]) -> None:
    """Others' optimizers for bfloat16 weights; their states are bfloat16 too."""
    model = build(0, **SHAPE).model.bfloat16()
    work = updates(model, peer(model).step)
    found = ratio(work, torch_update())
    benchmark.pedantic(work, rounds=3)
    print(f"\n  update, {peer.__name__}: {found:.2f} × torch's foreach AdamW step")


def of_pychop(x: torch.Tensor) -> torch.Tensor:
    import pychop

    pychop.backend("torch")
    return pychop.Chop(exp_bits=5, sig_bits=10, rmode=1)(x)  # type: ignore[no-any-return]  # no types


def of_torchao(x: torch.Tensor) -> torch.Tensor:
    """MXFP8, in blocks along the last axis."""
    from torchao.prototype.mx_formats.mx_tensor import MXTensor

    if x.shape[-1] % 32:
        return x  # it takes no others
    return MXTensor.to_mx(x, torch.float8_e4m3fn, 32).dequantize(x.dtype)  # type: ignore[no-any-return]  # no types


def of_qtorch(x: torch.Tensor) -> torch.Tensor:
    from qtorch.quant import float_quantize

    return float_quantize(x, 5, 10, rounding="nearest")  # type: ignore[no-any-return]  # no types


def of_torch(x: torch.Tensor) -> torch.Tensor:
    return x.half().float()


@pytest.mark.parametrize("peer", [of_qtorch, of_torch, of_pychop, of_torchao])
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
