"""Training under recipes: the digits figures in kind, the build contract, and what is refused."""

from __future__ import annotations

import json
import math
import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import halfulp as hu
from halfulp.cli.app import run
from halfulp.training.examples.digits import build
from halfulp.training.meter import UpdateMeter
from halfulp.training.prepared import prepare
from trainings import plainly

CLASSIC = ("float32", "pure-float16", "mixed-float16", "pure-bfloat16", "mixed-bfloat16")


@pytest.fixture(scope="module")
def digits() -> Any:
    return hu.training.compare(build, CLASSIC, target="digits")


def test_pure_bfloat16_learns_nothing_and_masters_cure_it(digits: Any) -> None:
    results = {r.name: r for r in digits.recipes}
    share = {name: r.lost / r.updates for name, r in results.items()}
    assert share["pure-bfloat16"] > 0.98
    assert share["pure-float16"] > 0.85
    for name in ("float32", "mixed-float16", "mixed-bfloat16"):
        assert share[name] < 0.02
        assert abs(results[name].loss - results["float32"].loss) < 0.005
        assert abs(results[name].metric - results["float32"].metric) < 0.02
    start, end = results["pure-bfloat16"].losses[0], results["pure-bfloat16"].loss
    assert abs(start - end) < 0.05
    assert results["pure-bfloat16"].metric < 0.2
    assert results["float32"].loss < start - 0.15
    assert results["float32"].loss < results["pure-float16"].loss < results["pure-bfloat16"].loss
    assert results["mixed-float16"].loss_scale >= 2.0**16


def test_float32_is_the_plain_training_bit_for_bit(digits: Any) -> None:
    torch.manual_seed(0)
    assert tuple(plainly(build(0))) == digits.recipes[0].losses


def test_mixed_float16_is_the_textbook_loop() -> None:
    """Master weights and a scaled loss by hand: float16 copies, gradients back to float32."""
    found = hu.training.compare(build, ["mixed-float16"], steps=30, emulate=False)
    torch.manual_seed(0)
    experiment = build(0)
    masters = list(experiment.model.parameters())
    half = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    half.half()
    losses = []
    for (inputs, targets), _ in zip(experiment.batches, range(30), strict=False):
        for copy, master in zip(half.parameters(), masters, strict=True):
            copy.data = master.detach().half()
            copy.grad = None
        loss = experiment.loss(half(inputs.half()).float(), targets)
        (loss * 65536).backward()
        for copy, master in zip(half.parameters(), masters, strict=True):
            master.grad = copy.grad.float() / 65536
        experiment.optimizer.step()
        losses.append(float(loss.detach()))
    assert found.recipes[0].losses == tuple(losses)


def test_lost_updates_are_counted_one_by_one() -> None:
    """Every weight by hand: w, Δ = -lr·g, and what is left after rounding."""
    model = torch.nn.Linear(5, 1, bias=False)
    model.weight.data = torch.tensor([[1.0, 1.0, 1.0, 0.0, math.inf]])
    optimizer = torch.optim.SGD(model.parameters(), lr=2**-10)
    prepared = prepare(model, optimizer, "pure-float16")
    gradient = torch.tensor([[0.25, 2.0, 0.0, 0.25, 1.0]])
    prepared.backward((model.weight * gradient).sum())
    meter = UpdateMeter(prepared)
    meter.step()  # 2^-12 is lost at 1.0 (a tie below it), 2^-9 is not; a zero update never is
    assert (meter.counted.updates, meter.counted.lost) == (3, 1)
    assert model.weight[0, 0] == 1.0
    assert model.weight[0, 1] < 1.0
    assert 0 < meter.counted.norm_ratio < 1


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSprop", "Adagrad", "NAdam"])
def test_any_optimizer_is_metered_and_not_changed(name: str) -> None:
    def net() -> Any:
        torch.manual_seed(1)
        return torch.nn.Linear(8, 4)

    plain, metered = net(), net()
    optimizers = [getattr(torch.optim, name)(m.parameters(), lr=1e-3) for m in (plain, metered)]
    prepared = prepare(metered, optimizers[1], "float32")
    meter = UpdateMeter(prepared)
    for seed in range(5):
        x = torch.randn(16, 8, generator=torch.Generator().manual_seed(seed))
        for model, optimizer in zip((plain, metered), optimizers, strict=True):
            loss = model(x).square().mean()
            if model is metered:
                prepared.backward(loss)
                meter.step()
                continue
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for a, b in zip(plain.parameters(), metered.parameters(), strict=True):
        assert torch.equal(a, b)
    assert meter.counted.updates == 5 * 36
    assert meter.counted.lost <= 2
    assert abs(meter.counted.norm_ratio - 1) < 1e-3


def overflowing(seed: int) -> dict[str, Any]:
    """Gradients that a scale of 65536 takes beyond float16: the scaler skips, halves, goes on."""
    model = torch.nn.Linear(4, 1)
    data = [(torch.full((8, 4), 2.0), torch.full((8, 1), 50.0)) for _ in range(12)]
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=1e-4),
        "batches": data,
        "loss": torch.nn.functional.mse_loss,
    }


def test_skipped_steps_are_counted() -> None:
    result = hu.training.compare(overflowing, ["mixed-float16"]).recipes[0]
    assert 0 < result.skipped < 12
    assert result.loss_scale == 65536 / 2**result.skipped
    assert result.updates == 5 * (12 - result.skipped)
    assert result.metric is None


def test_models_with_norms_dropout_and_dict_inputs() -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = torch.nn.Sequential(
                torch.nn.Linear(6, 8),
                torch.nn.BatchNorm1d(8),
                torch.nn.Dropout(0.1),
                torch.nn.GELU(),
            )
            self.head = torch.nn.Linear(8, 6)
            self.head.weight = torch.nn.Parameter(self.body[0].weight.detach().clone().T)

        def forward(self, x: Any, scale: Any) -> Any:
            return self.head(self.body(x)) * scale

    def build(seed: int) -> hu.training.Experiment:
        model = Net()
        x = torch.randn(40, 6)
        batches = [({"x": x, "scale": torch.ones(1)}, x) for _ in range(8)]
        optimizer = (torch.optim.SGD if seed else torch.optim.AdamW)(model.parameters(), lr=1e-3)
        return hu.training.Experiment(model, optimizer, batches, torch.nn.functional.mse_loss)

    adam = {r.name: r.loss for r in hu.training.compare(build, CLASSIC, seed=0).recipes}
    assert math.isnan(adam.pop("pure-float16"))  # AdamW's eps of 1e-8 is zero in float16
    assert all(map(math.isfinite, adam.values()))
    found = hu.training.compare(build, CLASSIC, seed=1)
    assert all(math.isfinite(r.loss) for r in found.recipes)
    spread = [r.losses[0] for r in found.recipes]
    assert max(spread) - min(spread) < 0.05  # the same seed: the same weights, the same dropout


def test_the_callers_random_state_is_left_alone() -> None:
    for generator in (torch.manual_seed, np.random.seed, random.seed):
        generator(5)
    expected = (torch.rand(1).item(), np.random.rand(), random.random())
    for generator in (torch.manual_seed, np.random.seed, random.seed):
        generator(5)
    hu.training.compare(overflowing, ["float32"])
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == expected


def test_results_print_and_become_json(digits: Any) -> None:
    assert "pure-bfloat16" in str(digits)
    assert "pure-bfloat16" in digits._repr_html_()
    found = json.loads(digits.to_json())["recipes"]
    assert all({"name", "loss", "metric", "updates", "lost", "skipped"} <= set(r) for r in found)
    assert max(map(len, str(digits).splitlines())) <= 80


def test_the_command_line_on_a_users_own_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "helper.py").write_text("WIDTH = 3\n")
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom helper import WIDTH\nfrom halfulp.training import Experiment\n"
        "def build(seed):\n"
        "    model = torch.nn.Linear(WIDTH, 1)\n"
        "    x = torch.randn(20, WIDTH)\n"
        "    return Experiment(model, torch.optim.SGD(model.parameters(), 0.1), [(x, x[:, :1])] * 9,\n"
        "                      torch.nn.functional.mse_loss)\n"
    )
    page = tmp_path / "page.html"
    arguments = ["compare", f"{tmp_path}/mine.py:build", "--recipes", "float32,pure-float16"]
    assert run([*arguments, "--json", "--html", str(page)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [r["name"] for r in found["recipes"]] == ["float32", "pure-float16"]
    assert found["steps"] == 9
    assert "Plotly.newPlot" in page.read_text()


PARTS = (
    "import torch\nm = torch.nn.Linear(2, 2)\no = torch.optim.SGD(m.parameters(), 1)\n"
    "def build(seed): return {{'model': {model}, 'optimizer': {optimizer}, 'batches': {batches}, "
    "'loss': print, 'metric': {metric}}}"
)


@pytest.mark.parametrize(
    ("source", "arguments", "says"),
    [
        ("", (), "has no function 'build'"),
        ("def build(seed): raise ValueError('no data\\nhere')", (), "build(0) raised ValueError: no data"),
        ("def build(seed): return 3", (), "returned int"),
        ("def build(seed): return {'model': 1}", (), "build returned no batches, loss or optimizer"),
        ("def build(seed): return {'modle': 1}", (), "did you mean model"),
        ("import nothing_like_this", (), "cannot be imported: ModuleNotFoundError"),
        ("def build(seed", (), "cannot be imported: SyntaxError"),
        ("raise SystemExit(3)", (), "cannot be imported: SystemExit"),
        ("def build(seed): return 3", ("--learning-rate", "1"), "build takes no learning_rate"),
        ("def build(): return 3", ("--learning-rate", "1"), "it takes nothing"),
        ("import sys\ndef build(seed): sys.exit(0)", (), "raised SystemExit"),
        ("def build(seed): return 3", ("--seed", "-1"), "seed is -1"),
        ("def build(seed): return 3", ("--seed", "9" * 30), "seed is 9999"),
        (PARTS.format(model="None", optimizer="o", batches="[]", metric="'m'"), (), "model that is no"),
        (PARTS.format(model="m", optimizer="None", batches="[]", metric="'m'"), (), "optimizer that is no"),
        (PARTS.format(model="m", optimizer="o", batches="None", metric="'m'"), (), "batches that is no"),
        (PARTS.format(model="m", optimizer="o", batches="[]", metric="5"), (), "metric that is no"),
        (PARTS.format(model="m", optimizer="o", batches="[3]", metric="'m'"), (), "failed at step 1: TypeError"),
        (PARTS.format(model="m", optimizer="o", batches="(1 / 0 for _ in 'a')", metric="'m'"), (),
         "failed at step 1: ZeroDivisionError"),
        (PARTS.format(model="torch.nn.ReLU()", optimizer="o", batches="[]", metric="'m'"), (),
         "none of the model's parameters"),
        ("def build(seed): return 3", ("--recipes", "mixed-flaot16"), "did you mean mixed-float16"),
        ("def build(seed): return 3", ("--recipes", ","), "no recipe to compare"),
        ("def build(seed): return 3", ("--steps", "0"), "steps is 0"),
        ("def build(seed): return 3", ("--html", "/no/such/place.html"), "does not exist"),
        (
            "import torch\ndef build(seed):\n m = torch.nn.Linear(2, 2)\n return {'model': m, 'optimizer': "
            "torch.optim.SGD(m.parameters(), 1), 'batches': [(torch.ones(3), 1)], 'loss': print}",
            (), "float32 failed at step 1: RuntimeError",
        ),
        (
            "import torch\ndef build(seed):\n m = torch.nn.Linear(2, 2)\n return {'model': m, 'optimizer': "
            "torch.optim.LBFGS(m.parameters()), 'batches': [(torch.ones(1, 2), torch.ones(1, 2))], "
            "'loss': torch.nn.functional.mse_loss}",
            (), "LBFGS computes the loss several times",
        ),
        (
            "import torch\ndef build(seed):\n m = torch.nn.Linear(2, 2)\n return {'model': m, 'optimizer': "
            "torch.optim.SGD(m.parameters(), 1), 'batches': [], 'loss': print}",
            (), "returned no batches",
        ),
    ],
)  # fmt: skip
def test_a_users_mistakes_get_one_sentence(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    source: str,
    arguments: tuple[str, ...],
    says: str,
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(source)
    assert run(["compare", f"{file}:build", *arguments]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert says in found.err
    assert found.err.count("\n") == 1
    assert "Traceback" not in found.err


@pytest.mark.parametrize("target", ["digit", "nothing.py:build", "mine.py", "x:y"])
def test_no_such_target(capsys: pytest.CaptureFixture[str], target: str) -> None:
    assert run(["compare", target]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_learning_rate_reaches_the_example() -> None:
    slow, fast = (
        hu.training.compare(partial(build, learning_rate=rate), ["float32"], steps=40).recipes[0]
        for rate in (1e-4, 0.1)
    )
    assert fast.loss < slow.loss


def test_recipes_come_back_from_json() -> None:
    for recipe in hu.training.RECIPES.values():
        assert hu.training.Recipe.from_json(recipe.to_json()) == recipe
