"""Arrays of any shape, strides and byte order; out=; threads; what is refused."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numba
import numpy as np
import pytest

import halfulp as hu

RNG = np.random.default_rng(0)
BASE = RNG.standard_normal((40, 50, 30))
DTYPES = [
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "float8_e5m2",
    "float8_e4m3fn",
    "float4_e2m1fn",
]


def dtype_of(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, name, name))


LAYOUTS = {
    "plain": lambda x: x,
    "transposed": lambda x: x.T,
    "every second": lambda x: x[::2, ::-3],
    "broadcast": lambda x: np.broadcast_to(x[0], x.shape),
    "empty": lambda x: x[:0],
    "0-d": lambda x: x[0, 0, 0, ...],
    "fortran": np.asfortranarray,
    "one element": lambda x: x[:1, :1, :1],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("target", ["float16", "float8_e4m3fn", "e9m3"])
def test_layouts_give_what_plain_copies_give(dtype: str, layout: str, target: str) -> None:
    x = LAYOUTS[layout](BASE.astype(dtype_of(dtype)))
    plain = np.ascontiguousarray(x).reshape(x.shape)
    for function in (hu.cast, hu.encode):
        found = function(x, target)
        expected = function(plain, target)
        assert found.shape == x.shape
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    values = np.asarray(hu.cast(x, target))
    assert values.dtype == x.dtype
    one_by_one = [hu.cast(float(v), target) for v in plain.reshape(-1)[:50]]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(
            values.reshape(-1)[:50].astype(float),
            np.array(one_by_one).astype(x.dtype).astype(float),
        )


@pytest.mark.parametrize("dtype", [">f8", ">f4", ">f2"])
def test_foreign_byte_order_stays_and_means_the_same(dtype: str) -> None:
    x = BASE.astype(dtype)
    found = hu.cast(x, "bfloat16")
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(found.astype(float), hu.cast(x.astype(dtype[1:]), "bfloat16"))
    np.testing.assert_array_equal(
        hu.encode(x, "float16"), hu.encode(x.astype(dtype[1:]), "float16")
    )


def test_out_is_written_and_returned_wherever_it_lies() -> None:
    x = BASE.astype(np.float32)
    expected = hu.cast(x, "float16")
    for out in (np.empty_like(x), np.empty_like(x.T).T, np.empty((80, 50, 30), np.float32)[::2]):
        assert hu.cast(x, "float16", out=out) is out
        np.testing.assert_array_equal(out, expected)
    same = x.copy()
    assert hu.cast(same, "float16", out=same) is same
    np.testing.assert_array_equal(same, expected)
    codes = np.empty(x.shape, np.uint16)
    assert hu.encode(x, "float16", out=codes) is codes


@pytest.mark.parametrize("target", ["float16", "e9m3"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_out_may_overlap_the_input(dtype: Any, target: str) -> None:
    for shift in (1, 7):
        memory = np.resize(BASE, 200_000).astype(dtype)
        expected = hu.cast(memory[:-shift].copy(), target)
        hu.cast(memory[:-shift], target, out=memory[shift:])
        np.testing.assert_array_equal(memory[shift:], expected)


@pytest.mark.parametrize("rounding", ["nearest_even", "stochastic"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_do_not_depend_on_threads_or_layout(dtype: Any, rounding: str) -> None:
    x = np.resize(BASE, 1 << 18).astype(dtype)
    before = numba.get_num_threads()
    try:
        found = []
        for threads in (1, before):
            numba.set_num_threads(threads)
            found.append(hu.cast(x, "float8_e5m2", rounding, seed=9))
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(found[0], found[1])
    strided = np.repeat(x, 2)[::2]
    np.testing.assert_array_equal(hu.cast(strided, "float8_e5m2", rounding, seed=9), found[0])


def test_stochastic_is_one_draw_an_element_and_seed() -> None:
    x = np.full(10_000, 1 + 2**-12)
    a, b, again = (hu.cast(x, "float16", "stochastic", seed=s) for s in (1, 2, 1))
    assert (a == again).all()
    assert (a != b).any()
    assert abs((a > 1).mean() - 0.25) < 0.02
    half = x.astype(np.float32)
    assert (hu.cast(half, "float16", "stochastic", seed=1) == a.astype(np.float32)).all()


def test_codes_of_sixty_four_bits() -> None:
    x = np.array([1.5, -2.0, -0.0, np.inf, np.nan])
    codes = hu.encode(x, "float64")
    np.testing.assert_array_equal(codes[:4], x.view(np.uint64)[:4])
    back = hu.decode(codes, "float64", dtype="float64")
    np.testing.assert_array_equal(back, x)
    assert np.signbit(back[2])


def test_kinds_come_back_as_they_came() -> None:
    from decimal import Decimal
    from fractions import Fraction

    assert hu.cast("0.1", "float16") == "0.0999755859375"
    assert hu.cast(Fraction(1, 10), "float16") == Fraction(819, 8192)
    assert hu.cast(Decimal("0.1"), "float16") == Decimal("0.0999755859375")
    assert (hu.cast(2049, "float16"), type(hu.cast(2049, "float16"))) == (2048, int)
    assert hu.cast(10**6, "float16") == float("inf")
    assert type(hu.cast(np.float32(0.1), "float16")) is np.float32
    assert hu.cast(np.array(0.1), "float16").shape == ()
    assert hu.decode(0x3C7C, "float16") == 1.12109375
    assert hu.decode(np.array([0x3C7C]), "float16").dtype == np.float32


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: hu.cast(np.arange(3), "float16"), "dtype int64 cannot be cast"),
        (lambda: hu.cast(np.array([1, "a"], object), "float16"), "dtype object"),
        (lambda: hu.cast(np.zeros(3, complex), "float16"), "complex128"),
        (lambda: hu.cast([1.0], "float16"), "list is not supported"),
        (lambda: hu.cast(np.ma.array([1.0], mask=[True]), "float16"), "lose its mask"),
        (lambda: hu.cast(1, "float16", overflow=[]), "unknown overflow"),
        (lambda: hu.explain(1, to=5), "unknown format '5'"),
        (lambda: hu.explain_operation("sub", 1, 1, "float16"), "unknown operation"),
        (lambda: hu.digits("0.1", "2"), "base '2'"),
        (lambda: hu.from_digits("0.12", "2"), "base '2'"),
        (lambda: hu.predict(1, 1, "float16").at("3"), "whole number"),
        (lambda: list(hu.p3109_formats(-1)), "3 to 16"),
        (lambda: hu.format("float8_e8m0fnu", subnormals="no"), "True or False"),
        (lambda: hu.cast(np.zeros(3), "float16", out=np.zeros(4)), r"out must be .* \(3,\)"),
        (lambda: hu.cast(np.zeros(3), "float16", out=np.zeros(3, np.float32)), "found float32"),
        (lambda: hu.cast(1.0, "float16", out=np.zeros(1)), "goes with arrays"),
        (lambda: hu.cast(np.zeros(3), "float16", "nearest"), "did you mean nearest_"),
        (lambda: hu.cast(np.zeros(3), "float16", "stochastic"), "pass seed="),
        (lambda: hu.cast(np.zeros(3), "float16", overflow="wrap"), "unknown overflow or profile"),
        (lambda: hu.cast(1.0, "float16", "stochastic", seed=1, random_bits=0), "1 to 32"),
        (lambda: hu.cast("one", "float16"), "is no number"),
        (lambda: hu.cast(None, "float16"), "is no number"),
        (lambda: hu.cast(np.zeros(3), "e15m112"), "wider than arrays"),
        (lambda: hu.encode(np.zeros(3), "e15m112"), "hold at most 64"),
        (lambda: hu.decode(np.array([1.0]), "float16"), "codes are integers"),
        (lambda: hu.decode(np.array([300]), "float8_e5m2"), "no code 300"),
        (lambda: hu.decode(-1, "float8_e5m2"), "no code"),
        (lambda: hu.decode(np.array([1]), "float64"), "cannot hold every number"),
        (lambda: hu.decode(np.array([1]), "float16", "int8"), "no float dtype"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call: Any, says: str) -> None:
    with pytest.raises(hu.HalfulpError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_refused_out_is_left_as_it_was() -> None:
    out = np.full(3, 7.0)
    out.flags.writeable = False
    with pytest.raises(hu.HalfulpError, match="read-only"):
        hu.cast(np.zeros(3), "float16", out=out)
    assert (out == 7).all()


def test_kernels_work_where_nothing_can_be_cached(tmp_path: Any) -> None:
    """Numba finds no folder for its cache: the cast compiles for the process alone."""
    import os
    import subprocess
    import sys

    package = tmp_path / "site"
    import shutil
    from pathlib import Path

    shutil.copytree(
        Path(hu.__file__).parent, package / "halfulp", ignore=shutil.ignore_patterns("__pycache__")
    )
    code = (
        "import numba.core.caching as c\n"
        "c.CacheImpl._locator_classes = []\n"
        "import numpy as np, halfulp as hu\n"
        "print(hu.cast(np.array([1.12156456132], np.float32), 'float16')[0])"
    )
    environment = {**os.environ, "PYTHONPATH": str(package)}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (ran.stdout.strip(), ran.returncode) == ("1.1210938", 0), ran.stderr
