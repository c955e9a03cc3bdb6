"""Where two formats meet: what is said of NumPy, torch and JAX is what they do."""

from __future__ import annotations

from itertools import product

import ml_dtypes
import numpy as np
import pytest

import halfulp as hu
from halfulp.errors import HalfulpError
from halfulp.explanations.operation import explain_operation
from halfulp.promotion import RULES, promoted

NAMES = [f.name for f in hu.formats() if f.name != "tfloat32"]
PAIRS = list(product(NAMES, NAMES))


def said(a: str, b: str, rule: str) -> str | None:
    try:
        return promoted(hu.format(a), hu.format(b), rule=rule).name
    except HalfulpError:
        return None


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_numpy(a: str, b: str) -> None:
    left, right = (np.ones(1, getattr(ml_dtypes, n, n)) for n in (a, b))
    try:
        found = (left + right).dtype.name
    except TypeError:
        found = None
    assert said(a, b, "numpy") == found


@pytest.mark.extra
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_torch(a: str, b: str) -> None:
    import torch

    kinds = [getattr(torch, n, None) for n in (a, b)]
    if None in kinds:
        assert a == b or said(a, b, "torch") is None
        return
    try:
        found = str(torch.promote_types(*kinds)).removeprefix("torch.")
    except RuntimeError:
        found = None
    assert said(a, b, "torch") == found


@pytest.mark.extra
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_jax(a: str, b: str) -> None:
    import jax

    kinds = [np.dtype(getattr(ml_dtypes, n, n)) for n in (a, b)]
    with jax.enable_x64(True):
        try:
            found = jax.numpy.promote_types(*kinds).name
        except jax.dtypes.TypePromotionError:
            found = None
    assert said(a, b, "jax") == found


def test_a_rule_decides_the_result() -> None:
    """float16 and bfloat16 meet in float32 everywhere; what a stack does not add is refused."""
    for rule in RULES:
        work = explain_operation("add", "1:float16", "1:bfloat16", promotion=rule)
        assert work.format.name == "float32"
    assert explain_operation("add", "1:float8_e5m2", "1:float16").format.name == "float16"
    with pytest.raises(HalfulpError, match="torch does not add float8_e5m2 and float16"):
        explain_operation("add", "1:float8_e5m2", "1:float16", promotion="torch")
    with pytest.raises(HalfulpError, match="unknown promotion 'pytorch'"):
        explain_operation("add", "1:float16", "1:float16", promotion="pytorch")


def test_numpy_takes_the_left_of_two_small_types() -> None:
    assert said("float8_e4m3fn", "float8_e4m3fnuz", "numpy") == "float8_e4m3fn"
    assert said("float8_e4m3fnuz", "float8_e4m3fn", "numpy") == "float8_e4m3fnuz"
