"""Walks and their closed form: the article's rows, the oracle, and prediction = simulation."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import halfulp as hu
import oracle
from cases import CATALOGUE, CUSTOMS, P3109
from halfulp.updates import FEW_STEPS, STRATEGIES

WALKABLE = [f for f in (*CATALOGUE, *CUSTOMS, *P3109) if f.signed and f.zero]


@pytest.mark.parametrize(
    ("steps", "value"),
    [
        (1, "1.125420093536376953125"), (10, "1.12920093536376953125"),
        (50, "1.14600467681884765625"), (100, "1.1670093536376953125"),
        (101, "1.167429447174072265625"),
    ],
)  # fmt: skip
def test_the_articles_float32_weight(steps: int, value: str) -> None:
    found = hu.walk("1.125", "0.00041999", steps, "float16", "master")
    assert str(found.final) == value
    assert found.lost == 0
    for n in (steps, 10**15):
        assert str(hu.predict("1.125", "0.00041999", "float16").at(n)) == "1.125"


@pytest.mark.parametrize(
    ("weight", "gradient", "steps", "target", "strategy", "value"),
    [
        ("1.125", "0.00041999", 100, "float16", "nearest", "1.125"),
        ("1.125", "0.00041999", 100, "float32", "nearest", "1.166997432708740234375"),
        ("1.125", "-0.00041999", 100, "float16", "nearest", "1.125"),
        ("1.125", "-0.00041999", 100, "float16", "master", "1.0829906463623046875"),
        ("1.125", "0.12457275190625", 101, "float16", "nearest", "13.75"),
        ("1.125", "0.12457275190625", 101, "float16", "master", "13.70684814453125"),
    ],
)  # fmt: skip
def test_the_articles_other_rows(
    weight: str, gradient: str, steps: int, target: str, strategy: str, value: str
) -> None:
    assert str(hu.walk(weight, gradient, steps, target, strategy).final) == value


def test_the_error_budget_names_where_the_error_comes_from() -> None:
    master = hu.walk("1.125", "0.00041999", 100, "float16", "master").budget
    assert master.rounding == master.accumulation == 0
    assert f"{float(master.input_cast):.3e}" == "1.035e-05"
    float32 = hu.walk("1.125", "0.00041999", 100, "float32").budget
    assert f"{float(float32.total):.2e}" == "-1.57e-06"
    assert abs(float32.accumulation) > 50 * abs(float32.input_cast)
    for budget in (master, float32):
        assert budget.total == budget.input_cast + budget.rounding + budget.accumulation


def test_thresholds_are_not_symmetric_at_a_power_of_two() -> None:
    up, down = Fraction(1, 2**11), Fraction(1, 2**12)
    nudge = Fraction(1, 2**40)
    for gradient, moves in ((up, False), (up + nudge, True), (-down, False), (-down - nudge, True)):
        found = hu.predict(1, gradient, "float16", gradient_format="float64")
        assert (found.stall_step != 0) == moves


def test_the_rule_of_thumb_of_a_ratio_is_not_the_test() -> None:
    for weight, ratio, moves in ((1, 2048, False), ("1.5", 3000, True), ("1.5", 3073, False)):
        g = hu.number(weight).value / ratio
        found = hu.predict(weight, g, "float16", gradient_format="none")
        assert (found.stall_step != 0) == moves
    top = Fraction(1999, 1000)
    assert hu.predict(
        top, hu.cast(top, "float16") / 4094, "float16", gradient_format="none"
    ).stall_step


def test_a_zero_that_never_moves_has_the_sign_of_its_sum() -> None:
    for gradient in ("0.0004", "-0.0004"):
        found = hu.predict(0, gradient, "e5m10b-3", 10**6, gradient_format="float32")
        assert (str(found.final), found.stall_step) == ("0" if gradient[0] == "0" else "-0", 0)


def test_bfloat16_and_a_thousandth() -> None:
    assert str(hu.walk(1, "0.001", 1000, "bfloat16").final) == "1"
    finals = [hu.walk(1, "0.001", 1000, "bfloat16", "stochastic", seed=s).final for s in range(60)]
    mean = float(sum(f.value for f in finals) / len(finals))
    assert abs(mean - 2) < 0.03


# The oracle's walk: exact sums, rounded by search.


def oracle_round(f: hu.Format, value: Fraction) -> Fraction | str:
    if value == 0:
        return Fraction(0)
    code = oracle.round_code(f, value, "nearest_even")
    if code != "overflow":
        meant = oracle.meaning(f, code)
        return Fraction(0) if meant == "-0" else meant
    if f.infinities:
        return "inf" if value > 0 else "-inf"
    top = oracle.meaning(f, oracle.largest_code(f))
    return "nan" if f.nan != "none" else top if value > 0 else -top


def oracle_walk(f: hu.Format, w: Fraction, g: Fraction, steps: int) -> list[Fraction | str]:
    path: list[Fraction | str] = [oracle_round(f, w)]
    for _ in range(steps):
        last = path[-1]
        path.append(last if isinstance(last, str) else oracle_round(f, last + g))
    return path


def as_value(number: object) -> Fraction | str:
    text = str(number)
    return text if text in ("inf", "-inf", "nan") else Fraction(text)


def check_prediction(f: hu.Format, weight: Fraction, gradient: Fraction, exact: bool) -> None:
    chosen = "none" if exact else None
    try:
        found = hu.predict(weight, gradient, f, gradient_format=chosen)
    except hu.HalfulpError:
        assert not isinstance(oracle_round(f, gradient), Fraction)  # the update itself overflows
        return
    steps = 60
    path = oracle_walk(f, weight, found.update.value, steps)
    for n, expected in enumerate(path):
        assert as_value(found.at(n)) == expected, n
    if found.stall_step is not None and found.stall_step < steps:
        n = found.stall_step
        assert path[n] == path[n + 1]
        assert n == 0 or path[n - 1] != path[n]
        assert as_value(found.stall_value) == path[n]
    walked = hu.walk(weight, gradient, steps, f, gradient_format=chosen)
    assert as_value(walked.final) == path[-1]
    # Beyond the range nothing is lost any more: it is gone.
    same = sum(a == b for a, b in zip(path, path[1:], strict=False) if isinstance(b, Fraction))
    assert walked.lost == (same if found.update.value else 0)
    assert walked.stall_step == (found.stall_step if (found.stall_step or 0) < steps else None)
    assert str(walked.final) == str(found.at(steps))  # the sign of zero included


@given(
    f=st.sampled_from(WALKABLE), w=st.integers(-300, 300), g=st.integers(-300, 300),
    scale=st.integers(-3, 3), exact=st.booleans(), third=st.booleans(),
)  # fmt: skip
@settings(max_examples=500)
def test_prediction_is_simulation_in_any_format(
    f: hu.Format, w: int, g: int, scale: int, exact: bool, third: bool
) -> None:
    """Around a format's own spacings: ties, subnormals, sign changes, overflow, binade ends."""
    quantum = f.least_positive * Fraction(2) ** scale / (3 if third else 1)
    for unit in (quantum, f.max / 128, f.ulp(1) if f.emin <= 0 <= f.emax else quantum):
        check_prediction(f, w * unit, g * unit / 4, exact)


@given(
    f=st.sampled_from(["float16", "bfloat16", "float8_e5m2", "float32", "e4m3b7_nosub", "e3m0"]),
    w=st.floats(-70000, 70000), g=st.floats(-3, 3), steps=st.integers(0, 3000),
)  # fmt: skip
@settings(max_examples=150)
def test_prediction_is_the_compiled_simulation_over_many_steps(
    f: str, w: float, g: float, steps: int
) -> None:
    steps += FEW_STEPS + 1  # beyond what the Python loop takes
    found, walked = hu.predict(w, g, f, steps), hu.walk(w, g, steps, f)
    assert as_value(found.final) == as_value(walked.final)
    for n, value in walked.trajectory:
        assert as_value(found.at(n)) == as_value(value)
    if found.stall_step is not None:
        assert walked.stall_step == (found.stall_step if found.stall_step < steps else None)
        assert walked.lost == max(0, steps - found.stall_step)
    if found.final.is_finite:
        assert found.drift == found.final.value - Fraction(w) - steps * Fraction(g)


def test_prediction_reaches_any_step_and_agrees_with_itself() -> None:
    far = hu.predict("-1000000", "0.00041999", "float64", 10**15)
    assert far.at(0).value == -1000000
    crossings = [p.first for p in far.progressions]
    assert crossings == sorted(crossings)
    for p, q in zip(far.progressions, far.progressions[1:], strict=False):
        assert far.at(q.first).value == q.start
        assert far.at(q.first - 1).value == p.start + (q.first - 1 - p.first) * p.increment


@pytest.mark.parametrize(
    ("weight", "gradient", "target", "gradient_format"),
    [
        ("400", "32", "float8_e4m3fn", None), ("60000", "900", "float16", None),
        ("0", "-1/8", "float4_e2m1fn", "float32"), ("1", "-0.001", "bfloat16", None),
        ("-0", "0", "float16", None), ("5", "1", "float6_e2m3fn", None),
        ("1.125", "0.00041999", "float16", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("strategy", ["nearest", "master", "kahan"])
def test_the_exact_and_the_compiled_loop_count_the_same(
    weight: str, gradient: str, target: str, gradient_format: str | None, strategy: str
) -> None:
    few, many = (
        hu.walk(weight, gradient, n, target, strategy, gradient_format=gradient_format)
        for n in (FEW_STEPS, FEW_STEPS + 1)
    )
    settled = few.stall_step is not None or not few.final.is_finite or few.updates == 0
    if settled:
        assert (few.stall_step, str(few.final).lstrip("-")) == (
            many.stall_step, str(many.final).lstrip("-"),
        )  # fmt: skip
        assert many.lost - few.lost == (1 if few.stall_step is not None else 0)


@given(
    f=st.sampled_from(["float16", "bfloat16", "float8_e4m3fn", "float32"]),
    w=st.lists(st.floats(-100, 100), min_size=1, max_size=8), g=st.floats(-0.5, 0.5),
    strategy=st.sampled_from(STRATEGIES), steps=st.integers(0, 40),
)  # fmt: skip
@settings(max_examples=100)
def test_arrays_walk_as_single_weights_do(
    f: str, w: list[float], g: float, strategy: str, steps: int
) -> None:
    found = hu.walk(np.array(w), g, steps, f, strategy, seed=3)
    assert found.steps == steps
    for i, weight in enumerate(w):
        if strategy == "stochastic" and i:
            break  # each element has noise of its own; the first has that of a single weight
        one = hu.walk(weight, g, steps, f, strategy, seed=3)
        if strategy == "exact":
            assert abs(found.final[i] - float(one.final.value)) <= 1e-12 * max(1, abs(weight))
            continue
        np.testing.assert_array_equal(found.final[i], one.final.to_float())
        assert (found.lost[i], found.updates[i]) == (one.lost, one.updates)
        if strategy != "stochastic":
            assert found.stall_step[i] == (-1 if one.stall_step is None else one.stall_step)
        if strategy == "master":
            assert found.stored[i] == one.stored.to_float()


def test_kahan_is_the_published_algorithm_step_by_step() -> None:
    """Zamirai et al., algorithm 2, by the oracle's rounding."""
    f = hu.format("bfloat16")
    w, c, g = oracle_round(f, Fraction(1)), Fraction(0), oracle_round(f, Fraction("0.001"))
    for n in range(1, 400):
        c = oracle_round(f, c + g)
        after = oracle_round(f, w + c)
        c = oracle_round(f, c + oracle_round(f, w - after))
        w = after
        if n % 57 == 0:
            assert hu.walk(1, "0.001", n, f, "kahan").final.value == w


def test_one_gradient_a_step() -> None:
    gradients = ["0.5", "-0.25", "0.0001", "2"]
    found = hu.walk("1", gradients, None, "float16")
    assert str(found.final) == "3.25"
    assert (found.lost, found.updates, found.steps) == (1, 4, 4)
    array = hu.walk(
        np.ones((2, 3)), np.array([0.5, -0.25, 0.0001, 2])[:, None, None], None, "float16"
    )
    assert (array.final == 3.25).all()
    assert array.stall_step is None
    each = hu.walk(np.ones(3), np.full((4, 3), 0.5), None, "float16")
    assert (each.final == 3).all()
    long = hu.walk(1, [0.001] * 1500, None, "bfloat16")
    assert str(long.final) == "1"
    assert long.lost == 1500


def test_a_learning_rate_multiplies_in_the_gradients_format() -> None:
    found = hu.walk("1", "1", 1, "float16", learning_rate="-0.001")
    rate = Fraction(oracle_round(hu.format("float16"), Fraction("-0.001")))
    assert found.update.added.value == rate
    assert found.update.learning_rate.value == rate
    tiny = hu.walk("1", "1", 10, "float16", learning_rate="1e-8")
    assert (tiny.update.added.value, tiny.updates, tiny.lost, tiny.stall_step) == (0, 0, 0, None)
    array = hu.walk(np.ones(2), 1.0, 3, "float16", learning_rate=-0.001)
    assert (
        array.final[0] == hu.walk("1", "1", 3, "float16", learning_rate="-0.001").final.to_float()
    )


def test_real_sgd_in_optax_style_is_what_walks() -> None:
    """NumPy float16: w = w + lr * g with every operation in float16."""
    w, rate, g = np.float16(1.125), np.float16(-0.01), np.float16(0.3)
    for _ in range(50):
        w = np.float16(w + np.float16(rate * g))
    found = hu.walk("1.125", "0.3", 50, "float16", learning_rate="-0.01")
    assert found.final.to_float() == w


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((1, 1, -1), "steps is -1"), ((1, 1, 1.5), "whole number"), ((1, "inf", 1), "gradient is inf"),
        (("nan", 1, 1), "weight is nan"), ((1, 1, 1, "float8_e8m0fnu"), "has no"),
        ((1, 1, 1, "float16", "neerest"), "did you mean nearest"), ((1, 1, None), "steps is missing"),
        ((1, 1, 1, "float16", "stochastic"), "pass seed="), ((1, [1, 2], 3), "one a step"),
        ((1, [], None), "one a step"), ((1, "1e9", 1), "beyond float16"),
    ],
)  # fmt: skip
def test_bad_walks_are_refused(arguments: tuple, says: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(hu.HalfulpError, match=says):
        hu.walk(*arguments)


@pytest.mark.parametrize(
    ("weight", "gradient", "steps", "says"),
    [
        (np.ones(3), np.ones(2), 5, "do not fit"), (np.ones(3), np.inf, 5, "inf or nan"),
        (np.ones(3), "1/10", 5, "no array of real numbers"), (np.ones(3), 1j, 5, "real numbers"),
        (np.array(["1"]), 1.0, 5, "real numbers"), (np.ones(3), 1e10, 5, "beyond float16"),
        (np.ones(3), np.ones((4, 3)), 5, "one a step"), (np.ones(3), 1.0, None, "steps is missing"),
    ],
)  # fmt: skip
def test_bad_array_walks_are_refused(
    weight: np.ndarray, gradient: object, steps: int, says: str
) -> None:
    with pytest.raises(hu.HalfulpError, match=says):
        hu.walk(weight, gradient, steps, "float16")


@pytest.mark.parametrize("strategy", ["kahan", "stochastic"])
def test_long_walks_are_refused_where_they_do_not_settle(strategy: str) -> None:
    for weight in (1, np.ones(3)):
        with pytest.raises(hu.HalfulpError, match="too many to simulate"):
            hu.walk(weight, 0.001, 10**12, "float32", strategy, seed=1)
    assert hu.walk(1, 0, 10**12, "float16", strategy, seed=1).lost == 0
    with pytest.raises(hu.HalfulpError, match="allowed are 0 to"):
        hu.walk(1, 0, 10**5000, "float16", strategy, seed=1)


def test_long_walks_that_settle_are_answered() -> None:
    found = hu.walk(1, "0.1", 10**15, "float16")
    assert (found.lost, found.stall_step) == (10**15 - 2197, 2197)


def test_exact_walks_that_never_end_are_refused() -> None:
    with pytest.raises(hu.HalfulpError, match="too many to simulate"):
        hu.walk("0", "1/3", 10**15, "float64", "kahan", gradient_format="none")


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2fnuz",
                                  "e4m3b7_nosub", "float6_e2m3fn", "e5m2f"])  # fmt: skip
@pytest.mark.parametrize("steps", [1, 2, 3, 400])
def test_leaps_end_where_steps_end(name: str, steps: int) -> None:
    """Constant updates leap through binades; each step by itself goes the same way."""
    f = hu.format(name)
    rng = np.random.default_rng(3)
    codes = rng.integers(0, f.max_code + 1, 700)
    w = np.array([float(f.magnitude(int(c))) for c in codes]) * rng.choice([-1, 1], codes.size)
    quantum = float(f.least_positive)
    spread = float(2 ** (f.precision + 1))
    g = rng.choice([-1, 1], w.size) * np.abs(w) / spread * rng.uniform(0.2, 3, w.size)
    g[::3] = rng.integers(-4, 5, g[::3].size) * quantum * 0.5  # ties among the subnormals
    ulps = np.array([float(f.ulp(v)) for v in w[1::3]])
    g[1::3] = rng.choice([-2.5, -1.5, -1, -0.5, -0.25, 0, 0.25, 0.5, 1, 1.5, 2.5], ulps.size) * ulps
    expected, lost = w.copy(), np.zeros(w.size, int)
    for _ in range(steps):
        after = hu.cast(expected + g, f)
        lost += (after == expected) & (g != 0) & np.isfinite(after)
        expected = after
    found = hu.walk(w, g, steps, f, gradient_format="float64")
    assert np.array_equal(found.final, expected, equal_nan=True)
    assert np.array_equal(found.lost, lost)
