"""The proof itself: it finds what is wrong, goes on where it was stopped, and says what it did."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from halfulp.catalogue import format
from proof import casts, keys, oracle, table
from proof.__main__ import AREAS, placed
from proof.backends import NUMPY
from proof.pieces import Claim, Found, Known, Piece, compare, pieces_of, total
from proof.running import Result, resumed, run, work
from proof.store import Done, Store

ROOT = Path(__file__).parent.parent


def proof(*arguments: str, state: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "proof", "--state", str(state), "--jobs", "1", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # threads of torch wait for one another
    )  # fmt: skip


@pytest.mark.extra
@pytest.mark.parametrize("area", AREAS)
def test_a_slice_has_no_mismatch_and_leaves_nothing_out(area: str, tmp_path: Path) -> None:
    done = proof("--slice", "--only", area, "--json", state=tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    claims = json.loads(done.stdout)["claims"]
    assert claims
    for claim in claims:
        assert (claim["mismatches"], claim["note"]) == (0, ""), claim
        assert claim["comparisons"] > 0


# What is wrong is found.


def claim_of(check: Any, count: int = 3, **changes: Any) -> Claim:
    claim = Claim(
        "casts", "numbers", "float16", ("nearest_even",), "numpy", "oracle", 3 * count, check,
        pieces_of(3 * count, 3), 0.1, ("halfulp.rounding",), ("numpy",),
    )  # fmt: skip
    return replace(claim, **changes)


def counted(piece: Piece) -> Found:
    return Found(len(piece.span), len(piece.span))


def test_one_wrong_code_among_a_million_is_found() -> None:
    target = format("float8_e4m3fn")

    def wrong(x: Any, *cast_by: Any, **options: Any) -> Any:
        codes = NUMPY.encode(x, *cast_by, **options)
        return codes + ((x.view(np.uint32) == 0x3F800007) & (cast_by[1] == "up"))

    backend = NUMPY._replace(encode=wrong) if hasattr(NUMPY, "_replace") else None
    backend = backend or replace(NUMPY, encode=wrong)
    piece = Piece("about 1.0", range(0x3F780000, 0x3F880000))
    roundings = ("nearest_even", "up")
    found = casts.check_oracle(piece, backend=backend, target=target, roundings=roundings, most=0)
    assert (found.inputs, found.comparisons, found.mismatches) == (1 << 20, 4 << 20, 1)
    assert found.examples[0].to_dict() == {
        "what": "up, codes", "inputs": "0x3f800007", "ours": "0x3a", "theirs": "0x39",
    }  # fmt: skip
    clean = casts.check_oracle(piece, backend=NUMPY, target=target, roundings=roundings, most=0)
    assert clean.mismatches == 0


def test_a_known_difference_explains_only_what_it_says() -> None:
    inputs, ours, theirs = np.arange(4), np.array([0, 1, 2, 3]), np.array([0, 2, 2, 9])
    known = Known("one more", lambda inputs, ours, theirs: theirs == ours + 1)
    found = compare([inputs], ours, theirs, "numbers", known=[known])
    assert (found.mismatches, dict(found.known)) == (1, {"one more": 1})
    assert found.examples[0].inputs == "0x0000000000000003"


def test_nan_is_nan_only_where_both_are() -> None:
    ours, theirs = np.uint8([1, 2, 3]), np.uint8([1, 3, 1])
    found = compare([ours], ours, theirs, "numbers", lambda codes: codes > 1)
    assert found.mismatches == 1
    with pytest.raises(ValueError, match="held to"):
        compare([ours], ours, theirs[:2], "numbers")


@pytest.mark.parametrize("name", ["float8_e4m3fnuz", "float6_e2m3fn", "float8_e8m0fnu", "e3m1"])
def test_runs_of_the_oracle_are_the_oracle(name: str) -> None:
    """The stretches that the proof looks answers up in, held to the oracle asked one by one."""
    target = format(name)
    rng = np.random.default_rng(0)
    for rounding in ("nearest_even", "nearest_away", "toward_zero", "up", "down", "to_odd"):
        found = oracle.runs(target, rounding)
        places = rng.choice(found.starts, 60).astype(np.int64)[:, None] + [-1, 0, 1]
        patterns = np.unique(places.clip(1, (1 << 32) - 1)).astype(np.uint32)
        values = patterns.view(np.float32)
        finite = np.isfinite(values) & (values != 0)
        expected = [
            oracle.code(target, float(value), rounding)
            if value > 0 or target.signed
            else oracle.fates(target, True).least
            for value in values[finite].astype(float)
        ]
        codes = found.at(patterns[finite], found.codes)
        assert codes.tolist() == expected, rounding


def test_what_raises_fails_the_claim_and_not_the_run(tmp_path: Path) -> None:
    def broken(piece: Piece) -> Found:
        raise ZeroDivisionError("by a piece")

    claims = [claim_of(broken), claim_of(counted, subject="others")]
    failed, fine = run(claims, Store(tmp_path), 1, Console(quiet=True))
    assert failed.failed
    assert failed.errors[0].endswith("ZeroDivisionError: by a piece")
    assert (fine.failed, fine.found.inputs) == (False, 9)
    assert "could not be computed" in table.verdict([failed, fine])


# Pieces resume.


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "proof", "--slice", "--only", "p3109", "--jobs", "2"]
    started = subprocess.Popen(
        [*command, "--state", str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    while not list(tmp_path.rglob("*.json")) and started.poll() is None:
        time.sleep(0.02)
    started.send_signal(signal.SIGKILL)
    started.communicate()
    done = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    assert done
    again = proof("--slice", "--only", "p3109", "--json", state=tmp_path)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in done} == done
    once_more = proof("--slice", "--only", "p3109", "--json", "--list", state=tmp_path)
    assert without_times(once_more.stdout) == without_times(again.stdout)


def without_times(printed: str) -> Any:
    whole = json.loads(printed)
    return whole | {"claims": [claim | {"seconds": 0} for claim in whole["claims"]]}


def test_what_a_result_depends_on_is_in_its_key(tmp_path: Path, monkeypatch: Any) -> None:
    claim, store = claim_of(counted), Store(tmp_path)
    run([claim], store, 1, Console(quiet=True))
    assert resumed([claim], store)[1] == []
    for path in list(tmp_path.rglob("*.json"))[:1]:
        path.write_text(path.read_text()[:40])  # as a full disk would leave it
    assert len(resumed([claim], store)[1]) == 1
    monkeypatch.setattr(keys, "code_of", lambda modules: "other code")
    assert len(resumed([claim], store)[1]) == 3


def test_words_and_layout_are_not_in_a_key() -> None:
    bare = "class A:\n    def f(self):\n        return 'a'\n"
    told = "'What.'\nclass A:\n    'Why.'\n\n    def f(self):\n        'How.'\n        return ('a')  # b\n"
    assert keys.code(bare) == keys.code(told) != keys.code(bare.replace("'a'", "'b'"))


def test_a_claim_depends_on_all_that_it_imports() -> None:
    found = keys.closure(casts.SOURCES)
    assert {"halfulp.rounding", "halfulp.backends.lanes", "halfulp.catalogue"} <= set(found)
    assert "halfulp.backends.torch" not in found
    assert "halfulp.backends.torch" in keys.closure(("halfulp.backends.torch",))


def test_results_survive_the_way_through_json(tmp_path: Path) -> None:
    found = compare([np.arange(2)], np.arange(2), np.array([0, 5]), "numbers") + Found(2)
    found += Found(known=(("a reason", 3),))
    claim, store = claim_of(counted), Store(tmp_path)
    store.put(claim, claim.pieces[0], Done(found, 1.5))
    assert store.get(claim, claim.pieces[0]) == Done(found, 1.5)
    assert total([found, found]).mismatches == 2


# What is said.


def result(claim: Claim, pieces: int = 3, **found: Any) -> Result:
    return Result(claim, Found(9, 9, **found), pieces, 1.0)


def test_the_table_says_what_was_covered_and_what_not() -> None:
    results = [
        result(claim_of(counted)),
        result(claim_of(counted, item="bfloat16")),
        result(claim_of(counted, item="float8_e5m2"), pieces=1),
        Result(claim_of(counted, backend="jax", absent="No module named 'jax'")),
        result(claim_of(counted, item="tfloat32"), mismatches=2),
    ]
    text = table.markdown(results, "2026-01-01")
    assert "| numbers float16, bfloat16 |" in text
    assert "so far: 1 of 3 pieces" in text
    assert "not covered: No module named 'jax'" in text
    assert "2 mismatches" in text
    rows = table.rows(results)
    assert [row.mismatches for row in rows] == [0, 0, 0, 2]


def test_the_table_goes_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table -->\nold\n<!-- end of table -->\nafter\n")
    assert placed(page, "new") == "before\n<!-- table -->\nnew\n<!-- end of table -->\nafter\n"
    assert placed(tmp_path / "none.md", "new") == "new"


def test_work_says_what_was_raised() -> None:
    assert work(lambda piece: 1 // 0, Piece("one", range(1))) == (
        "ZeroDivisionError: integer division or modulo by zero"
    )


def test_wrong_use_is_one_line(tmp_path: Path) -> None:
    for arguments, says in (
        (["--only", "cats"], "unknown area 'cats'"),
        (["--jobs", "0"], "--jobs"),
    ):
        done = proof(*arguments, state=tmp_path)
        assert done.returncode == 2
        assert says in done.stderr
        assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
