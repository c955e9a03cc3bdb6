"""L1: cast, encode and decode for whatever kind of number or array comes: the same kind goes back.

Arrays go to their backend, which is imported then; numbers take the exact path.
"""

from __future__ import annotations

import sys
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any

from halfulp.casting import Cast, code_number
from halfulp.catalogue import Format, format
from halfulp.errors import HalfulpError
from halfulp.exact import Number
from halfulp.noise import NOISE_BITS, key_of, random_word
from halfulp.profiles import profiled_cast
from halfulp.records import decimal_string


def cast(
    x: Any,
    target: str | Format,
    rounding: str = "nearest_even",
    *,
    overflow: str | None = None,
    seed: int | None = None,
    random_bits: int = NOISE_BITS,
    out: Any = None,
) -> Any:
    """``x`` rounded to the numbers of a format, once, from its exact value; as the kind that x is.

    ``x`` is a NumPy array of floats (any shape, strides and byte order; the answer has its shape
    and dtype, or is written to ``out``), or a number: int, float, Fraction, Decimal or a text.
    ``rounding`` is one of ``nearest_even nearest_away toward_zero up down to_odd stochastic``; the
    last needs a ``seed``. ``overflow`` is ``infinity``, ``nan``, ``saturate``, ``saturate_finite``,
    or a profile such as ``torch``; by default what NumPy and ml_dtypes do.

    Raises HalfulpError for unknown names, and for what is no number.

    >>> cast(1.12156456132, "float16"), cast("1.12156456132", "float16")
    (1.12109375, '1.12109375')
    """
    job = _job(target, rounding, overflow, random_bits)
    seed = _checked_seed(job, seed)
    if _is_array(x):
        from halfulp.backends.numpy import cast_array

        return _unwrapped(x, cast_array(_array(x), job, seed=seed, out=out))
    _refuse_out(out)
    return as_kind_of(x, job.number(x, word=_word(job, seed)))


def encode(
    x: Any,
    target: str | Format,
    rounding: str = "nearest_even",
    *,
    overflow: str | None = None,
    seed: int | None = None,
    random_bits: int = NOISE_BITS,
    out: Any = None,
) -> Any:
    """The codes of ``x`` in a format: unsigned integers, as an array or as an int.

    The arguments are those of :func:`cast`.

    >>> hex(encode(1.12156456132, "float16"))
    '0x3c7c'
    """
    job = _job(target, rounding, overflow, random_bits)
    seed = _checked_seed(job, seed)
    if _is_array(x):
        from halfulp.backends.numpy import encode_array

        return _unwrapped(x, encode_array(_array(x), job, seed=seed, out=out))
    _refuse_out(out)
    return job.code(x, word=_word(job, seed))


def decode(codes: Any, source: str | Format, dtype: str = "float32", *, out: Any = None) -> Any:
    """The values of codes: an array of ``dtype``, or for one Python int the exact value as a float
    (a Fraction where no float64 is as wide).

    Raises HalfulpError for codes the format does not have, and for a dtype that cannot hold it.

    >>> decode(0x3C7C, "float16")
    1.12109375
    """
    found = format(source)
    if _is_array(codes):
        from halfulp.backends.numpy import decode_array

        return _unwrapped(codes, decode_array(_array(codes), found, dtype, out=out))
    if isinstance(codes, bool) or not isinstance(codes, int):
        raise HalfulpError(f"codes are integers, not {type(codes).__name__}: {codes!r}")
    number = code_number(found, codes)
    as_float = number.to_float()
    exact = not number.is_finite or (abs(as_float) != float("inf") and as_float == number.value)
    return as_float if exact else number.value


@lru_cache(maxsize=1024, typed=True)
def _known_job(*names: Any) -> Cast:
    return profiled_cast(*names)


def _job(*names: Any) -> Cast:
    try:
        return _known_job(*names)
    except TypeError:  # what cannot be hashed is no name either: let it say so
        return profiled_cast(*names)


def _checked_seed(job: Cast, seed: int | None) -> int:
    if job.is_stochastic and seed is None:
        raise HalfulpError("stochastic rounding draws random bits: pass seed=, any integer")
    if seed is not None and not isinstance(seed, int):
        raise HalfulpError(f"seed must be an integer: found {type(seed).__name__}")
    return seed or 0


def _word(job: Cast, seed: int) -> int:
    """The random word of a single number: those of element 0."""
    return int(random_word(key_of(seed), 0, 0)) if job.is_stochastic else 0


def _refuse_out(out: Any) -> None:
    if out is not None:
        raise HalfulpError("out= goes with arrays: a single number is returned")


def _is_array(x: Any) -> bool:
    # Without NumPy having been imported, nothing can be one of its arrays.
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(x, (numpy.ndarray, numpy.generic)):
        return True
    if isinstance(x, (str, int, float, Fraction, Decimal, Number)):
        return False
    if hasattr(x, "__array__") or isinstance(x, (list, tuple)):
        raise HalfulpError(
            f"{type(x).__name__} is not supported here: give a NumPy array (numpy.asarray(x)) "
            "or a number"
        )
    return False


def _array(x: Any) -> Any:
    import numpy

    return numpy.asanyarray(x)


def _unwrapped(x: Any, result: Any) -> Any:
    """A NumPy scalar for a NumPy scalar."""
    return result if hasattr(x, "__setitem__") else result[()]


def as_kind_of(x: Any, number: Number) -> Any:
    """A number as the kind of Python number that ``x`` is; a text for a text."""
    if isinstance(x, Number):
        return number
    if isinstance(x, str):
        return str(number)
    if isinstance(x, float) or not number.is_finite:
        return number.to_float()
    if isinstance(x, Decimal):
        return Decimal(decimal_string(number.value))
    is_whole = isinstance(x, int) and number.value.denominator == 1
    return number.value.numerator if is_whole else number.value
