"""The memory calculator: bytes by role that a reader can check, and those of real optimizers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import halfulp as hu
from halfulp.cli.app import run
from halfulp.training import memory, prepare


def net() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(30, 50), torch.nn.ReLU(), torch.nn.Linear(50, 7))


@pytest.mark.parametrize(
    ("name", "weights", "master", "rest", "state", "gradients", "at_step"),
    [
        ("float32", 4, 0, 0, 8, 4, 0),
        ("mixed-float16", 2, 4, 0, 8, 2, 2),  # 16 bytes kept, 18 at a step
        ("mixed-bfloat16", 2, 4, 0, 8, 2, 2),
        ("pure-float16", 2, 0, 0, 4, 2, 0),
        ("pure-bfloat16", 2, 0, 0, 4, 2, 0),
        ("bfloat16-stochastic", 2, 0, 0, 8, 2, 6),
        ("bfloat16-kahan", 2, 0, 2, 8, 2, 6),
        ("bfloat16-split", 2, 0, 2, 8, 2, 6),
        ("mxfp4", 2, 4, 0, 8, 2, 2),
        ("autocast-float16", 4, 0, 0, 8, 4, 0),
    ],
)
def test_bytes_of_a_parameter_under_adamw(
    name: str, weights: int, master: int, rest: int, state: int, gradients: int, at_step: int
) -> None:
    (row,) = memory(1000, [name]).recipes
    found = (row.weights, row.master, row.rest, row.state, row.gradients, row.at_step)
    assert found == (weights, master, rest, state, gradients, at_step)
    assert row.total == 1000 * (weights + master + rest + state + gradients)
    assert row.peak == row.total + 1000 * at_step


OPTIMIZERS: list[tuple[str, Any]] = [
    ("sgd", lambda p: torch.optim.SGD(p, lr=0.1)),
    ("sgd-momentum", lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
    ("adam", lambda p: torch.optim.Adam(p)),
    ("adamw", lambda p: torch.optim.AdamW(p)),
    ("adamw-amsgrad", lambda p: torch.optim.AdamW(p, amsgrad=True)),
    ("nadam", lambda p: torch.optim.NAdam(p)),
    ("radam", lambda p: torch.optim.RAdam(p)),
    ("adamax", lambda p: torch.optim.Adamax(p)),
    ("adagrad", lambda p: torch.optim.Adagrad(p)),
    ("rmsprop", lambda p: torch.optim.RMSprop(p)),
    ("adadelta", lambda p: torch.optim.Adadelta(p)),
    ("adafactor", lambda p: torch.optim.Adafactor(p)),
]


@pytest.mark.parametrize(("name", "make"), OPTIMIZERS)
def test_state_is_what_torchs_optimizers_allocate(name: str, make: Any) -> None:
    model = net()
    optimizer = make(model.parameters())
    model(torch.ones(2, 30)).square().mean().backward()
    optimizer.step()
    held = sum(
        v.numel() * v.element_size()
        for state in optimizer.state.values()
        for v in state.values()
        if torch.is_tensor(v) and v.ndim
    )
    for given in (name, optimizer):
        (row,) = memory(model, ["float32"], optimizer=given).recipes
        assert round(row.state * sum(p.numel() for p in model.parameters())) == held


@pytest.mark.parametrize(
    "name", ["mixed-float16", "bfloat16-kahan", "bfloat16-split", "pure-bfloat16"]
)
def test_kept_is_what_a_prepared_training_holds(name: str) -> None:
    model = net()
    prepared = prepare(model, torch.optim.AdamW(model.parameters()), name, emulate=False)
    prepared.backward(model(torch.ones(2, 30)).square().mean())
    gradients = sum(p.grad.numel() * p.grad.element_size() for p in model.parameters())
    prepared.step()
    tensors = [*model.parameters()]
    tensors += [w.value for w in prepared.weights] + [
        w.rest for w in prepared.weights if w.rest is not None
    ]
    tensors += [v for s in prepared.optimizer.state.values() for v in s.values() if v.ndim]
    held = gradients + sum(t.numel() * t.element_size() for t in tensors)
    (row,) = memory(net(), [name]).recipes
    assert row.total == held


def test_frozen_and_tied_parameters() -> None:
    model = net()
    tied = torch.nn.Linear(50, 30)
    model.tied = tied
    tied.weight = torch.nn.Parameter(torch.ones(30, 50))
    model.again = torch.nn.Linear(50, 30)
    model.again.weight = tied.weight
    model[0].requires_grad_(False)
    found = memory(model, ["mixed-float16"])
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.parameters - found.trained == 30 * 50 + 50
    assert found.recipes[0].total == 16 * found.trained + 2 * (found.parameters - found.trained)


@pytest.mark.parametrize(
    ("given", "count"),
    [("7e9", 7 * 10**9), ("7b", 7 * 10**9), ("1.5B", 15 * 10**8), ("350M", 350 * 10**6),
     ("125k", 125000), ("1,000", 1000), (7e9, 7 * 10**9), (12, 12), ("1t", 10**12)],
)  # fmt: skip
def test_counts_as_people_write_them(given: Any, count: int) -> None:
    assert memory(given, ["float32"]).parameters == count


@pytest.mark.parametrize(
    "given",
    [
        "",
        "b",
        "7x",
        "-1",
        "0",
        "nan",
        "inf",
        "1e16",
        "1e999",
        True,
        -5,
        0,
        float("nan"),
        None,
        "7 e9",
    ],
)
def test_what_is_no_count(given: Any) -> None:
    with pytest.raises(hu.HalfulpError, match="is no number of parameters"):
        memory(given)


def test_wrong_names_and_models() -> None:
    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.ones(2, dtype=torch.int64), requires_grad=False)

    for call, says in (
        (lambda: memory(5, ["flaot32"]), "did you mean float32"),
        (lambda: memory(5, optimizer="adma"), "unknown optimizer"),
        (lambda: memory(5, []), "no recipe was named"),
        (lambda: memory(Whole()), "real floating-point"),
        (lambda: memory(torch.nn.ReLU()), "has no parameters"),
    ):
        with pytest.raises(hu.HalfulpError, match=says):
            call()


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert run(["memory", "7e9", "--html", str(page)]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "104 GiB" in text
    assert "Plotly.newPlot" in page.read_text()
    assert run(["memory", "gpt", "--recipes", "O2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["optimizer"], found["recipes"][0]["weights"]) == ("adamw", 2.0)
    assert run(["memory", "digits", "--optimizer", "adafactor"]) == 0
    assert "64-128" not in capsys.readouterr().out
    for arguments in (
        ["7z"],
        ["7e9", "--recipes", "x"],
        ["none.py:build"],
        ["7e9", "--optimizer", "y"],
    ):
        assert run(["memory", *arguments]) == 2
        found_error = capsys.readouterr()
        assert (found_error.out, found_error.err.count("\n")) == ("", 1)
