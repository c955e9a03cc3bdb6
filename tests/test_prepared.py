"""prepare: strategies against torch's own optimizers, exact resume, clipping, and what is refused."""

from __future__ import annotations

import copy
import io
import math
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy, mse_loss

import halfulp as hu
from halfulp.training import DYNAMIC, RECIPES, LossScale, prepare, recipe
from halfulp.training.loss_scale import State
from halfulp.training.storage import STORAGES

BFLOAT16 = ("bfloat16-stochastic", "bfloat16-kahan", "bfloat16-split")
OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-3),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.1),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=1e-2),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1e-3),
}


def net(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(6, 16), torch.nn.LayerNorm(16), torch.nn.GELU(), torch.nn.Linear(16, 3)
    )


def batches(count: int, seed: int = 5) -> list[tuple[torch.Tensor, torch.Tensor]]:
    g = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(8, 6, generator=g), torch.randint(0, 3, (8,), generator=g))
        for _ in range(count)
    ]


def trained(prepared: Any, data: Any) -> list[float]:
    losses = []
    for x, y in data:
        loss = cross_entropy(prepared.model(x), y)
        prepared.backward(loss)
        prepared.step()
        losses.append(loss.item())
    return losses


def plainly(
    model: Any, optimizer: Any, data: Any, gradients: Any = lambda p: p.grad
) -> list[float]:
    losses = []
    for x, y in data:
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# Where a recipe is exact, its bits are torch's.


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_float32_is_torchs_own_training(name: str) -> None:
    plain, ours = net(), net()
    expected = plainly(plain, OPTIMIZERS[name](plain.parameters()), batches(12))
    prepared = prepare(ours, OPTIMIZERS[name](ours.parameters()), "float32")
    assert trained(prepared, batches(12)) == expected
    for a, b in zip(plain.parameters(), ours.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("emulate", [None, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_split_gives_the_float32_optimizers_weights(name: str, emulate: bool | None) -> None:
    """Bit for bit: the same gradients, given to torch's optimizer on float32 weights."""
    model, reference = net(), net()
    prepared = prepare(
        model, OPTIMIZERS[name](model.parameters()), "bfloat16-split", emulate=emulate
    )
    theirs = OPTIMIZERS[name](reference.parameters())
    for x, y in batches(12):
        prepared.backward(cross_entropy(model(x), y))
        for ours, p in zip(model.parameters(), reference.parameters(), strict=True):
            p.grad = ours.grad.float().clone()
        prepared.step()
        theirs.step()
        for weight, p in zip(prepared.weights, reference.parameters(), strict=True):
            joined = weight.joined()
            assert torch.equal(joined.view(torch.int32), p.detach().view(torch.int32))


@pytest.mark.parametrize("name", ["mixed-bfloat16", "mixed-float16"])
def test_masters_are_the_float32_optimizers_weights(name: str) -> None:
    model, reference = net(), net()
    prepared = prepare(model, OPTIMIZERS["adamw"](model.parameters()), name)
    theirs = OPTIMIZERS["adamw"](reference.parameters())
    for x, y in batches(12):
        scale = prepared.scale
        prepared.backward(cross_entropy(model(x), y))
        for ours, p in zip(model.parameters(), reference.parameters(), strict=True):
            p.grad = ours.grad.float() / scale
        assert prepared.step()
        theirs.step()
        for master, p, weight in zip(
            prepared.parameters(), reference.parameters(), model.parameters(), strict=True
        ):
            assert torch.equal(master, p)
            assert torch.equal(weight.float(), hu.cast(p.detach(), recipe(name).weights))


@pytest.mark.parametrize("emulate", [None, True])
def test_pure_bfloat16_is_torchs_optimizer_in_bfloat16(emulate: bool | None) -> None:
    """What model.bfloat16() gives; emulated, each operation of the optimizer is rounded."""
    reference, model = net().bfloat16(), net()
    prepared = prepare(
        model, torch.optim.SGD(model.parameters(), lr=0.05), "pure-bfloat16", emulate=emulate
    )
    theirs = torch.optim.SGD(reference.parameters(), lr=0.05)
    for x, y in batches(12):
        prepared.backward(cross_entropy(model(x), y))
        for ours, p in zip(model.parameters(), reference.parameters(), strict=True):
            p.grad = ours.grad.to(torch.bfloat16)
        prepared.step()
        theirs.step()
        for ours, p in zip(model.parameters(), reference.parameters(), strict=True):
            # The CPU's kernel rounds the product too, in the few elements that fill no vector.
            near = {"rtol": 2**-6, "atol": 1e-4} if emulate else {"rtol": 0, "atol": 0}
            assert torch.allclose(ours.float(), p.float(), **near)


def test_pure_float16_adam_is_emulated_as_torch_does_it() -> None:
    """eps 1e-8 is zero in float16, and a state that is zero gives 0/0, in both."""
    found = []
    for emulate in (None, True):
        model = net()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-4, foreach=False)
        prepared = prepare(model, optimizer, "pure-float16", emulate=emulate)
        for step in range(5):
            for i, p in enumerate(model.parameters()):
                g = torch.Generator().manual_seed(10 * step + i)
                p.grad = torch.randn(p.shape, generator=g).to(torch.float16).to(p.dtype)
            prepared._backward = True
            prepared.step()
        found.append([p.detach().float() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


# Strategies.


@pytest.mark.parametrize("name", STORAGES)
def test_what_is_taken_apart_is_put_together(name: str) -> None:
    value = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 3
    value[:4] = torch.tensor([0.0, -0.0, math.inf, 1e-30])
    for dtype in (torch.float32, torch.bfloat16):
        weight = torch.empty_like(value, dtype=dtype)
        rest, joined = STORAGES[name].room(weight), torch.empty_like(value)
        STORAGES[name].split(value.clone(), "bfloat16", weight, rest, 7)
        STORAGES[name].join(weight, rest, joined)
        assert torch.equal(weight.bfloat16().to(dtype), weight)
    error = (joined - value)[torch.isfinite(value)].abs() / value[torch.isfinite(value)].abs()
    bound = {"nearest": 2.0**-8, "stochastic": 2.0**-7, "kahan": 2.0**-16, "split": 0.0}[name]
    assert error[~error.isnan()].max() <= bound
    if name == "split":
        assert torch.equal(joined.view(torch.int32), value.view(torch.int32))


def test_every_float32_pattern_survives_the_split() -> None:
    g = torch.Generator().manual_seed(1)
    bits = torch.randint(-(2**31), 2**31, (1 << 20,), generator=g, dtype=torch.int64).to(
        torch.int32
    )
    ties = (bits & ~0xFFFF) | 0x8000
    for pattern in (bits, ties, ties - 1, ties + 1):
        weight = torch.empty_like(pattern, dtype=torch.bfloat16)
        rest, joined = STORAGES["split"].room(weight), torch.empty(len(pattern))
        STORAGES["split"].split(pattern.view(torch.float32), "bfloat16", weight, rest, None)
        STORAGES["split"].join(weight, rest, joined)
        assert torch.equal(joined.view(torch.int32), pattern)


def test_small_updates_arrive_on_average_or_exactly() -> None:
    """1.0 + 0.001, a thousand times in bfloat16: nearest stays, the others arrive near 2."""
    ends = {}
    for name in ("pure-bfloat16", *BFLOAT16, "mixed-bfloat16"):
        model = torch.nn.Linear(512, 1, bias=False)
        torch.nn.init.ones_(model.weight)
        prepared = prepare(model, torch.optim.SGD(model.parameters(), lr=0.001), name)
        for _ in range(1000):
            prepared.backward(-model.weight.sum())
            prepared.step()
        ends[name] = model.weight.detach().float()
    assert torch.equal(ends["pure-bfloat16"], torch.ones(1, 512))
    for name in ("bfloat16-split", "mixed-bfloat16"):
        assert (ends[name] - 2).abs().max() <= 2.0**-6
    assert abs(ends["bfloat16-stochastic"].mean() - 2) < 0.02
    assert ends["bfloat16-stochastic"].std() > 0
    assert (ends["bfloat16-kahan"] - 2).abs().max() < 0.02


def test_stochastic_updates_draw_by_seed_alone() -> None:
    runs = []
    for seed in (1, 1, 2):
        model = net()
        prepared = prepare(
            model, OPTIMIZERS["adamw"](model.parameters()), "bfloat16-stochastic", seed=seed
        )
        torch.manual_seed(seed * 100 + len(runs))  # torch's own generator changes nothing
        runs.append(trained(prepared, batches(10)))
    assert runs[0] == runs[1] != runs[2]


# The loop around it.


@pytest.mark.parametrize("name", ["mixed-float16", "bfloat16-kahan", "float8-hybrid", "mxfp8"])
def test_accumulated_gradients_are_those_of_the_whole_batch(name: str) -> None:
    x, y = batches(1)[0]
    grads = []
    for parts in ((slice(0, 8),), (slice(0, 4), slice(4, 8))):
        model = net()
        prepared = prepare(model, OPTIMIZERS["sgd"](model.parameters()), name)
        for part in parts:
            loss = cross_entropy(model(x[part]), y[part]) / len(parts)
            prepared.backward(loss)
        prepared.unscale_()
        grads.append([p.grad.clone() for p in prepared.parameters()])
    for a, b in zip(*grads, strict=True):
        assert (a - b).abs().max() <= 0.15 * a.abs().max() + 1e-6


@pytest.mark.parametrize("name", ["float32", "mixed-float16", "bfloat16-split", "mxfp8"])
def test_clipped_gradients_have_the_norm_asked_for(name: str) -> None:
    model, by = net(), recipe(name)
    if by.loss_scale.is_used:
        by = by.replace(loss_scale=LossScale(128.0))
    prepared = prepare(model, OPTIMIZERS["sgd"](model.parameters()), by)
    x, y = batches(1)[0]
    prepared.backward(3 * cross_entropy(model(x), y))
    before = prepared.clip_grad_norm_(0.5)
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in prepared.parameters()))
    assert before > 0.5
    assert abs(norm - 0.5) < 1e-3
    assert prepared.step()


def test_schedulers_groups_frozen_and_tied_weights() -> None:
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = torch.nn.Embedding(5, 8), torch.nn.Linear(8, 5, bias=False)
            self.head.weight = self.embed.weight
            self.frozen = torch.nn.Linear(8, 8)
            self.frozen.requires_grad_(False)
            self.gain = torch.nn.Parameter(torch.ones(()))

        def forward(self, x: Any) -> Any:
            return self.head(self.frozen(self.embed(x)) * self.gain)

    torch.manual_seed(0)
    model = Tied()
    before = model.frozen.weight.detach().clone()
    groups = [{"params": [model.embed.weight], "lr": 0.1}, {"params": [model.gain], "lr": 0.01}]
    optimizer = torch.optim.SGD(groups)
    prepared = prepare(model, optimizer, "mixed-bfloat16")
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    assert len(prepared.weights) == 2
    x = torch.arange(5)
    losses = []
    for _ in range(6):
        loss = cross_entropy(model(x), x)
        prepared.backward(loss)
        prepared.step()
        scheduler.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert model.head.weight is model.embed.weight
    assert torch.equal(model.frozen.weight, before.bfloat16())
    assert [g["lr"] for g in optimizer.param_groups] == [0.1 * 0.5**6, 0.01 * 0.5**6]


@pytest.mark.parametrize("name", [n for n in RECIPES if n != "autocast-float16"])
def test_killed_and_resumed_has_the_same_bits(name: str) -> None:
    """Saved in the middle, loaded into a fresh training: the same losses and weights."""
    data = batches(14)
    whole_model = net()
    whole = prepare(whole_model, OPTIMIZERS["adamw"](whole_model.parameters()), name, seed=3)
    expected = trained(whole, data)
    first_model = net()
    first = prepare(first_model, OPTIMIZERS["adamw"](first_model.parameters()), name, seed=3)
    trained(first, data[:6])
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    del first, first_model
    file.seek(0)
    model = net(seed=99)  # another start, which loading replaces
    resumed = prepare(model, OPTIMIZERS["adamw"](model.parameters()), name, seed=0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    losses = trained(resumed, data[6:])
    assert str(losses) == str(expected[6:])
    for a, b in zip(model.parameters(), whole_model.parameters(), strict=True):
        assert torch.equal(a.detach().nan_to_num(), b.detach().nan_to_num())
    assert resumed.steps == 14


# The loss scale.


def test_the_rule_is_gradscalers() -> None:
    """Torch's own scaler over the same finite and infinite gradients."""
    rule = LossScale(2.0**16, growth=2.0, interval=3, backoff=0.5)
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16, growth_interval=3)
    state = rule.start
    for finite in [True, True, True, False, True, True, True, False, False] * 3:
        scaler.scale(weight.sum())
        weight.grad = torch.ones(1) if finite else torch.full((1,), math.inf)
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        state = rule.next(state, finite)
        assert state.scale == scaler.get_scale()


def test_floor_cap_and_hysteresis() -> None:
    rule = LossScale(8.0, growth=2.0, interval=2, backoff=0.5, floor=2.0, cap=16.0, hysteresis=2)
    state, scales = rule.start, []
    for finite in (
        False,
        False,
        False,
        False,
        True,
        True,
        True,
        True,
        True,
        True,
        False,
        True,
        True,
        False,
    ):
        state = rule.next(state, finite)
        scales.append(state.scale)
    assert scales == [8, 4, 2, 2, 2, 4, 4, 8, 8, 16, 16, 16, 16, 16]
    assert state == State(16.0, 0, 1)


def test_overflows_are_skipped_and_change_nothing() -> None:
    model = net()
    prepared = prepare(model, OPTIMIZERS["adamw"](model.parameters()), "mixed-float16")
    x, y = batches(1)[0]
    before = copy.deepcopy(model.state_dict())
    prepared.backward(1e6 * cross_entropy(model(x), y))
    assert not prepared.step()
    assert (prepared.skipped, prepared.scale) == (1, 2.0**15)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    prepared.backward(cross_entropy(model(x), y))
    assert prepared.step()


# What is refused.


def loss_of(model: Any) -> Any:
    x, y = batches(1)[0]
    return cross_entropy(model(x), y)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"master": "bfloat16", "weights": "float16"}, "narrower than its weights"),
        ({"master": "float32", "update": "kahan"}, "there to do without one"),
        ({"weights": "float16", "update": "split"}, "16 more bits of a bfloat16"),
        ({"weights": "float16", "optimizer": "float16", "loss_scale": DYNAMIC}, "Attempting to unscale FP16"),
        ({"weights": "mxfp8"}, "a block format"),
        ({"weights": "float64"}, "float32 does not hold"),
        ({"weights": "flaot16"}, "did you mean float16"),
        ({"update": "khan"}, "did you mean kahan"),
        ({"autocast": "float16", "weights": "float16"}, "torch chooses"),
        ({"optimizer": "bfloat16"}, "updates weights of that format"),
        ({"accumulation_order": "sideways"}, "unknown order"),
        ({"accumulation_order": "blocked"}, "give block="),
    ],
)  # fmt: skip
def test_recipes_that_cannot_work_are_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(hu.HalfulpError, match=says):
        recipe("float32").replace(**change)


def test_loss_scales_that_cannot_work_are_refused() -> None:
    for wrong in ({"init": 0.0}, {"init": math.inf}, {"growth": 0.5}, {"backoff": 0.0}, {"interval": 0},
                  {"floor": 2.0}, {"cap": 0.5}, {"hysteresis": 0}):  # fmt: skip
        with pytest.raises(hu.HalfulpError, match="allowed is"):
            LossScale(**wrong)


class Complex(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2, dtype=torch.complex64))


class Integers(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2, dtype=torch.int32), requires_grad=False)


@pytest.mark.parametrize("model", [Complex(), Integers(), net().half(), torch.nn.ReLU()])
def test_models_that_cannot_be_prepared(model: torch.nn.Module) -> None:
    parameters = [torch.nn.Parameter(torch.ones(1))]
    optimizer = torch.optim.SGD([*model.parameters()] or parameters, lr=0.1)
    with pytest.raises(hu.HalfulpError):
        prepare(model, optimizer, "mixed-bfloat16")


def test_wrong_calls_are_explained() -> None:
    model = net()
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    prepared = prepare(model, optimizer, "mixed-float16")

    def says(text: str) -> Any:
        return pytest.raises(hu.HalfulpError, match=text)

    with says("call prepared.step"):
        optimizer.step()
    with says("no gradients of prepared.backward"):
        prepared.step()
    with says("one number"):
        prepared.backward(model(batches(1)[0][0]))
    loss = loss_of(model)
    with says("leave its with block"), torch.autocast("cpu", torch.bfloat16):
        prepared.backward(loss)
    prepared.zero_grad()
    prepared.backward(loss_of(model))
    prepared.unscale_()
    with says("twice"):
        prepared.unscale_()
    with says("two scales"):
        prepared.backward(loss_of(model))
    with says("take the step first"):
        prepared.state_dict()
    assert prepared.step()
    with says("prepare a training once"):
        prepare(net(), optimizer, "mixed-float16")
    with says("LBFGS computes the loss"):
        prepare(model, torch.optim.LBFGS(net().parameters()), "float32")
    with says("unknown recipe"):
        prepare(net(), optimizer, "mixed-float61")
    with says("does not compute in"):
        fresh = net()
        prepare(fresh, OPTIMIZERS["sgd"](fresh.parameters()), "mxfp8", emulate=False)


def test_a_state_of_another_training_changes_nothing() -> None:
    model = net()
    prepared = prepare(model, OPTIMIZERS["adamw"](model.parameters()), "bfloat16-kahan")
    trained(prepared, batches(2))
    saved = prepared.state_dict()
    wider = torch.nn.Sequential(torch.nn.Linear(6, 17), torch.nn.Linear(17, 3))
    others = {
        "recipe bfloat16-kahan": prepare(n := net(), OPTIMIZERS["adamw"](n.parameters()), "mxfp8"),
        "the model has changed": prepare(
            wider, OPTIMIZERS["adamw"](wider.parameters()), "bfloat16-kahan"
        ),
    }
    for text, other in others.items():
        before = copy.deepcopy(other.model.state_dict())
        with pytest.raises(hu.HalfulpError, match=text):
            other.load_state_dict(saved)
        for name, value in other.model.state_dict().items():
            assert torch.equal(value, before[name])
    with pytest.raises(hu.HalfulpError, match="lacks"):
        prepared.load_state_dict({"recipe": saved["recipe"]})


def test_nan_in_the_data_is_said_and_leaves_the_weights() -> None:
    for name in ("float32", "mixed-float16", "bfloat16-kahan"):
        model = net()
        prepared = prepare(model, OPTIMIZERS["adamw"](model.parameters()), name)
        trained(prepared, batches(2))
        before = copy.deepcopy(model.state_dict())
        x, y = batches(1)[0]
        x[3, 2] = math.nan
        with pytest.raises(hu.HalfulpError, match="1 of the 48 numbers of the model's input"):
            prepared.backward(cross_entropy(model(x), y))
        for key, value in model.state_dict().items():
            assert torch.equal(value, before[key])
        assert len(trained(prepared, batches(2))) == 2


def test_apex_levels_are_recipes() -> None:
    assert [recipe(f"O{n}").name for n in range(4)] == [
        "float32", "autocast-float16", "mixed-float16", "pure-float16",
    ]  # fmt: skip


def test_mse_of_nothing_to_learn_has_no_gradient_to_lose() -> None:
    """A loss that is zero gives zero gradients, which are no lost updates."""
    model = torch.nn.Linear(2, 1)
    prepared = prepare(model, torch.optim.SGD(model.parameters(), lr=1.0), "pure-bfloat16")
    x = torch.ones(4, 2)
    meter = hu.training.UpdateMeter(prepared)
    prepared.backward(mse_loss(model(x), model(x).detach()))
    meter.step()
    assert (meter.counted.updates, meter.counted.lost) == (0, 0)
