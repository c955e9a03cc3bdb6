"""L1: JAX arrays, by the rule on integer arrays; under jit, vmap and grad as well.

Only integers of 32 bits are needed for float32 and narrower, so it does not matter whether JAX was
told to keep 64. Nothing here does arithmetic on floats, whose subnormals XLA may flush.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from halfulp.backends import numpy as arrays
from halfulp.backends.integers import Course, Road, cast_road, decode_road, travel
from halfulp.casting import Cast, checked_seed
from halfulp.catalogue import Format, format
from halfulp.errors import HalfulpError
from halfulp.noise import PI, Key, absorbed, key_of
from halfulp.patterns import FLOAT32, FLOAT64, Carrier

Array = Any  # jax.Array, or what stands for one while it is traced


def cast_spec(x: Array, spec: str, seed: Any, out: Any, grad: str | None) -> Array:
    """The values of ``x`` rounded as :attr:`Cast.spec` says, in x's own dtype and shape.

    ``seed`` may be an array of one integer, which under jit is not known yet.
    ``grad="straight_through"`` hands gradients on; without it the answer has none. Raises
    HalfulpError for dtypes that are no floats, and for an ``out``.
    """
    values = _cast(x, spec, seed, out, codes=False)
    return values if grad is None else _straight_through(x, values)


def encode_spec(x: Array, spec: str, seed: Any, out: Any) -> Array:
    """The codes of ``x`` as a spec says, in the least unsigned dtype that holds them."""
    return _cast(x, spec, seed, out, codes=True)


def decode_name(codes: Array, source: str, dtype: Any = "float32", *, out: Any = None) -> Array:
    """The values of an array of codes, exactly.

    Where the codes are not known yet, under jit, of a code that the format does not have the low
    bits count; else that is a HalfulpError.
    """
    _refuse(out)
    if not jnp.issubdtype(codes.dtype, jnp.integer):
        raise HalfulpError(f"codes are integers, not {codes.dtype}: use encode to make them")
    found, result = format(source), _float_dtype(dtype)
    _check_width(result)
    if not format(result.name).holds(found):
        raise HalfulpError(
            f"{result} cannot hold every number of {found}: ask for dtype='float64', or decode "
            "Python ints"
        )
    if not isinstance(codes, jax.core.Tracer):
        arrays.check_codes(np.asarray(codes), found)
    road = decode_road(_carriers(), found, format(result.name))
    if road is None:
        raise _too_wide(found)
    return _travelled(road, codes, result, None)


def _cast(x: Array, spec: str, seed: Any, out: Any, *, codes: bool) -> Array:
    _refuse(out)
    dtype, cast = np.dtype(x.dtype), Cast.of_spec(spec)
    if dtype.name not in arrays.FLOAT_DTYPES:
        raise HalfulpError(
            f"an array of dtype {dtype} cannot be cast: give floats, such as x.astype('float32')"
        )
    _check_width(dtype)
    key = _key(cast, seed)
    result = arrays.code_dtype(cast.target) if codes else dtype
    road = cast_road(_carriers(), format(dtype.name), cast, codes)
    if road is None or (result.itemsize == 8 and not _keeps_64_bits()):
        raise _too_wide(cast.target)
    return _travelled(road, x, result, key)


# What can be cast.


def _refuse(out: Any) -> None:
    if out is not None:
        raise HalfulpError("out= cannot be used with JAX arrays, which are never written to")


def _float_dtype(wanted: Any) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(object)
    with suppress(TypeError):
        dtype = np.dtype(wanted)
    if dtype.name in arrays.FLOAT_DTYPES:
        return dtype
    raise HalfulpError(f"dtype {wanted!r} is no float dtype: try 'float32' or 'float64'")


def _check_width(dtype: np.dtype[Any]) -> None:
    if format(dtype.name).width < 8:
        raise HalfulpError(
            f"{dtype} has less than a byte, which JAX packs: give or ask for float32"
        )
    if dtype.itemsize == 8 and not _keeps_64_bits():
        raise _too_wide(format(dtype.name))


def _too_wide(wanted: Format) -> HalfulpError:
    if _keeps_64_bits():
        return HalfulpError(
            f"{wanted} is wider than JAX arrays can be cast to (53 significand bits, 63-bit "
            "codes): cast Python numbers"
        )
    return HalfulpError(
        f"{wanted} needs integers of 64 bits, which JAX is told to cut: set "
        "jax.config.update('jax_enable_x64', True), or give a NumPy array"
    )


def _keeps_64_bits() -> bool:
    return bool(jax.dtypes.canonicalize_dtype(np.int64) == np.int64)


# Seeds.


def _key(cast: Cast, seed: Any) -> Array | None:
    """The key of a seed as two int32; None where nothing is drawn."""
    known = seed
    if isinstance(seed, (jax.Array, np.ndarray, np.generic)):
        if seed.shape or seed.dtype.kind not in "iu":
            raise HalfulpError(
                f"seed must be an integer: found an array of {seed.dtype} {seed.shape}"
            )
        known = 0 if isinstance(seed, jax.core.Tracer) else int(seed)
    known = checked_seed(cast, known)
    if not cast.is_stochastic:
        return None
    if isinstance(seed, jax.core.Tracer):
        return jnp.stack(_traced_key(seed))
    return np.array(key_of(known), np.int32)


def _traced_key(seed: Array) -> tuple[Array, Array]:
    """:func:`halfulp.noise.key_of` for a seed that is not known yet."""
    words = _words_of_seed(seed)
    low, high = absorbed(jnp.int32(PI[0]), jnp.int32(PI[1]), words[0])
    for step in range(1, len(words)):  # a word goes in while it or any after it is not zero
        goes_in = jnp.any(jnp.stack(words[step:]) != 0)
        next_low, next_high = absorbed(low, high, words[step])
        low, high = jnp.where(goes_in, next_low, low), jnp.where(goes_in, next_high, high)
    stream = jnp.int32(0)
    return absorbed(low, high, stream)


def _words_of_seed(seed: Array) -> list[Array]:
    """Twice a seed, or -2n - 1 of a negative n, as words of 32 bits, the lowest first."""
    bits = 8 * seed.dtype.itemsize
    if bits < 32:
        return _words_of_seed(seed.astype(jnp.int32))
    if seed.dtype.kind == "i":
        doubled = (seed << 1) ^ (seed >> (bits - 1))
        words = [doubled >> shift for shift in range(0, bits, 32)]
    else:  # the uppermost bit has a word of its own
        words = [seed << 1, *(seed >> shift for shift in range(31, bits, 32))]
    return [word.astype(jnp.int32) for word in words]


# The rule on integer arrays.


def _carrier(bits: int, source: Format) -> Carrier:
    integer, real = f"int{bits}", source.name

    def widen(value: Any) -> Any:
        return value if isinstance(value, int) else value.astype(integer)

    def float_field(value: Any) -> Any:
        pattern = lax.bitcast_convert_type(value.astype(real), integer)
        return (pattern >> source.fraction_bits) - source.bias

    return Carrier(f"jax_int{bits}", source, bits, widen, widen, float_field)


_NARROW, _WIDE = _carrier(32, FLOAT32), _carrier(64, FLOAT64)


def _carriers() -> tuple[Carrier, ...]:
    return (_NARROW, _WIDE) if _keeps_64_bits() else (_NARROW,)


@dataclass(frozen=True, eq=False)
class _How:
    """What a road's compiled code depends on, beside the shape; one object for equal ones."""

    course: Course
    result: np.dtype[Any]
    drawn: bool


_how = cache(_How)


def _travelled(road: Road, x: Array, result: np.dtype[Any], key: Array | None) -> Array:
    how, ints = _known(road, result, key is not None)
    return _fused(x, ints, key, how=how)


@lru_cache(maxsize=4096)
def _known(road: Road, result: np.dtype[Any], drawn: bool) -> tuple[_How, Any]:
    ints = np.array(road.ints(0), f"int{road.carrier.bits}")
    return _how(road.course, result, drawn), ints


def _text(x: Array, ints: Array, key: Array | None, how: _How) -> Array:
    """A road on arrays of floats or of codes."""
    integer = f"int{how.course.carrier.bits}"
    code = x
    if not jnp.issubdtype(x.dtype, jnp.integer):
        code = lax.bitcast_convert_type(x, f"int{8 * np.dtype(x.dtype).itemsize}")
    low, high = _indices(x.shape) if how.drawn else (0, 0)
    drawn = None if key is None else Key(*key.astype(integer))
    made = travel(how.course)(code.astype(integer), low, high, list(ints), drawn)
    signed = made.astype(f"int{8 * how.result.itemsize}")
    return lax.bitcast_convert_type(signed, how.result)


# One call a cast where JAX runs eagerly; the numbers of a format change no compiled code.
_fused = jax.jit(_text, static_argnames="how")


def _indices(shape: tuple[int, ...]) -> tuple[Array, Any]:
    """The low and high words of every element's place in C order, as 32-bit integers."""
    count = math.prod(shape)
    if count <= 1 << 31:
        return lax.iota(jnp.int32, count).reshape(shape), 0
    rows = -(-count >> 16)
    row, column = (lax.broadcasted_iota(jnp.int32, (rows, 1 << 16), axis) for axis in (0, 1))
    words = ((row << 16) | column, row >> 16)
    low, high = (word.reshape(-1)[:count].reshape(shape) for word in words)
    return low, high


# Gradients.


def _values_of(x: Array, values: Array) -> Array:
    return values


def _handed_on(primals: Any, tangents: Any) -> tuple[Array, Array]:
    return _straight_through(*primals), tangents[0]


_straight_through = jax.custom_jvp(_values_of)
_straight_through.defjvp(_handed_on)
