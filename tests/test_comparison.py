"""Comparing recipes: seeds, processes, resuming, attribution, and starts that are not the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import halfulp as hu
from halfulp.cli.app import run
from halfulp.training import LossScale, attribute, compare, recipe, sites_of
from halfulp.training.loss_scale import UNSCALED

FAST = {"steps": 30}


def told(c: Any) -> list[dict[str, str]]:
    """The results, but for the time they took; as text, since NaN is not NaN."""
    rows = [r.to_dict() for r in c.recipes]
    return [{k: str(v) for k, v in row.items() if k != "seconds"} for row in rows]


def test_seeds_are_compared_side_by_side() -> None:
    c = compare("digits", ["float32", "pure-bfloat16"], seeds=(3, 4), **FAST)
    assert [(r.name, r.seed) for r in c.recipes] == [
        ("float32", 3), ("float32", 4), ("pure-bfloat16", 3), ("pure-bfloat16", 4),
    ]  # fmt: skip
    alone = compare("digits", ["float32"], seed=4, **FAST)
    assert c.of("float32")[1].losses == alone.recipes[0].losses
    assert c.of("float32")[0].losses != alone.recipes[0].losses
    text = str(c)
    assert "seeds 3, 4" in text
    assert max(map(len, text.splitlines())) <= 80


def test_other_processes_give_the_same() -> None:
    recipes = ["float32", "bfloat16-stochastic", "mxfp8"]
    assert told(compare("digits", recipes, processes=2, **FAST)) == told(
        compare("digits", recipes, **FAST)
    )


def test_a_build_that_cannot_travel_says_so() -> None:
    def build(seed: int) -> None: ...

    with pytest.raises(hu.HalfulpError, match="cannot be sent to other processes"):
        compare(build, ["float32"], processes=2)


def test_finished_trainings_are_not_done_again(tmp_path: Path) -> None:
    given: dict[str, Any] = {"folder": tmp_path / "kept", **FAST}
    first = compare("digits", ["float32", "mxfp4"], **given)
    again = compare("digits", ["float32", "mxfp4", "nvfp4"], **given)
    assert [r.seconds for r in again.recipes[:2]] == [r.seconds for r in first.recipes]
    assert again.recipes[0] == first.recipes[0]
    other = compare("digits", ["float32"], folder=tmp_path / "kept", steps=31)
    assert len(other.recipes[0].losses) == 31


def test_broken_and_foreign_files_are_trained_anew(tmp_path: Path) -> None:
    first = compare("digits", ["float32"], folder=tmp_path, **FAST)
    (file,) = tmp_path.iterdir()
    for text in ("", "{", '{"key": 3}', '{"result": {}}', "[]"):
        file.write_text(text)
        assert (
            compare("digits", ["float32"], folder=tmp_path, **FAST).recipes[0].losses
            == first.recipes[0].losses
        )
        assert json.loads(file.read_text())["result"]["name"] == "float32"


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(hu.HalfulpError, match="cannot keep trainings"):
        compare("digits", ["float32"], folder=tmp_path / "file" / "folder")


def test_a_build_that_is_not_reproducible_is_found_out() -> None:
    count = iter(range(9))

    def build(seed: int) -> dict[str, Any]:
        model = torch.nn.Linear(2, 1)
        torch.nn.init.constant_(model.weight, float(next(count)))
        data = [(torch.ones(4, 2), torch.ones(4, 1))] * 3
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return {"model": model, "optimizer": optimizer, "batches": data,
                "loss": torch.nn.functional.mse_loss}  # fmt: skip

    with pytest.raises(hu.HalfulpError, match="other weights or another first batch"):
        compare(build, ["float32", "mixed-bfloat16"])


@pytest.mark.parametrize("where", ["inputs", "targets"])
def test_nan_in_the_data_is_said(where: str) -> None:
    def build(seed: int) -> dict[str, Any]:
        model = torch.nn.Linear(2, 1)
        parts = {"inputs": torch.ones(4, 2), "targets": torch.ones(4, 1)}
        good = tuple(v.clone() for v in parts.values())
        parts[where][0, 0] = float("nan")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return {"model": model, "optimizer": optimizer, "batches": [good, tuple(parts.values())],
                "loss": torch.nn.functional.mse_loss}  # fmt: skip

    with pytest.raises(hu.HalfulpError, match=f"float32, step 2: the batch has NaN in its {where}"):
        compare(build, ["float32"])


def test_float16_without_scaling_underflows_and_scales_cure_it() -> None:
    half = recipe("mixed-float16")
    unscaled = half.replace("unscaled", loss_scale=UNSCALED)
    static = half.replace("static", loss_scale=LossScale(8.0))
    for emulate in (None, True):
        c = compare("underflow", ["float32", unscaled, static, half], emulate=emulate)
        assert c.loss_of("unscaled") > 3 * c.loss_of("float32")
        assert c.loss_of("static") < 1.3 * c.loss_of("float32")
        assert c.loss_of("mixed-float16") < 1.1 * c.loss_of("float32")
        # What underflows is no update at all: the optimizer meant nothing.
        (lost,), (kept,) = c.of("unscaled"), c.of("float32")
        assert lost.updates < 0.7 * kept.updates


def test_pure_bfloat16_loses_and_its_cures_come_back() -> None:
    names = ["float32", "pure-bfloat16", "bfloat16-stochastic", "bfloat16-kahan", "bfloat16-split"]
    c = compare("gpt", names, seeds=(0, 1, 2), steps=120)
    float32 = [r.loss for r in c.of("float32")]
    spread = max(float32) - min(float32)
    assert c.loss_of("pure-bfloat16") > c.loss_of("float32") + 0.01
    for name in names[2:]:
        assert abs(c.loss_of(name) - c.loss_of("float32")) < max(spread, 0.02), name
        assert c.loss_of(name) < c.loss_of("pure-bfloat16")


def test_mxfp8_is_near_float32_on_the_gpt() -> None:
    c = compare("gpt", ["float32", "mxfp8"], steps=150)
    assert abs(c.loss_of("mxfp8") - c.loss_of("float32")) < 0.06


# Attribution.


def test_updates_are_the_site_that_costs_pure_bfloat16() -> None:
    a = attribute("digits", "pure-bfloat16", steps=400)
    costs = {site.name: site.cost for site in a.sites}
    assert [*costs] == [
        "none",
        "weights",
        "update",
        "activations",
        "gradients",
        "optimizer state",
        "all of it",
    ]
    assert costs["update"] > 0.02
    assert all(
        abs(costs[site]) < 0.005
        for site in ("weights", "activations", "gradients", "optimizer state")
    )
    text = str(a)
    assert "site by" in text or "one site at a time" in text
    assert max(map(len, text.splitlines())) <= 80
    assert json.loads(a.to_json())["sites"][2]["name"] == "update"


def test_each_site_changes_nothing_else() -> None:
    plain = recipe("float32")
    for name in ("mixed-float16", "pure-bfloat16", "bfloat16-kahan", "float8-hybrid", "mxfp4"):
        by = recipe(name)
        seen: dict[str, str] = {}
        for site, alone in sites_of(by).items():
            for role, found in alone.formats.items():
                if found != getattr(plain, role) and role != "master":
                    assert found == getattr(by, role)
                    assert role == "weights" or role not in seen, "of one site alone"
                    seen[role] = site
    with pytest.raises(hu.HalfulpError, match=r"torch\.autocast"):
        sites_of("autocast-float16")
    with pytest.raises(hu.HalfulpError, match="rounds nothing"):
        attribute("digits", "float32")


def test_the_command_attributes_and_resumes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page, kept = tmp_path / "page.html", tmp_path / "kept"
    line = ["compare", "digits", "--steps", "20", "--resume", str(kept), "--seeds", "2"]
    assert run([*line, "--attribute", "mixed-bfloat16", "--html", str(page)]) == 0
    assert "Plotly.newPlot" in page.read_text()
    assert len(list(kept.iterdir())) == 10
    capsys.readouterr()
    assert run([*line, "--recipes", "float32", "--json"]) == 0
    assert [r["seed"] for r in json.loads(capsys.readouterr().out)["recipes"]] == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--attribute", "mxfp8", "--recipes", "mxfp8"), "choose one"),
        (("--attribute", "mxpf8"), "did you mean mxfp8"),
        (("--seeds", "0"), "--seeds is 0"),
        (("--processes", "0"), "processes is 0"),
        (("--resume", "/proc/no/such"), "cannot keep trainings"),
    ],
)
def test_mistakes_get_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    assert run(["compare", "digits", *arguments]) == 2
    found = capsys.readouterr()
    assert (found.out, found.err.count("\n")) == ("", 1)
    assert says in found.err
