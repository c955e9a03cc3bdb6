"""Lost updates told from half gaps, exhaustively for small formats; then what a lint says."""

from __future__ import annotations

import copy
import json
import pickle
import random
import re
import shlex
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.nn.functional import mse_loss
from torch.utils._pytree import tree_flatten

import halfulp as hu
from cases import SMALL, by_name
from half_gaps import lost_by_gaps
from halfulp.cli.app import run
from halfulp.errors import HalfulpError
from halfulp.training import Lint, lint
from halfulp.training.linting.lost_prediction import lost, places_of
from halfulp.training.linting.schedule import schedules
from oracle import meaning

SIGNED = [f for f in SMALL if f.signed]


def numbers(f):
    """Every finite number of a format, −0 included, as float64."""
    found = [meaning(f, code) for code in range(f.codes)]
    return np.array(
        [-0.0 if x == "-0" else float(x) for x in found if x not in ("nan", "inf", "-inf")]
    )


def updates_around(values):
    """Every midpoint between neighbours seen from zero, the values beside it, and larger ones."""
    sizes = np.unique(np.abs(values))
    gaps = np.unique(np.diff(sizes))
    sizes = np.unique(
        np.concatenate([gaps / 4, gaps / 2, gaps, gaps * 1.5, sizes, [sizes.max() * 4]])
    )
    sizes = np.concatenate([np.nextafter(sizes, 0), sizes, np.nextafter(sizes, np.inf)])
    return np.concatenate([-sizes, [0.0, -0.0, np.nan, np.inf, -np.inf, 5e-324], sizes])


@pytest.mark.parametrize("f", SIGNED, ids=by_name)
def test_an_update_is_lost_where_the_rounded_sum_is_the_weight(f):
    """All numbers of each small format, with updates on and beside every midpoint: as hu.add says."""
    w = numbers(f)[:, None]
    d = updates_around(w.ravel())[None, :]
    w, d = np.broadcast_arrays(w, d)
    with np.errstate(invalid="ignore"):
        added = hu.add(np.ascontiguousarray(w), np.ascontiguousarray(d), f)
    expected = (added == w) & (d != 0) & ~np.isnan(d)
    for found in (lost(w, d, f), lost_by_gaps(w, d, f)):  # the latter never adds
        wrong = found != expected
        assert not wrong.any(), [(w[wrong][0], d[wrong][0], expected[wrong][0])]


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float8_e4m3fn", "e1m6", "e4m3b7_nosub"])
def test_lost_agrees_with_gaps_between_fractions(name):
    """Told from neighbours listed as Fractions, which share no code with either."""
    f = hu.format(name)
    sizes = sorted(
        {abs(x) for code in range(f.codes) if isinstance(x := meaning(f, code), Fraction)}
    )
    codes = {meaning(f, code): code for code in range(f.codes >> 1)}
    codes[Fraction(0)] = 0
    picked = sorted({*range(0, len(sizes) - 1, max(1, len(sizes) // 500)), 1, 2, len(sizes) - 2})
    for at in picked:
        w, odd = sizes[at], codes[sizes[at]] % 2
        for sign in (1, -1):
            away = sizes[at + 1] - w
            towards = w - sizes[at - 1] if at else away
            for gap, direction in ((away, 1), (towards, -1)):
                for d, expected in (
                    (gap / 2, not odd), (gap * 511 / 1024, True), (gap * 513 / 1024, False),
                    (gap, False),
                ):  # fmt: skip
                    # Between zero and a least normal number beside it, zero is the even one.
                    beside = name == "e4m3b7_nosub" and at == 1 and direction == -1
                    got = lost(float(sign * w), float(sign * direction * d), f)
                    want = expected and not (beside and d == gap / 2)
                    assert bool(got) == want, (name, w, d, direction)


def test_float64_and_float32_weights_lose_updates_too():
    ones = np.ones(4)
    assert lost(ones, [2.0**-53, 2.0**-52, -(2.0**-54), -(2.0**-53)], "float64").tolist() == [
        True, False, True, False,
    ]  # fmt: skip
    assert lost(ones, [2.0**-24, 1.1 * 2.0**-24, -(2.0**-25), -1.1 * 2.0**-25], "float32").tolist() == [
        True, False, True, False,
    ]  # fmt: skip
    assert not lost([0.0, 5e-324], [5e-324, 5e-324], "float64").any()


def test_what_is_not_finite_is_never_lost():
    assert not lost([np.inf, np.nan, -np.inf, 1.0, 1.0], [1, 1, 1, 0, np.nan], "float16").any()


@pytest.mark.parametrize("name", ["float8_e8m0fnu", "e12m3", "floot16"])
def test_formats_that_keep_no_weights_are_refused(name):
    with pytest.raises(HalfulpError):
        lost(1.0, 1.0, name)


# What is sampled.


@pytest.mark.parametrize("shape", [(4096, 4096), (1000, 4096), (50257, 768), (4097,)])
def test_a_sample_lies_in_every_stretch_and_in_many_columns(shape):
    elements = int(np.prod(shape))
    places = places_of(elements, 4096).numpy()
    assert len(places) == len(set(places)) == 4096
    assert 0 <= places.min() <= places.max() < elements
    stretches = places * 4096 // elements
    assert np.abs(stretches - np.arange(4096)).max() <= 1
    if len(shape) == 2:
        assert len(set(places % shape[1])) > shape[1] // 3


def test_a_sample_gives_what_all_elements_give():
    """One of 16 elements is enough for a share to a percentage point or two."""
    torch.manual_seed(0)
    model = torch.nn.Linear(256, 256, bias=False)
    torch.nn.init.normal_(model.weight, std=0.02)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    a, b = (lint(model, optimizer, steps=20, sample=n).share_of("bfloat16") for n in (4096, 65536))
    assert (a.parameters[0].sampled, b.parameters[0].sampled) == (4096, 65536)
    assert a.updates == b.updates == 20 * 65536
    assert abs(a.share - b.share) < 0.02
    assert 0.2 < b.share < 0.9


# Nothing is changed.


def net(dtype=torch.float32):
    torch.manual_seed(0)
    layers = (
        torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU(), torch.nn.Dropout(0.5),
        torch.nn.Linear(16, 1),
    )  # fmt: skip
    return torch.nn.Sequential(*layers).to(dtype)


def some_batches(count=6, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(4, 8, generator=generator).to(dtype),
            torch.randn(4, 1, generator=generator).to(dtype),
        )
        for _ in range(count)
    ]


def bits(model, optimizer, schedule):
    """All that a training is: weights, buffers, gradients, states, settings, random states."""
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    parts = [model.state_dict(), gradients, optimizer.state_dict(), schedule.state_dict()]
    parts += [torch.get_rng_state(), np.random.get_state(), random.getstate(), model.training]
    parts += [[id(p) for p in model.parameters()], [id(p) for p in optimizer.state]]
    told = [
        x.numpy().tobytes() if isinstance(x, torch.Tensor) else pickle.dumps(x)
        for x in tree_flatten(parts)[0]
    ]
    return copy.deepcopy(told)


@pytest.mark.parametrize("source", ["batches", "noise", "present", "given"])
@pytest.mark.parametrize("make", [torch.optim.AdamW, torch.optim.SGD])
def test_a_lint_leaves_everything_as_it_was(make, source):
    """Weights, batch norm's statistics, gradients, states, schedule and random states, to the bit."""
    model = net()
    optimizer = make(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50)
    for inputs, targets in some_batches(2):
        optimizer.zero_grad()
        mse_loss(model(inputs), targets).backward()
        optimizer.step()
        schedule.step()
    model.eval()
    given = {
        "batches": {"batches": some_batches(), "loss": mse_loss},
        "noise": {},
        "present": {},
        "given": {"gradients": [[torch.ones_like(p) for p in model.parameters()]]},
    }[source]
    before = bits(model, optimizer, schedule)
    found = lint(model, optimizer, schedule=schedule, steps=6, **given)
    assert found.shares
    assert found.steps == 6
    assert bits(model, optimizer, schedule) == before


def test_the_same_lint_twice_is_the_same():
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    torch.manual_seed(5)
    first = lint(model, optimizer, batches=some_batches(), loss=mse_loss)
    second = lint(model, optimizer, batches=some_batches(), loss=mse_loss)
    assert first == second
    assert Lint.from_json(first.to_json()) == first


# Predicted, and then really lost.


@pytest.mark.parametrize(
    ("target", "rate", "steps"),
    [
        ("digits", 1e-2, 50), ("digits", 1e-1, 200), ("convnet", 1e-3, 100), ("convnet", 1e-2, 200),
        ("gpt", 3e-5, 50), ("gpt", 1e-4, 50), ("gpt", 3e-4, 50),
    ],
)  # fmt: skip
def test_what_is_predicted_is_what_pure_bfloat16_then_loses(target, rate, steps, capsys):
    """Within two percentage points of what a comparison counts; five were asked for."""
    line = ["lint", target, "--learning-rate", str(rate), "--steps", str(steps), "--json"]
    assert run([*line, "--formats", "bfloat16"]) == 0
    said = {s["name"]: s for s in json.loads(capsys.readouterr().out)["shares"]}["bfloat16"]
    options = {"learning_rate": rate}
    real = hu.training.compare(target, ["pure-bfloat16"], steps=steps, options=options).recipes[0]
    assert abs(said["lost"] / said["updates"] - real.lost / real.updates) < 0.02
    assert 0.1 < real.lost / real.updates < 0.95
    assert abs(said["updates"] - real.updates) < 0.01 * real.updates


def test_a_tiny_learning_rate_loses_nearly_all_and_is_said_from_weights_alone():
    """lr 3e-6 on weights of 0.02: no batch is needed to say it."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(*(torch.nn.Linear(256, 256, bias=False) for _ in range(3)))
    for layer in model:
        torch.nn.init.normal_(layer.weight, std=0.02)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-6)
    found = lint(model, optimizer, steps=200, formats=["bfloat16"])
    assert (found.gradients, found.share_of("bfloat16").updates) == ("noise", 200 * 3 * 65536)
    assert found.share_of("bfloat16").share > 0.99
    (finding,) = found.named("updates-lost")
    assert (finding.severity, finding.where) == ("warning", "bfloat16")


@pytest.mark.parametrize(
    "make", [torch.optim.Adam, torch.optim.NAdam, torch.optim.Adagrad, torch.optim.RMSprop]
)
def test_noise_predicts_a_training_on_noise(make):
    """Against torch itself: a bfloat16 weight, gradients without any signal, the same settings."""
    torch.manual_seed(0)
    start = (0.02 * torch.randn(4096)).bfloat16()
    model = torch.nn.Module()
    model.weight = torch.nn.Parameter(start.clone())
    predicted = lint(model, make(model.parameters(), lr=2e-5), steps=50).share_of("bfloat16")
    assert predicted.running
    optimizer, updates, stuck = make(model.parameters(), lr=2e-5), 0, 0
    for _ in range(50):
        before = model.weight.detach().clone()
        model.weight.grad = (1e-3 * torch.randn(4096)).bfloat16()
        optimizer.step()
        updates += before.numel()
        stuck += int((before == model.weight).sum())
    assert predicted.updates == updates
    assert abs(predicted.share - stuck / updates) < 0.03
    assert 0.2 < stuck / updates < 0.98


def test_sgd_needs_gradients():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = lint(model, optimizer)
    assert (found.shares, found.gradients) == ((), "none")
    (note,) = found.named("not-predicted")
    assert "batches" in note.sentence
    for p in model.parameters():
        p.grad = torch.full_like(p, 1e-9)
    found = lint(model, optimizer)
    assert found.gradients == "present"
    weight = found.share_of("bfloat16").parameters[0]
    assert (weight.lost, weight.updates) == (100 * 128, 100 * 128)


def test_given_gradients_count_exactly():
    """w = 1 in bfloat16 has gaps of 1/128 above it and 1/256 below."""
    model = torch.nn.Module()
    model.w = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    step = [torch.tensor([-1 / 256, -1.01 / 256, 1 / 512, 0.0])]
    share = lint(model, optimizer, gradients=[step], steps=1).share_of("bfloat16")
    assert (share.lost, share.updates) == (2, 3)


def test_a_resumed_optimizer_goes_on_from_its_state():
    """Momentum that is there moves a weight whose gradient is nearly nothing."""
    model = torch.nn.Module()
    model.w = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.5)
    tiny = [[torch.full((4,), 1e-9)]]
    assert lint(model, optimizer, gradients=tiny, steps=1).share_of("bfloat16").lost == 4
    optimizer.state[model.w]["momentum_buffer"] = torch.ones(4)
    assert lint(model, optimizer, gradients=tiny, steps=1).share_of("bfloat16").lost == 0


ALL = (
    "ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "LBFGS", "Muon", "NAdam",
    "RAdam", "RMSprop", "Rprop", "SGD", "SparseAdam",
)  # fmt: skip


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_every_optimizer_of_torch_in_every_dtype(name, dtype):
    """Nothing raises, pages fit 80 columns, and JSON comes back as it was."""
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 4).to(dtype)
    parameters = [model.weight] if name == "Muon" else model.parameters()
    optimizer = getattr(torch.optim, name)(parameters, lr=1e-3)
    data = [(x.to(dtype), torch.zeros(4, 4, dtype=dtype)) for x, _ in some_batches(4)]
    for given in ({}, {"batches": data, "loss": mse_loss}):
        found = lint(model, optimizer, steps=4, **given)
        assert max(map(len, str(found).splitlines())) <= 80
        assert Lint.from_json(found.to_json()) == found
        assert all(0 <= s.lost <= s.updates for s in found.shares)
        assert bool(found.shares) or found.named("not-predicted")


# What settings come to: said only where torch does it.


def test_eps_that_vanishes_is_what_torch_makes_nan_of():
    model = net(torch.float16)
    optimizer = torch.optim.Adam(model.parameters())
    (finding,) = lint(model, optimizer, steps=2).named("eps-vanishes")
    assert finding.severity == "error"
    numbers = {e.name: e.value for e in finding.evidence}
    assert numbers["eps"] == 1e-8
    for gradient, breaks in (
        (0.0, True),
        (numbers["gradient"], True),
        (2 * numbers["gradient"], False),
    ):
        w = torch.nn.Parameter(torch.ones(2, dtype=torch.float16))
        real = torch.optim.Adam([w])
        w.grad = torch.full_like(w, gradient)
        real.step()
        assert bool(torch.isfinite(w).all()) != breaks


@pytest.mark.parametrize(("eps", "dtype"), [(1e-7, torch.float16), (1e-8, torch.bfloat16)])
def test_eps_that_stays_is_not_complained_of(eps, dtype):
    model = net(dtype)
    optimizer = torch.optim.Adam(model.parameters(), eps=eps)
    assert not lint(model, optimizer, formats=[], steps=2).named("eps-vanishes")


@pytest.mark.parametrize(
    ("beta2", "dtype", "stalls"),
    [
        (0.999, torch.bfloat16, True), (0.99, torch.bfloat16, False), (0.999, torch.float16, False),
        (0.9999, torch.float16, True),
    ],
)  # fmt: skip
def test_a_second_moment_stalls_where_torchs_does(beta2, dtype, stalls):
    model = net(dtype)
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, beta2), eps=1e-4)
    findings = lint(model, optimizer, formats=[], steps=2).named("state-stalls")
    assert bool(findings) == stalls
    w = torch.nn.Parameter(torch.ones(8, dtype=dtype))
    real = torch.optim.Adam([w], betas=(0.9, beta2), eps=1e-4)
    w.grad = torch.linspace(1, 2, 8).to(dtype)
    real.step()
    before = real.state[w]["exp_avg_sq"].clone()
    w.grad = torch.zeros_like(w)
    for _ in range(20):
        real.step()
    assert torch.equal(before, real.state[w]["exp_avg_sq"]) == stalls


@pytest.mark.parametrize(
    ("dtype", "rate", "lost_decay"),
    [
        (torch.bfloat16, 1e-3, True), (torch.bfloat16, 1.0, False), (torch.float32, 1e-3, False),
        (torch.float32, 1e-6, True), (torch.float16, 1e-3, True),
    ],
)  # fmt: skip
def test_a_decay_is_called_lost_where_torch_applies_none(dtype, rate, lost_decay):
    model = net(dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01, eps=1e-4)
    found = lint(model, optimizer, formats=[], steps=2).named("decay-lost")
    assert bool(found) == lost_decay
    w = torch.nn.Parameter((1 + torch.arange(64) / 64).to(dtype))
    before, w.grad = w.detach().clone(), torch.zeros_like(w)
    torch.optim.AdamW([w], lr=rate, weight_decay=0.01, eps=1e-4).step()
    assert torch.equal(before, w.detach()) == lost_decay


def test_float16_parameters_under_a_scaler_are_what_torch_refuses():
    model = net(torch.float16)
    optimizer, scaler = torch.optim.SGD(model.parameters(), lr=0.1), torch.amp.GradScaler("cpu")
    (finding,) = lint(model, optimizer, scaler).named("float16-scaler")
    assert finding.severity == "error"
    assert "autocast" in finding.sentence
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    scaler.scale(torch.ones(()))
    with pytest.raises(ValueError, match="Attempting to unscale FP16 gradients"):
        scaler.unscale_(optimizer)
    plain = net()
    assert not lint(plain, torch.optim.SGD(plain.parameters()), scaler).named("float16-scaler")
    off = torch.amp.GradScaler("cpu", enabled=False)
    (warning,) = lint(model, optimizer, off).named("float16-unscaled")
    assert warning.severity == "warning"


def test_settings_that_a_format_has_no_number_for_are_notes():
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    (note,) = lint(model, optimizer, formats=["bfloat16"], steps=2).named("constants-in-format")
    assert note.severity == "note"
    assert "betas[1] = 0.999 is 1" in note.sentence
    assert hu.cast(0.999, "bfloat16") == 1


def test_state_in_a_low_dtype_is_said_where_it_runs_only():
    for dtype, severity in (
        (torch.float16, "warning"),
        (torch.bfloat16, "note"),
        (torch.float32, None),
    ):
        model = net(dtype)
        found = lint(model, torch.optim.Adam(model.parameters()), steps=2).named("low-state")
        assert [f.severity for f in found] == ([severity] if severity else [])


# Schedules.


def rates_model(rate=1e-3):
    model = torch.nn.Linear(4, 4)
    return model, torch.optim.Adam(model.parameters(), lr=rate)


def test_a_schedule_that_begins_with_zero_changes_nothing_first():
    model, optimizer = rates_model()
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, step / 10))
    found = lint(model, optimizer, schedule=schedule, steps=20)
    (note,) = found.named("schedule-zero")
    assert "1 of 20 steps" in note.sentence
    share = found.share_of("bfloat16")
    assert share.first_updates == 0
    assert share.updates == 19 * 20


def test_a_schedule_in_a_low_tensor_tells_few_rates_apart():
    """0.0010004 times 0.9999 is 0.0010004 again in float16: torch's own scheduler is stuck."""
    model = torch.nn.Linear(4, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=torch.tensor(1e-3, dtype=torch.float16))
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9999)
    (finding,) = lint(model, optimizer, schedule=schedule, steps=50).named("schedule-repeats")
    assert {e.name: e.value for e in finding.evidence} == {"meant": 50, "held": 1}
    before = float(optimizer.param_groups[0]["lr"])
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    for _ in range(50):
        optimizer.step()
        schedule.step()
    assert float(optimizer.param_groups[0]["lr"]) == before


def test_the_end_of_a_schedule_is_looked_at():
    model, optimizer = rates_model(3e-2)
    rates = [3e-2] * 20 + [3e-6] * 80
    (finding,) = lint(
        model, optimizer, schedule=rates, steps=20, formats=["bfloat16"]
    ).named("schedule-loses")  # fmt: skip
    assert finding.where == "bfloat16"
    assert {e.name: e.value for e in finding.evidence}["step"] == 20
    assert not lint(
        model, optimizer, schedule=[3e-2] * 100, steps=20, formats=["bfloat16"]
    ).named("schedule-loses")  # fmt: skip


@pytest.mark.parametrize(
    "make",
    [
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 40),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 1e-2, total_steps=40),
        lambda o: torch.optim.lr_scheduler.StepLR(o, 5),
        lambda o: torch.optim.lr_scheduler.SequentialLR(
            o,
            [torch.optim.lr_scheduler.LinearLR(o), torch.optim.lr_scheduler.ExponentialLR(o, 0.9)],
            [10],
        ),
    ],
)
def test_rates_are_those_that_torchs_scheduler_gives(make):
    _, optimizer = rates_model()
    schedule = make(optimizer)
    found = schedules(schedule, optimizer, 30)
    _, real = rates_model()
    twin, given = make(real), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(30):
            given.append([real.param_groups[0]["lr"]])
            twin.step()
    assert found.held[:30] == found.meant[:30] == given


# Members.


def test_parameters_that_do_not_move_are_notes():
    model = net()
    model[0].bias.requires_grad_(False)
    model.register_parameter(
        "whole", torch.nn.Parameter(torch.ones(3, dtype=torch.int32), requires_grad=False)
    )
    model.register_parameter("turned", torch.nn.Parameter(torch.ones(3, dtype=torch.complex64)))
    foreign = torch.nn.Parameter(torch.ones(3))
    mine = [model[0].weight, model[0].bias, model.whole, model.turned, foreign]
    found = lint(model, torch.optim.Adam(mine), steps=2)
    assert found.parameters == 128
    where = {f.name: f.where for f in found.of("note")}
    assert where["frozen"] == "whole, 0.bias"
    assert where["not-real"] == "whole (int32), turned (complex64)"
    assert where["not-updated"].startswith("1.weight")
    assert where["not-in-model"] == "group 0, shape (3,)"


def test_weights_beyond_a_format_are_said():
    model = torch.nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1e5, 1.0], [1e-9, 0.0]]))
    found = lint(model, torch.optim.Adam(model.parameters()), steps=2)
    (over,), (under,) = found.named("weights-overflow"), found.named("weights-vanish")
    assert "1 of 4" in over.sentence
    assert "1 of 4" in under.sentence
    assert found.share_of("float16").updates == 2 * 3  # of what is infinite nothing is lost


# Wrong use.


def broken_weights():
    model = net()
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    return model


def adam(model):
    return torch.optim.Adam(model.parameters())


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        (torch.nn.ReLU, {"optimizer": adam(net())}, "ReLU has no parameters"),
        (net, {"optimizer": adam(net())}, "updates none of the parameters"),
        (net, {"optimizer": 3}, "found int"),
        (lambda: 3, {"optimizer": adam(net())}, "found int"),
        (broken_weights, {}, "0.weight has 1 of 128 values that are NaN"),
        (net, {"formats": ["floot16"]}, "did you mean float16"),
        (net, {"formats": "float16"}, "a list of names"),
        (net, {"formats": ["float8_e8m0fnu"]}, "cannot keep weights"),
        (net, {"formats": ["mxfp8_e4m3"]}, "unknown format"),
        (net, {"steps": 0}, "steps is 0"),
        (net, {"sample": True}, "sample is True"),
        (net, {"batches": []}, "give both"),
        (net, {"batches": [], "loss": mse_loss}, "no batches"),
        (net, {"batches": 3, "loss": mse_loss}, "batches is int"),
        (net, {"batches": [3], "loss": mse_loss}, "batch 1 is int"),
        (net, {"batches": [(torch.ones(3, 3), 0)], "loss": mse_loss}, "step 1 failed: RuntimeError"),
        (net, {"batches": some_batches(), "loss": lambda o, t: 3}, "no single number"),
        (net, {"gradients": []}, "gradients is empty"),
        (net, {"gradients": [[None]]}, "has 1 tensors"),
        (net, {"scaler": 3}, "torch.amp.GradScaler"),
        (net, {"schedule": "cosine"}, "schedule is str"),
        (net, {"schedule": [-1.0]}, "-1.0 at step 0"),
        (net, {"schedule": lambda step: 1 / 0}, "ZeroDivisionError"),
        (lambda: torch.nn.Linear(2, 2, device="meta"), {}, "no values yet"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(model, options, said):
    made = model()
    optimizer = options.get("optimizer") or adam(made)
    rest = {k: v for k, v in options.items() if k != "optimizer"}
    with pytest.raises(HalfulpError, match=re.escape(said)) as error:
        lint(made, optimizer, **rest)
    assert "\n" not in str(error.value)


def test_gradients_that_are_not_finite_end_the_prediction():
    model = net()
    data = some_batches(3)
    data[1] = (data[1][0] * float("nan"), data[1][1])
    found = lint(model, adam(model), batches=data, loss=mse_loss)
    assert found.steps == 1
    assert found.fails("error")
    assert {f.severity for f in found.named("not-finite")} == {"error", "warning"}


# On the command line.


def test_every_command_that_a_finding_names_can_be_run(capsys):
    """And the walk of a lost update says that it is lost, in every step."""
    commands = []
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        model = net(dtype)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
        formats = ["float16", "bfloat16", "float8_e4m3fn"]
        findings = lint(model, optimizer, formats=formats, steps=7).findings
        commands += [f.command for f in findings if f.command]
    assert {"walk", "explain", "multiply"} == {c.split()[1] for c in commands}
    for command in set(commands):
        assert run([*shlex.split(command)[1:], "--json"]) == 0, command
        said = json.loads(capsys.readouterr().out)
        if " walk " in command:
            nearest = next(w for w in said["strategies"] if w["name"] == "nearest")
            assert nearest["lost"] == nearest["steps"] == 7


def test_commands_are_broken_where_a_shell_joins_them():
    model = net()
    page = str(lint(model, torch.optim.AdamW(model.parameters(), lr=1e-5)))
    shown = [line.strip() for line in page.replace("\\\n", " ").splitlines()]
    walks = [" ".join(line.split()) for line in shown if line.startswith("halfulp walk")]
    assert walks
    assert all(" --steps 100" in walk and "\\" not in walk for walk in walks)


BUILD = """
import torch
from halfulp.training import Experiment

def build(seed, learning_rate=1e-3):
    model = torch.nn.Linear(4, 1)
    data = [(torch.randn(8, 4), torch.randn(8, 1)) for _ in range(5)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    return Experiment(model, optimizer, data, torch.nn.functional.mse_loss)

def broken(seed):
    raise RuntimeError("no data")

def half(seed):
    made = build(seed)
    made.model.half()
    return made
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(BUILD)
    return str(path)


def test_a_build_of_ones_own(file, capsys, tmp_path):
    page = tmp_path / "page.html"
    assert run(["lint", f"{file}:build", "--json", "--html", str(page)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["gradients"], said["steps"], said["parameters"]) == ("batches", 5, 5)
    assert "updates lost" in page.read_text()
    assert run(["lint", f"{file}:build", "--no-batches", "--learning-rate", "1e-6"]) == 0
    out = capsys.readouterr().out
    assert "gradients: noise" in out
    assert max(map(len, out.splitlines())) <= 80


def test_fail_on_is_the_exit_status(file, capsys):
    assert run(["lint", f"{file}:build", "--fail-on", "error"]) == 0
    assert run(["lint", f"{file}:build", "--fail-on", "warning"]) == 1
    assert run(["lint", f"{file}:half", "--no-batches", "--fail-on", "error"]) == 1
    assert run(["lint", f"{file}:build", "--formats", "float32", "--fail-on", "warning"]) == 0
    assert run(["lint", f"{file}:half", "--no-batches"]) == 0
    capsys.readouterr()


@pytest.mark.parametrize(
    "line",
    [
        "{}:broken", "{}:none", "{}", "nothing", "{}:build --formats floot16", "{}:build --steps 0",
        "{}:build --seed -1", "{}:build --fail-on note", "{}:build --learning-rate x",
        "{}:half --learning-rate 1",
    ],
)  # fmt: skip
def test_bad_lines_are_one_sentence_and_2(line, file, capsys):
    assert run(["lint", *line.format(file).split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("halfulp: ")
    assert error.count("\n") == 1
    assert "Traceback" not in error


def test_tables():
    """A row a finding, a row a parameter; also where there is none."""
    model = net()
    found = lint(model, adam(model), steps=2)
    assert len(found.to_pandas()) == len(found.findings)
    assert found.share_of("bfloat16").to_pandas()["updates"].iloc[0] == 2 * 128
    plain = lint(model, adam(model), steps=2, formats=[])
    assert (len(plain.findings), len(plain.to_pandas())) == (0, 0)
    assert "nothing was found" in str(plain)
    assert "<pre" in plain._repr_html_()


def test_weights_around_a_fiftieth_lose_over_99_percent_by_default() -> None:
    """The published case: a learning rate of 3e-6, a median |w| of 0.019, Adam."""
    torch.manual_seed(0)
    model = torch.nn.Linear(512, 512)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.empty(p.shape).uniform_(0.01, 0.03) * torch.randn(p.shape).sign())
    found = lint(model, torch.optim.Adam(model.parameters(), lr=3e-6), formats=("bfloat16",))
    assert found.share_of("bfloat16").share > 0.99
