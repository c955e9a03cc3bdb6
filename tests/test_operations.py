"""Arithmetic on numbers and arrays: exact, then rounded once, in every mode, against Fractions."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import ml_dtypes
import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfulp as hu
import oracle
from cases import CATALOGUE, CUSTOMS, MODES, SMALL, by_name
from halfulp import arithmetic
from halfulp.noise import WORD, key_of, random_word

ARITY = {"add": 2, "sub": 2, "mul": 2, "div": 2, "sqrt": 1, "fma": 3}
CALL = {name: getattr(arithmetic, name) for name in ARITY}
STORED = [f for f in CATALOGUE if f.name != "tfloat32"]  # those that are dtypes
RNG = np.random.default_rng(0)


def dtype_of(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, name, name))


def bits_of(x: Any) -> Any:
    return x.view(f"u{x.dtype.itemsize}")


# The oracle: Fractions for what is finite, the processor for what is not.


def exact_root(value: Fraction) -> Fraction:
    """A number between the same two numbers of hundreds of bits as the root, or the root itself."""
    scale = 4**900
    scaled = value * scale
    root = math.isqrt(scaled.numerator // scaled.denominator)
    return Fraction(2 * root + (root * root != scaled), 2 * 2**900)


def exact(operation: str, args: tuple[float, ...]) -> Fraction | None:
    """The result where operands and result are finite numbers."""
    if not all(math.isfinite(v) for v in args):
        return None
    a, b, c = (*map(Fraction, args), Fraction(0), Fraction(0))[:3]
    match operation:
        case "add":
            return a + b
        case "sub":
            return a - b
        case "mul":
            return a * b
        case "div":
            return a / b if b else None
        case "sqrt":
            return exact_root(a) if a >= 0 else None
    return a * b + c


def special(operation: str, args: tuple[float, ...], mode: str) -> float:
    """What IEEE 754 says of infinities, NaN, divisions by zero and the sign of exact zeros."""
    a, b, c = (*args, 0.0, 0.0)[:3]
    signs = [math.copysign(1, v) for v in args]
    if all(math.isfinite(v) for v in args) and operation in ("add", "sub", "fma"):
        one = signs[0] * signs[1] if operation == "fma" else signs[0]
        other = signs[-1] * (-1 if operation == "sub" else 1)
        return math.copysign(0.0, one if one == other else (-1 if mode == "down" else 1))
    with np.errstate(all="ignore"):
        product = np.sign(a) * np.sign(b) * (1 if np.isfinite([a, b]).all() else np.inf)
        found: Any = {
            "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
            "sqrt": lambda a, b: np.sqrt(a), "fma": lambda a, b: product + np.float64(c),
        }[operation](np.float64(a), np.float64(b))  # fmt: skip
    return abs(float(found)) if math.isnan(found) else float(found)


def expected_code(
    operation: str, f: Any, mode: str, args: tuple[float, ...], word: int = 0, bits: int = 32
) -> int:
    """The code of the result in a format, under the default fates."""
    value = exact(operation, args)
    seed = {"seed": 0} if mode == "stochastic" else {}
    if not value:
        return int(hu.encode(special(operation, args, mode), f, mode, **seed))
    if value < 0 and not f.signed:
        return int(hu.encode(-1.0, f, mode, **seed))
    code = oracle.round_code(f, value, mode, word=word, bits=bits)
    if code == "overflow":
        return int(hu.encode(math.inf if value > 0 else -math.inf, f))
    return 0 if code == "least" else int(code)


def nasty(dtype: np.dtype[Any], f: Any, size: int, seed: int) -> Any:
    """Values of a dtype: few or many bits, about one or at the ends of a format, and specials."""
    rng = np.random.default_rng(seed)
    p = f.precision
    lengths = rng.choice([0, 1, 2, p - 1, p, p + 1, 52], size)
    significands = 1 + np.floor(rng.random(size) * 2.0**lengths) / 2.0**lengths
    significands *= 1 - 2.0**-53 * rng.integers(0, 2, size)
    ends = [f.emin - p, f.emin, f.emin + 1, f.emin // 2, f.emax // 2, f.emax, f.emax + 1]
    exponents = np.where(
        rng.random(size) < 0.6, rng.integers(-p - 2, p + 3, size), rng.choice(ends, size)
    )
    with np.errstate(all="ignore"):
        values = np.ldexp(significands, exponents) * rng.choice([-1.0, 1.0], size)
        x = values.astype(dtype)
    codes = rng.integers(0, 2**64 - 1, size, dtype=np.uint64, endpoint=True)
    any_bits = (codes & np.uint64(hu.format(dtype.name).codes - 1)).astype(bits_of(x).dtype)
    specials = np.array([0.0, -0.0, np.inf, -np.inf, np.nan]).astype(dtype)
    kind = rng.random(size)
    x = np.where(kind < 0.12, any_bits, bits_of(x))
    return np.where(kind > 0.93, bits_of(rng.choice(specials, size)), x).astype(x.dtype).view(dtype)


def operand_arrays(operation: str, dtype: np.dtype[Any], f: Any, size: int) -> list[Any]:
    arrays = [nasty(dtype, f, size, f.width + 31 * i) for i in range(ARITY[operation])]
    if len(arrays) > 1:
        # Massive cancellation, which chance does not find: the last operand nearly undoes the rest.
        with np.errstate(all="ignore"):
            wide = [x.astype(np.float64) for x in arrays]
            undone = wide[0] * (wide[1] if operation == "fma" else 1)
            arrays[-1][::3] = (undone if operation == "sub" else -undone)[::3].astype(dtype)
    return arrays


def check(operation: str, f: Any, mode: str, arrays: list[Any], result: Any) -> None:
    values = [x.astype(np.float64).tolist() for x in arrays]
    codes = hu.encode(np.asarray(result).astype(np.float64), f).tolist()
    for i, (args, code) in enumerate(zip(zip(*values, strict=True), codes, strict=True)):
        word = random_word(key_of(3), i, 0) & WORD
        assert code == expected_code(operation, f, mode, args, word), (args, f.hex(code))


@pytest.mark.parametrize("mode", [*MODES, "stochastic"])
@pytest.mark.parametrize("f", [*CATALOGUE, *CUSTOMS], ids=by_name)
def test_arrays_are_rounded_once_in_every_mode(f: Any, mode: str) -> None:
    """Operands of float32 take float64 arithmetic, those of float64 take integers."""
    for operation, name in itertools.product(ARITY, ["float32", "float64"]):
        if not hu.format(name).holds(f) or (mode == "stochastic" and f.precision > 28):
            continue
        arrays = operand_arrays(operation, np.dtype(name), f, 15)
        result = CALL[operation](*arrays, f, mode, seed=3)
        assert result.dtype == name
        check(operation, f, mode, arrays, result)


@pytest.mark.parametrize("mode", [*MODES, "stochastic"])
@pytest.mark.parametrize("f", [f for f in STORED if f.name != "float64"], ids=by_name)
def test_every_dtype_calculates_in_itself(f: Any, mode: str) -> None:
    dtype = dtype_of(f.name)
    for operation in ARITY:
        arrays = operand_arrays(operation, dtype, f, 30)
        result = CALL[operation](*arrays, None, mode, seed=3)
        assert result.dtype == dtype
        check(operation, f, mode, arrays, result)


# Exhaustively: every pair of numbers of the narrow formats, against sorted tables.


def magnitudes(f: Any) -> Any:
    """The finite numbers of one sign in order of their codes, and the one after the largest."""
    values = [oracle.meaning(f, code) for code in range(oracle.largest_code(f) + 1)]
    return np.array([float(v) for v in (*values, oracle.value_after(f, len(values) - 1))])


def rounded_ratio(f: Any, numerator: Any, denominator: Any, mode: str) -> Any:
    """The magnitude codes of exact ratios ≥ 0; one beyond the largest stands for overflow.

    All comparisons are of products that float64 holds.
    """
    table = magnitudes(f)
    with np.errstate(all="ignore"):
        code = np.searchsorted(table, numerator / denominator, side="right") - 1
    code = np.clip(code, 0, len(table) - 2)
    code -= table[code] * denominator > numerator
    code += table[code + 1] * denominator <= numerator
    low, high = table[code], table[np.minimum(code + 1, len(table) - 1)]
    place = np.sign(2 * numerator - (low + high) * denominator)
    up = {
        "nearest_even": (place > 0) | ((place == 0) & (code % 2 == 1)), "nearest_away": place >= 0,
        "toward_zero": False, "away": True, "to_odd": code % 2 == 0,
    }[mode]  # fmt: skip
    return code + (up & (low * denominator != numerator))


def expected_codes(operation: str, f: Any, mode: str, a: Any, b: Any) -> Any:
    """Of all finite results, and whether they are."""
    with np.errstate(all="ignore"):
        native = {"add": np.add, "mul": np.multiply, "div": np.divide}[operation](a, b)
        finite = np.isfinite(native) & np.isfinite(a) & np.isfinite(b)
    negative = np.signbit(native)
    if operation == "add" and mode == "down":
        negative = np.where(native == 0, np.signbit(a) | np.signbit(b), negative)
    one = np.where(finite & (operation == "div"), np.abs(b), 1.0)
    numerator = np.where(finite, np.abs(a if operation == "div" else native), 0.0)
    away = {"up": ~negative, "down": negative}.get(mode)
    if away is None:
        away = np.full(a.shape, mode not in ("toward_zero", "to_odd"))
        magnitude = rounded_ratio(f, numerator, one, mode)
    else:
        outward, inward = (rounded_ratio(f, numerator, one, m) for m in ("away", "toward_zero"))
        magnitude = np.where(away, outward, inward)
    over = magnitude > oracle.largest_code(f)
    beyond = [int(hu.encode(s, f)) for s in (math.inf, -math.inf)]
    ends = np.where(negative, beyond[1], beyond[0])
    largest = oracle.largest_code(f) + np.where(negative, f.sign_bit, 0)
    signed = magnitude + np.where(negative & ((magnitude > 0) | f.signed_zero), f.sign_bit, 0)
    return np.where(over, np.where(away, ends, largest), signed), finite


EXHAUSTED = [f for f in SMALL if f.signed and f.zero and f.subnormals and f.exponent_bits <= 5]


def all_pairs(f: Any) -> tuple[Any, Any]:
    codes = np.arange(f.codes, dtype=np.uint8)
    values = hu.decode(codes, f, "float32")
    return np.repeat(values, f.codes), np.tile(values, f.codes)


@pytest.mark.parametrize("operation", ["add", "mul", "div"])
@pytest.mark.parametrize(
    ("f", "modes"),
    [
        (f, MODES if f in CATALOGUE else MODES[:1])
        for f in EXHAUSTED
        if f in CATALOGUE or f.width < 8
    ],
    ids=lambda v: v.name if isinstance(v, hu.Format) else "",
)
def test_every_pair_of_narrow_numbers(f: Any, modes: list[str], operation: str) -> None:
    a, b = all_pairs(f)
    wide = a.astype(np.float64), b.astype(np.float64)
    for mode in modes:
        found = hu.encode(CALL[operation](a, b, f, mode), f)
        expected, finite = expected_codes(operation, f, mode, *wide)
        wrong = finite & (found != expected)
        assert not wrong.any(), (mode, a[wrong][:3], b[wrong][:3], found[wrong][:3])


@pytest.mark.parametrize("f", [f for f in STORED if f.width <= 8], ids=by_name)
def test_every_pair_is_the_same_in_its_own_dtype_and_in_a_wider_one(f: Any) -> None:
    dtype = dtype_of(f.name)
    codes = np.arange(f.codes, dtype=np.uint8)
    a, b = np.repeat(codes, f.codes).view(dtype), np.tile(codes, f.codes).view(dtype)
    for operation in ("add", "mul", "div"):
        own = CALL[operation](a, b)
        for wider in (np.float32, np.float64):
            wide = CALL[operation](a.astype(wider), b.astype(wider), f)
            np.testing.assert_array_equal(bits_of(own), hu.encode(wide, f))


# Against the processor.


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numpy_calculates_the_same(dtype: Any) -> None:
    natives = {
        "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "sqrt": np.sqrt,
    }  # fmt: skip
    f = hu.format(np.dtype(dtype).name)
    for operation, native in natives.items():
        arrays = operand_arrays(operation, np.dtype(dtype), f, 1 << 16)
        with np.errstate(all="ignore"):
            theirs = native(*arrays)
        ours = CALL[operation](*arrays)
        nan = np.isnan(theirs)
        assert (nan == np.isnan(ours)).all()
        assert not np.signbit(ours[nan]).any()  # one NaN, whatever the processor makes
        wrong = ~nan & (bits_of(ours) != bits_of(theirs))
        assert not wrong.any(), (operation, [x[wrong][:3] for x in arrays])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_float64_carries_the_products_of_narrow_floats(dtype: Any) -> None:
    """A product of 24-bit numbers is exact in float64, so that its cast is the fma with zero."""
    f = hu.format(np.dtype(dtype).name)
    a, b = operand_arrays("mul", np.dtype(dtype), f, 1 << 15)
    with np.errstate(all="ignore"):
        product = a.astype(np.float64) * b.astype(np.float64)
    keep = ~np.isnan(product)
    for mode in MODES:
        ours, theirs = hu.encode(CALL["mul"](a, b, f, mode), f), hu.encode(product, f, mode)
        np.testing.assert_array_equal(ours[keep], theirs[keep])


# Known traps.


def test_fma_through_float64_would_be_rounded_twice() -> None:
    a, b, c = (np.array([v], np.float32) for v in (24929, 673, 2.0**-40))
    twice = np.float32(np.float64(a[0]) * np.float64(b[0]) + np.float64(c[0]))
    assert twice == 16777216  # 24929 × 673 = 2^24 + 1 is a tie in float32, and c breaks it
    assert hu.fma(a, b, c)[0] == 16777218
    assert hu.fma("24929:float32", "673:float32", "2^-40:float32") == "16777218"
    assert hu.fma(a, b, -c)[0] == 16777216


@pytest.mark.parametrize(
    ("a", "b", "c", "expected"),
    [
        (1 + 2.0**-52, 1 - 2.0**-52, -1.0, -(2.0**-104)),  # all 106 bits of the product count
        (2.0**-1022, 2.0**-53, 2.0**-1074, 2.0**-1073),  # 1.5 of the least subnormal: a tie
        (3 * 2.0**-1022, 2.0**-53, 2.0**-1074, 2.0**-1073),  # and 2.5
        (2.0**1023, 2.0, -(2.0**1023), 2.0**1023),  # the product alone overflows
        (1.0, 2.0**-53, 1.0, 1.0),  # a tie
        (1 + 2.0**-52, 2.0**-53, 1.0, 1 + 2.0**-52),  # and just above it
        (2.0**-600, 2.0**-600, 1.0, 1.0),
        (-(2.0**-600), 2.0**-600, 2.0**-1074, 2.0**-1074),
    ],
)
def test_fma_of_float64(a: float, b: float, c: float, expected: float) -> None:
    found = hu.fma(*(np.array([v]) for v in (a, b, c)))
    assert found[0] == expected == hu.fma(a, b, c, "float64")
    for mode in ("up", "down", "to_odd"):
        check("fma", hu.format("float64"), mode, [np.array([v]) for v in (a, b, c)],
              hu.fma(*(np.array([v]) for v in (a, b, c)), None, mode))  # fmt: skip


def test_special_cases_by_hand() -> None:
    inf, nan = math.inf, math.nan
    cases = {
        "add": [(inf, -inf, nan), (inf, 1, inf), (nan, 1, nan), (-0.0, -0.0, -0.0), (1, -1, 0.0)],
        "sub": [(inf, inf, nan), (0.0, 0.0, 0.0), (-0.0, 0.0, -0.0)],
        "mul": [(0, inf, nan), (-0.0, 5, -0.0), (-inf, 2, -inf), (-1, nan, nan)],
        "div": [(1, 0, inf), (-1, 0, -inf), (1, -0.0, -inf), (0, 0, nan), (inf, inf, nan), (1, -inf, -0.0)],
        "sqrt": [(-1, nan), (-0.0, -0.0), (inf, inf), (-inf, nan), (nan, nan)],
        "fma": [(0, inf, nan, nan), (inf, 0, 1, nan), (inf, 1, -inf, nan), (1, 1, -1, 0.0), (-0.0, 1, -0.0, -0.0)],
    }  # fmt: skip
    for operation, rows in cases.items():
        for *args, expected in rows:
            for dtype in (np.float64, np.float32, np.float16):
                array = CALL[operation](*(np.array([v], dtype) for v in args))[0]
                number = CALL[operation](*map(float, args), np.dtype(dtype).name)
                for found in (float(array), number):
                    assert str(found) == str(float(expected)), (operation, args, found)


def test_rounding_down_an_exact_zero_is_negative() -> None:
    for dtype in (np.float64, np.float32):
        a = np.array([1.5, 0.0, 0.0, -0.0], dtype)
        b = np.array([-1.5, 0.0, -0.0, -0.0], dtype)
        one = np.ones(4, dtype)
        for found in (
            hu.add(a, b, None, "down"),
            hu.sub(a, -b, None, "down"),
            hu.fma(a, one, b, None, "down"),
        ):
            assert np.signbit(found).tolist() == [True, False, True, True]
        assert np.signbit(hu.add(a, b)).tolist() == [False, False, False, True]
    assert str(hu.add(1.5, -1.5, "float16", "down")) == "-0.0"


# Numbers and arrays are one thing.

FLOATS = st.floats(width=64) | st.builds(
    lambda s, e, m: s * math.ldexp(1 + m / 64, e),
    st.sampled_from([-1.0, 1.0]), st.integers(-1074, 1020), st.integers(0, 63),
)  # fmt: skip


@given(
    operation=st.sampled_from(sorted(ARITY)),
    args=st.tuples(FLOATS, FLOATS, FLOATS),
    f=st.sampled_from([f for f in (*CATALOGUE, *CUSTOMS) if hu.format("float64").holds(f)]),
    mode=st.sampled_from([*MODES, "stochastic"]),
    bits=st.integers(1, 6),
)
def test_numbers_and_arrays_agree(
    operation: str, args: tuple[float, ...], f: Any, mode: str, bits: int
) -> None:
    args = args[: ARITY[operation]]
    options = {"seed": 5, "random_bits": bits}
    array = CALL[operation](*(np.array([v]) for v in args), f, mode, **options)
    texts = [f"{Fraction(v) if math.isfinite(v) and v else v}:float64" for v in args]
    number = CALL[operation](*texts, f, mode, **options)
    assert str(hu.number(float(array[0]))) == number


@given(
    operation=st.sampled_from(sorted(ARITY)),
    args=st.tuples(FLOATS, FLOATS, FLOATS),
    mode=st.sampled_from(MODES),
)
def test_float64_in_any_mode_is_what_fractions_say(
    operation: str, args: tuple[float, ...], mode: str
) -> None:
    arrays = [np.array([v]) for v in args[: ARITY[operation]]]
    check(operation, hu.format("float64"), mode, arrays, CALL[operation](*arrays, None, mode))


@given(
    x=FLOATS, bits=st.integers(1, 32), seed=st.integers(0, 9),
    f=st.sampled_from(["float16", "float32", "tfloat32", "float8_e4m3fn"]),
)  # fmt: skip
def test_stochastic_draws_as_many_bits_as_asked(x: float, bits: int, seed: int, f: str) -> None:
    word = random_word(key_of(seed), 0, 0) & WORD
    third, target = np.array([x]), hu.format(f)
    for operation, args in {"div": (x, 3.0), "add": (x, 1 / 3)}.items():
        found = CALL[operation](
            third, np.array([args[1]]), f, "stochastic", seed=seed, random_bits=bits
        )
        code = hu.encode(float(found[0]), f)
        assert code == expected_code(operation, target, "stochastic", args, word, bits)


# Shapes, memory, threads.


def test_broadcasting_layouts_and_byte_order_change_nothing() -> None:
    base = np.linspace(-3, 3, 30 * 40).reshape(30, 40)
    column, row = base[:, :1], base[0]
    views = {
        "plain": (base, base), "transposed": (base.T, base.T), "strided": (base[::2, ::-3], base[::-2, ::3]),
        "broadcast": (column, row), "scalar": (base, base[3, 4]), "0-d": (np.array(1.5), base[2, 2, ...]),
        "empty": (base[:0], row), "row": (base, row), "fortran": (np.asfortranarray(base), base),
    }  # fmt: skip
    for dtype in (">f8", ">f4", "f4", "f2", ml_dtypes.bfloat16):
        for a, b in views.values():
            x, y = a.astype(dtype), b.astype(dtype)
            found = hu.div(x, y, "float8_e4m3fn")
            left, right = (
                np.ascontiguousarray(v).astype(np.float64) for v in np.broadcast_arrays(x, y)
            )
            expected = hu.div(left.reshape(-1), right.reshape(-1), "float8_e4m3fn")
            assert found.shape == np.broadcast_shapes(x.shape, y.shape)
            np.testing.assert_array_equal(found.astype(np.float64).reshape(-1), expected)


def test_numbers_beside_arrays_are_rounded_to_the_target_first() -> None:
    x = np.array([1.0, 2.0], np.float32)
    tenth = float(hu.cast(0.1, "float8_e4m3fn"))
    np.testing.assert_array_equal(hu.mul(x, 0.1, "float8_e4m3fn"), [tenth, 2 * tenth])
    np.testing.assert_array_equal(hu.mul(0.1, x), hu.mul(np.float32(0.1), x))
    np.testing.assert_array_equal(hu.add(x, "0.1:float16"), x + np.float32(np.float16(0.1)))
    assert hu.fma(x, 2, 1).tolist() == [3.0, 5.0]
    with pytest.raises(hu.HalfulpError, match="is no float64"):
        hu.add(x, "1.00000000000000000001:e15m100", "float32")


def test_dtypes_promote_as_numpy_promotes_them() -> None:
    def result(*names: str) -> str:
        return str(hu.add(*(np.ones(2, dtype_of(n)) for n in names)).dtype)

    assert result("float16", "float16") == "float16"
    assert result("float16", "bfloat16") == "float32"
    assert result("float32", "float16") == "float32"
    assert result("float64", "float4_e2m1fn") == "float64"
    assert result("float8_e4m3fn", "float8_e5m2") == "float32"
    assert result("float8_e4m3fn", "float8_e4m3fnuz") == "float32"  # NumPy would lose 2^-10
    assert type(hu.add(np.float32(1), np.float32(2))) is np.float32
    assert hu.add(np.array(1.5), 2).shape == ()
    assert isinstance(hu.add(np.array(1.5), 2), np.ndarray)
    half, wide = np.ones(2, np.float16), np.empty(2, np.float32)
    assert hu.div(half, 3, "float32", out=wide) is wide
    assert wide[0] == np.float32(1 / 3)


def test_out_may_be_an_operand_or_overlap_it() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        x = np.linspace(-5, 5, 50_000).astype(dtype)
        expected = hu.mul(x, x)
        memory = x.copy()
        assert hu.mul(memory, memory, out=memory) is memory
        np.testing.assert_array_equal(memory, expected)
        memory = np.append(x, x[:1])
        hu.mul(memory[:-1], memory[:-1], out=memory[1:])
        np.testing.assert_array_equal(memory[1:], expected)
        backwards = x.copy()
        hu.mul(backwards, backwards, out=backwards[::-1])
        np.testing.assert_array_equal(backwards[::-1], expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_results_do_not_depend_on_threads(dtype: Any) -> None:
    x = np.linspace(-5, 5, 1 << 18).astype(dtype)
    before, found = numba.get_num_threads(), []
    try:
        for threads in (1, before):
            numba.set_num_threads(threads)
            found.append(hu.div(x, 3, "float16", "stochastic", seed=2))
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(found[0], found[1])
    one = hu.div(x[1000:1001], 3, "float16", "stochastic", seed=2)
    assert abs(one[0] - x[1000] / 3) < 0.01
    assert (found[0] != hu.div(x, 3, "float16", "stochastic", seed=3)).any()


@pytest.mark.extra
def test_flushing_subnormals_process_wide_changes_nothing() -> None:
    import torch

    tiny = np.array([1e-40, -3e-39, 2.0**-149, 2.0**-127], np.float32)
    wide, half = np.array([5e-324, 2.0**-1030]), np.array([1, 0x3FF], np.uint16).view(np.float16)

    def results() -> list[Any]:
        return [
            hu.add(tiny, tiny),
            hu.add(wide, "2^-1074:float64"),
            hu.div(tiny, 3),
            hu.mul(half, half),
        ]

    expected = results()
    assert torch.set_flush_denormal(True)
    try:
        found = results()
    finally:
        torch.set_flush_denormal(False)
    for ours, before in zip(found, expected, strict=True):
        np.testing.assert_array_equal(bits_of(ours), bits_of(before))
    assert (expected[0][2], expected[1][0]) == (2.0**-148, 1e-323)


READ_ONLY = np.zeros(3)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: hu.add(np.arange(3), 1), "dtype int64 cannot be calculated with"),
        (lambda: hu.add(np.array([1, "a"], object), 1), "dtype object"),
        (lambda: hu.add(np.zeros(3, complex), 1), "complex128"),
        (lambda: hu.add(np.ma.array([1.0], mask=[True]), 1), "lose its mask"),
        (lambda: hu.add([1.0], np.ones(1)), "list is not supported"),
        (lambda: hu.add([1.0], 1), "list is not supported"),
        (lambda: hu.add(np.zeros(3), np.zeros(4)), r"\(3,\), \(4,\) do not broadcast"),
        (lambda: hu.add(np.zeros(3), "one"), "is no number"),
        (lambda: hu.add(np.zeros(3, "f2"), 1, "float32"), "float16 do not hold .* of float32"),
        (lambda: hu.add(np.zeros(3), 1, "e15m60"), "no array holds every number of e15m60"),
        (lambda: hu.add(np.zeros(3), 1, out=np.zeros(4)), r"out must be .* \(3,\)"),
        (lambda: hu.add(np.zeros(3), 1, out=[0, 0, 0]), "found list"),
        (lambda: hu.add(np.zeros(3), 1, out=np.zeros(3, int)), "dtype int64"),
        (lambda: hu.add(np.zeros(3), 1, out=np.zeros(3, "f4")), "float32 do not hold"),
        (lambda: hu.add(np.zeros(3), 1, out=READ_ONLY), "read-only"),
        (lambda: hu.add(1.0, 1.0, "float16", out=np.zeros(1)), "goes with arrays"),
        (lambda: hu.add(1.0, 1.0), "name no format"),
        (lambda: hu.add(np.zeros(3), 1, None, "nearest"), "did you mean nearest_"),
        (lambda: hu.add(np.zeros(3), 1, None, "stochastic"), "pass seed="),
        (lambda: hu.add(np.zeros(3), 1, None, "stochastic", seed=1), "random_bits up to 7"),
        (lambda: hu.add(np.zeros(3), 1, "float16", overflow="wrap"), "unknown overflow or profile"),
        (lambda: hu.add(np.zeros(3), 1, "floot16"), "unknown format"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call: Any, says: str) -> None:
    with pytest.raises(hu.HalfulpError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert (READ_ONLY == 0).all()


def test_what_is_refused_is_not_written() -> None:
    out = np.full(3, 7.0)
    for options in (
        {"rounding": "stochastic"},
        {"rounding": "stochastic", "seed": 1},
        {"overflow": "no"},
    ):
        with pytest.raises(hu.HalfulpError):
            hu.add(np.zeros(3), 1, "float64", **options, out=out)
    assert (out == 7).all()
