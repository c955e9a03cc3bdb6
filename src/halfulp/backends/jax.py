"""L1: JAX arrays, by the rule on integer arrays; under jit, vmap and grad as well.

Only integers of 32 bits are needed for float32 and narrower, so it does not matter whether JAX was
told to keep 64. Nothing here does arithmetic on floats, which XLA may flush.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from halfulp.backends import numpy as arrays
from halfulp.carrier import Outcome
from halfulp.casting import Cast, cast_to, checked_seed
from halfulp.catalogue import Format, format
from halfulp.errors import HalfulpError
from halfulp.noise import PI, Key, absorbed, key_of
from halfulp.patterns import Carrier, fits, pattern_cast, plan, shape_of

Array = Any  # jax.Array, or what stands for one while it is traced

_UNSIGNED = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint64}
_INTEGERS = {32: jnp.int32, 64: jnp.int64}


def cast_spec(x: Array, spec: str, seed: Any, out: Any, grad: str | None) -> Array:
    """The values of ``x`` rounded as :attr:`Cast.spec` says, in x's own dtype and shape.

    ``seed`` may be an integer or, under jit, a traced int32. ``grad="straight_through"`` hands
    gradients on; without it the answer has none. Raises HalfulpError for dtypes that are no floats.
    """
    key = _checked(x, spec, seed, out)
    if grad is not None:
        return _straight_through(x, key, spec)
    return lax.stop_gradient(_cast(lax.stop_gradient(x), key, spec))


def encode_spec(x: Array, spec: str, seed: Any, out: Any) -> Array:
    """The codes of ``x`` as a spec says, in the least unsigned dtype that holds them."""
    key = _checked(x, spec, seed, out)
    size = arrays.code_dtype(Cast.of_spec(spec).target).itemsize
    if size == 8 and not jax.config.read("jax_enable_x64"):
        raise HalfulpError(
            f"codes of {Cast.of_spec(spec).target} have 64 bits, which JAX keeps only with "
            "jax_enable_x64"
        )
    return _patterns(lax.stop_gradient(x), key, spec, codes=True).astype(_UNSIGNED[size])


def decode_array(codes: Array, source: Format, dtype: Any = "float32", *, out: Any = None) -> Array:
    """The values of an array of codes, exactly; codes that the format has not wrap."""
    _refuse(out)
    name = np.dtype(dtype).name
    if not jnp.issubdtype(codes.dtype, jnp.integer):
        raise HalfulpError(f"codes are integers, not {codes.dtype}: use encode to make them")
    if source.width > 16:
        raise HalfulpError(f"JAX decodes codes of up to 16 bits: {source} has {source.width}")
    every = np.arange(source.codes, dtype=arrays.code_dtype(source))
    if not isinstance(codes, jax.core.Tracer):
        arrays.check_codes(np.asarray(codes), source)
    return jnp.asarray(arrays.decode_array(every, source, name))[codes]


def _refuse(out: Any) -> None:
    if out is not None:
        raise HalfulpError("out= cannot be used with JAX arrays, which are never written to")


def _checked(x: Array, spec: str, seed: Any, out: Any) -> Key:
    """The key of a cast of an array that can be cast."""
    _refuse(out)
    if np.dtype(x.dtype).name not in arrays.FLOAT_DTYPES:
        raise HalfulpError(
            f"an array of dtype {x.dtype} cannot be cast: give floats, such as x.astype('float32')"
        )
    if format(np.dtype(x.dtype).name).width < 8:
        raise HalfulpError(
            f"{x.dtype} has less than a byte, which JAX packs: give x.astype('float32')"
        )
    if isinstance(seed, (jax.Array, np.integer)) and jnp.issubdtype(seed.dtype, jnp.integer):
        return _traced_key(seed)
    key = key_of(checked_seed(Cast.of_spec(spec), seed))
    return Key(*(jnp.int32(word) for word in key))


def _traced_key(seed: Array) -> Key:
    """key_of a seed of 32 signed bits that is not known yet."""
    seed = jnp.asarray(seed).astype(jnp.int32)
    low, high = (jnp.int32(word) for word in PI)
    doubled = (seed << 1) ^ (seed >> 31)  # 2n, or -2n - 1 of a negative n
    low, high = absorbed(low, high, doubled)
    return Key(*absorbed(low, high, 0))


@lru_cache(maxsize=4)
def _carrier(bits: int) -> Carrier:
    integer, real = _INTEGERS[bits], {32: jnp.float32, 64: jnp.float64}[bits]
    source = format(np.dtype(real).name)

    def widen(value: Any) -> Any:
        return jnp.asarray(value).astype(integer)

    def float_field(value: Any) -> Any:
        pattern = lax.bitcast_convert_type(value.astype(real), integer)
        return (pattern >> source.fraction_bits) - source.bias

    return Carrier(f"jax_int{bits}", source, bits, widen, widen, float_field)


@lru_cache(maxsize=1024)
def _body(cast: Cast, carrier: Carrier, codes: bool) -> Callable[..., Any]:
    return pattern_cast(carrier, shape_of(cast, carrier, codes=codes))


def _patterns(x: Array, key: Key, spec: str, *, codes: bool) -> Array:
    """What the rule makes of x: codes, or patterns of the float32 or float64 it was widened to."""
    cast = Cast.of_spec(spec)
    bits = 64 if x.dtype == jnp.float64 else 32
    carrier = _carrier(bits)
    if not fits(cast, carrier.source, bits):
        raise HalfulpError(
            f"{cast.target} is wider than JAX arrays of {x.dtype} can be cast to: give float64 "
            "with jax_enable_x64, a NumPy array, or Python numbers"
        )
    integer = _INTEGERS[bits]
    ints: Any = plan(cast, carrier, 0, codes=codes)
    ints = ints._replace(
        outcome=Outcome._make(jnp.asarray(fate, integer) for fate in ints.outcome), key=key
    )
    pattern = _bits_of(x, integer)
    low = _indices(x.shape) if cast.is_stochastic else jnp.int32(0)
    return _body(cast, carrier, codes)(pattern, low, jnp.int32(0), ints)


def _bits_of(x: Array, integer: Any) -> Array:
    """The pattern of the float32 or float64 that a float is widened to."""
    dtype = np.dtype(x.dtype)
    if dtype.itemsize >= 4:
        return lax.bitcast_convert_type(x, integer)
    # Looked up: XLA may flush the subnormals of what it converts.
    table = arrays.every_pattern(dtype).astype(np.float32).view(np.int32)
    codes = lax.bitcast_convert_type(x, _UNSIGNED[dtype.itemsize])
    return jnp.asarray(table)[codes.astype(jnp.int32)]


def _indices(shape: tuple[int, ...]) -> Array:
    count = math.prod(shape)
    if count > 1 << 31:
        raise HalfulpError(
            f"stochastic rounding draws for at most {1 << 31} elements of a JAX array at a time: "
            f"found {count}; cast slices with seeds of their own"
        )
    return lax.iota(jnp.int32, count).reshape(shape)


def _cast(x: Array, key: Key, spec: str) -> Array:
    pattern = _patterns(x, key, spec, codes=False)
    dtype = np.dtype(x.dtype)
    if dtype.itemsize >= 4:
        return lax.bitcast_convert_type(pattern, x.dtype)
    wide = lax.bitcast_convert_type(pattern, jnp.float32)
    codes = _patterns(wide, key, cast_to(dtype.name).spec, codes=True)
    return lax.bitcast_convert_type(codes.astype(_UNSIGNED[dtype.itemsize]), x.dtype)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _straight_through(x: Array, key: Key, spec: str) -> Array:
    return _cast(x, key, spec)


@_straight_through.defjvp  # type: ignore[untyped-decorator]  # JAX is untyped here
def _handed_on(spec: str, primals: Any, tangents: Any) -> tuple[Array, Array]:
    x, key = primals
    return _straight_through(x, key, spec), tangents[0]
