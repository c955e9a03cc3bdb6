"""The memory calculator: bytes by role that a reader can check, and those of real optimizers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import halfulp as hu
from halfulp.cli.app import run
from halfulp.training import Memory, Recipe, memory, prepare
from halfulp.training.footprint import bytes_by_role, bytes_per_parameter


def net(bias: bool = True) -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Linear(30, 50, bias=bias), torch.nn.ReLU(), torch.nn.Linear(50, 7, bias=bias)
    )


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
    assert row.kept == weights + master + rest + state + gradients
    assert tuple(bytes_by_role(name)) == found


@pytest.mark.parametrize(
    ("optimizer", "kept"),
    [("sgd", 8), ("sgd-momentum", 12), ("adam-amsgrad", 20), ("lion", 12), ("adafactor", 8)],
)
def test_bytes_of_a_parameter_under_o2(optimizer: str, kept: int) -> None:
    (row,) = memory("1k", "O2", optimizer=optimizer).recipes
    assert (row.kept, row.total, row.peak) == (kept, 1000 * kept, 1000 * (kept + 2))


def test_formats_of_few_bits_have_fractions_of_bytes() -> None:
    own = Recipe("own", weights="float6_e3m2fn", gradients="float4_e2m1fn", update="kahan")
    parts = [float(part) for part in bytes_by_role(own, "sgd")]
    assert parts == [0.75, 0, 0.75, 0, 0.5, 7.5]
    (row,) = memory(3, own, optimizer="sgd").recipes
    assert (row.kept, row.total, row.peak) == (2.0, 6, 29)  # 28.5: the last byte is begun
    (row,) = memory(10**15 - 1, own, optimizer="sgd").recipes
    assert row.total == 2 * (10**15 - 1)


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
    ("rmsprop-centered", lambda p: torch.optim.RMSprop(p, centered=True)),
    ("rmsprop-momentum", lambda p: torch.optim.RMSprop(p, momentum=0.9)),
    ("rmsprop-centered-momentum", lambda p: torch.optim.RMSprop(p, momentum=0.9, centered=True)),
    ("rprop", lambda p: torch.optim.Rprop(p)),
    ("asgd", lambda p: torch.optim.ASGD(p)),
    ("muon", lambda p: torch.optim.Muon(p)),
    ("adadelta", lambda p: torch.optim.Adadelta(p)),
    ("adafactor", lambda p: torch.optim.Adafactor(p)),
]


@pytest.mark.parametrize(("name", "make"), OPTIMIZERS)
def test_state_is_what_torchs_optimizers_allocate(name: str, make: Any) -> None:
    model = net(bias=name != "muon")  # which is for matrices alone
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
        assert row.total == held + 8 * sum(p.numel() for p in model.parameters())


def test_adafactor_of_other_shapes() -> None:
    model = torch.nn.Conv2d(3, 5, (2, 7))
    model.empty = torch.nn.Parameter(torch.ones(0, 5))
    optimizer = torch.optim.Adafactor([model.weight, model.bias])
    model(torch.ones(1, 3, 9, 9)).sum().backward()
    optimizer.step()
    held = sum(v.numel() for s in optimizer.state.values() for k, v in s.items() if k != "step")
    (row,) = memory(model, "float32", optimizer=optimizer).recipes
    assert row.total == 4 * (2 * (5 * 3 * 2 * 7 + 5) + held + 5)  # and 0 + 5 of what is empty


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


@pytest.mark.parametrize("name", ["mixed-float16", "mixed-bfloat16"])
def test_what_a_recipe_keeps_in_float32_counts_as_such(name: str) -> None:
    def normed() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.BatchNorm1d(8))

    model = normed()
    prepare(model, torch.optim.AdamW(model.parameters()), name, emulate=False)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    (row,) = memory(normed(), name).recipes
    assert row.weights * (72 + 16) == weights == 2 * 72 + 4 * 16
    assert (row.total, row.peak) == (16 * 72 + 16 * 16, 18 * 72 + 16 * 16)
    frozen = normed().requires_grad_(False)
    (row,) = memory(frozen, name).recipes
    assert (row.kept, row.total, row.peak) == (0, weights, weights)


def test_optimizers_by_class_and_of_ones_own() -> None:
    class Own(torch.optim.SGD):
        pass

    assert memory(5, "float32", optimizer=torch.optim.Adagrad).optimizer == "adagrad"
    groups: list[Any] = [{"params": [torch.ones(2, requires_grad=True)], "momentum": 0.9}]
    assert memory(5, optimizer=torch.optim.SGD(groups, lr=1)).optimizer == "sgd-momentum"
    model = net()
    own = Own(model.parameters(), lr=0.1)
    with pytest.raises(hu.HalfulpError, match="unknown optimizer 'own'"):
        memory(model, optimizer=own)
    # A comparison goes on: what is not known counts as Adam's.
    assert bytes_per_parameter(hu.training.recipe("float32"), own, model) == 16


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
     ("125k", 125000), ("1,000", 1000), ("1_000", 1000), (7e9, 7 * 10**9), (12, 12),
     ("1t", 10**12), ("7e+9", 7 * 10**9), (".5M", 500000), (" 7 b ", 7 * 10**9),
     ("1.001b", 1001 * 10**6), (np.int64(7), 7), (np.float32(7), 7), ("1e15", 10**15)],
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
        "1,5b",
        "1.5",
        1.5,
        "1.0001k",
        ".",
        "1__0",
        "٧b",
        "1e999999999",
        "9" * 5000,
        pytest.param(10**5000, id="long"),
        pytest.param(-(10**5000), id="long, negative"),
        1 + 2j,
        [7],
        torch.ones(1),
    ],
)
def test_what_is_no_count(given: Any) -> None:
    with pytest.raises(hu.HalfulpError, match="is no number of parameters"):
        memory(given)


def test_wrong_names_and_models() -> None:
    class Other(torch.nn.Module):
        def __init__(self, dtype: torch.dtype) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.ones(2, dtype=dtype), requires_grad=False)

    for call, says in (
        (lambda: memory(5, optimizer=None), "optimizer is None: give a name"),
        (lambda: memory(5, optimizer=3), "optimizer is 3: give a name"),
        (lambda: memory(5, "mixed-flaot16"), "did you mean mixed-float16"),
        (lambda: memory(torch.nn.LazyLinear(4)), "parameter weight has no shape yet"),
        (lambda: memory(Other(torch.complex64)), "w is complex64: recipes are about"),
        (lambda: memory(5, optimizer=torch.optim.LBFGS), "unknown optimizer 'lbfgs'"),
        (lambda: memory(5, ["flaot32"]), "did you mean float32"),
        (lambda: memory(5, optimizer="adma"), "unknown optimizer"),
        (lambda: memory(5, []), "no recipe was named"),
        (lambda: memory(Other(torch.int64)), "w is int64: recipes are about"),
        (lambda: memory(torch.nn.ReLU()), "has no parameters"),
    ):
        with pytest.raises(hu.HalfulpError, match=says):
            call()


def test_results_print_and_come_back_from_json() -> None:
    found = memory(net(), optimizer="adafactor")
    assert Memory.from_json(found.to_json()) == found
    assert isinstance(json.loads(found.to_json())["recipes"][0]["total"], int)
    assert list(found.to_pandas().index) == list(hu.training.RECIPES)
    for result in (found, memory(10**15), memory("999,999,999,999,999", optimizer="adafactor")):
        assert max(map(len, str(result).splitlines())) <= 80


def test_the_page_says_what_is_not_counted() -> None:
    note = "give a model to count it"
    assert note in str(memory(7e9, optimizer="adafactor", target="mine"))
    assert note not in str(memory(net(), optimizer="adafactor"))
    assert note not in str(memory(7e9))
    assert "Not counted: activations, and operands of few bits" in str(memory(7e9))


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert run(["memory", "7e9", "--html", str(page)]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "18 B" in text
    assert "117.3 GiB" in text
    assert "Plotly.newPlot" in page.read_text()
    assert run(["memory", "gpt", "--recipes", "O2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["optimizer"], found["recipes"][0]["weights"]) == ("adamw", 2.0)
    assert run(["memory", "digits", "--optimizer", "adafactor"]) == 0
    assert "digits, 9,610 parameters  adafactor" in capsys.readouterr().out


def test_the_command_on_a_users_own_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\nclass Own(torch.optim.SGD): pass\n"
        "def build(seed):\n"
        "    m = torch.nn.Linear(3, 1)\n"
        "    return {'model': m, 'optimizer': Own(m.parameters(), 0.1), 'batches': [], 'loss': print}\n"
    )
    target = f"{tmp_path}/mine.py:build"
    assert run(["memory", target]) == 2
    assert "unknown optimizer 'own'" in capsys.readouterr().err
    assert run(["memory", target, "--optimizer", "sgd", "--recipes", "O2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["target"], found["recipes"][0]["total"]) == (target, 8 * 4)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["7z"], "is no number of parameters"),
        (["-5"], "'-5' is no number of parameters"),
        (["0"], "is no number of parameters"),
        (["1,5b"], "is no number of parameters"),
        (["gtp"], "or a model: digits, convnet, gpt or underflow, or file.py:build"),
        (["x:y"], "or a model"),
        (["9" * 5000], "or a model"),
        (["7e9", "--recipes", "x"], "unknown recipe 'x'"),
        (["7e9", "--recipes", ","], "no recipe was named"),
        (["7e9", "--optimizer", "y"], "unknown optimizer 'y'"),
        (["7e9", "--optimizer", ""], "unknown optimizer ''"),
        (["none.py:build"], "there is no file none.py"),
        (["none.py"], "did you mean none.py:build?"),
        (["7e9", "--html", "/no/such/place.html"], "does not exist"),
        ([], "Missing argument"),
    ],
)
def test_mistakes_get_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert run(["memory", *arguments]) == 2
    found = capsys.readouterr()
    assert (found.out, found.err.count("\n")) == ("", 1)
    assert says in found.err
