"""L1: cast, encode and decode for whatever kind of number or array comes: the same kind goes back.

Arrays go to their backend, which is imported then; numbers take the exact path.
"""

from __future__ import annotations

import sys
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any

from halfulp.block_catalogue import BlockFormat, is_block_format
from halfulp.casting import Cast, Policy, checked_seed, code_number
from halfulp.catalogue import Format, format
from halfulp.errors import HalfulpError
from halfulp.exact import Number
from halfulp.noise import NOISE_BITS, key_of, random_word
from halfulp.profiles import profiled_cast
from halfulp.records import decimal_string


def cast(
    x: Any,
    target: str | Format | BlockFormat,
    rounding: str = "nearest_even",
    *,
    overflow: str | Policy | None = None,
    seed: int | None = None,
    random_bits: int = NOISE_BITS,
    out: Any = None,
    grad: str | None = None,
) -> Any:
    """``x`` rounded to the numbers of a format, once, from its exact value; as the kind that x is.

    ``x`` is a NumPy array, torch tensor or JAX array of floats (any shape, strides, byte order and
    device; the answer has its shape and dtype, or is written to ``out``), or a number: int, float,
    Fraction, Decimal or a text. ``rounding`` is one of ``nearest_even nearest_away toward_zero up
    down to_odd stochastic``; the last needs a ``seed`` and draws the same bits for every kind of
    array, by the element's place in C order. ``overflow`` is ``infinity``, ``nan``, ``saturate``,
    ``saturate_finite``, or a profile such as ``torch``; by default what NumPy and ml_dtypes do.
    ``grad="straight_through"`` hands gradients of tensors and JAX arrays on unchanged; without it
    the answer has none. A block format such as ``mxfp8`` or ``nvfp4`` takes NumPy arrays.

    Raises HalfulpError for unknown names, and for what is no number.

    >>> cast(1.12156456132, "float16"), cast("1.12156456132", "float16")
    (1.12109375, '1.12109375')
    """
    kind = kind_of(x)
    if is_block_format(target):
        _needs_numpy(kind, target)
        from halfulp import blocks

        values = blocks.cast_values(x, target, rounding, overflow, seed, random_bits, out)
        return _unwrapped(x, values)
    spec = _spec(target, rounding, overflow, random_bits)
    if kind in TRACED:
        return _module(kind).cast_spec(x, spec, seed, out, _checked_grad(grad))
    if grad is not None:
        raise HalfulpError("grad= goes with torch tensors and JAX arrays, which have gradients")
    job = Cast.of_spec(spec)
    seed = checked_seed(job, seed)
    if kind == "numpy":
        return _unwrapped(x, _module(kind).cast_array(_array(x), job, seed=seed, out=out))
    refuse_out(out)
    return as_kind_of(x, job.number(x, word=word_of(job, seed)))


def encode(
    x: Any,
    target: str | Format | BlockFormat,
    rounding: str = "nearest_even",
    *,
    overflow: str | Policy | None = None,
    seed: int | None = None,
    random_bits: int = NOISE_BITS,
    out: Any = None,
) -> Any:
    """The codes of ``x`` in a format: unsigned integers, as an array or as an int.

    In a block format they come with their scales, as :class:`halfulp.blocks.Blocks`. The arguments
    are those of :func:`cast`.

    >>> hex(encode(1.12156456132, "float16"))
    '0x3c7c'
    """
    kind = kind_of(x)
    if is_block_format(target):
        _needs_numpy(kind, target)
        refuse_out(out)
        from halfulp import blocks

        return blocks.encode_values(x, target, rounding, overflow, seed, random_bits)
    spec = _spec(target, rounding, overflow, random_bits)
    if kind in TRACED:
        return _module(kind).encode_spec(x, spec, seed, out)
    job = Cast.of_spec(spec)
    seed = checked_seed(job, seed)
    if kind == "numpy":
        return _unwrapped(x, _module(kind).encode_array(_array(x), job, seed=seed, out=out))
    refuse_out(out)
    return job.code(x, word=word_of(job, seed))


def decode(
    codes: Any, source: str | Format | None = None, dtype: Any = "float32", *, out: Any = None
) -> Any:
    """The values of codes: an array of ``dtype``, or for one Python int the exact value as a float
    (a Fraction where no float64 is as wide).

    Raises HalfulpError for codes the format does not have, and for a dtype that cannot hold it.

    >>> decode(0x3C7C, "float16")
    1.12109375
    """
    kind = kind_of(codes)
    if kind is None and not isinstance(codes, int):
        from halfulp.blocks import Blocks

        if isinstance(codes, Blocks):
            refuse_out(out)
            return codes.decode(dtype)
    if source is None:
        raise HalfulpError("which format the codes are of is missing: decode(codes, 'float16')")
    if kind in TRACED:
        return _module(kind).decode_name(codes, _name(source), dtype, out=out)
    found = format(source)
    if kind is not None:
        decoded = _module(kind).decode_array(_array(codes), found, dtype, out=out)
        return _unwrapped(codes, decoded)
    refuse_out(out)
    if isinstance(codes, bool) or not isinstance(codes, int):
        raise HalfulpError(f"codes are integers, not {type(codes).__name__}: {codes!r}")
    number = code_number(found, codes)
    as_float = number.to_float()
    exact = not number.is_finite or (abs(as_float) != float("inf") and as_float == number.value)
    return as_float if exact else number.value


@lru_cache(maxsize=1024, typed=True)
def _known_spec(*names: Any) -> str:
    return profiled_cast(*names).spec


def _spec(*names: Any) -> str:
    """A cast as one line of text: what compilers that look into this code can take as it is."""
    try:
        return _known_spec(*names)
    except TypeError:  # what cannot be hashed is no name either: let it say so
        return profiled_cast(*names).spec


def word_of(job: Cast, seed: int) -> int:
    """The random word of a single number: those of element 0."""
    return int(random_word(key_of(seed), 0, 0)) if job.is_stochastic else 0


def _needs_numpy(kind: str | None, target: Any) -> None:
    if kind != "numpy":
        raise HalfulpError(
            f"{target} needs a NumPy array, whose elements share scales: give x.numpy() of a "
            "tensor, numpy.asarray(x) of anything else"
        )


def refuse_out(out: Any) -> None:
    """Check that no ``out`` was given, where a number is asked for."""
    if out is not None:
        raise HalfulpError("out= goes with arrays: a single number is returned")


#: Frameworks whose compilers look into this code.
TRACED = ("torch", "jax")
GRADIENTS = ("straight_through",)


def _checked_grad(grad: str | None) -> str | None:
    if grad not in (None, *GRADIENTS):
        raise HalfulpError(f"grad is {grad!r}: allowed is None or 'straight_through'")
    return grad


def kind_of(x: Any) -> str | None:
    """The framework an array is of: ``numpy``, ``torch`` or ``jax``; None for a number.

    Raises HalfulpError for other containers of numbers.
    """
    # Without a framework having been imported, nothing can be one of its arrays.
    for name, types in (("numpy", ("ndarray", "generic")), ("torch", ("Tensor",)),
                        ("jax", ("Array",))):  # fmt: skip
        module = sys.modules.get(name)
        if module is not None and isinstance(x, tuple(getattr(module, t) for t in types)):
            return name
    if isinstance(x, (str, int, float, Fraction, Decimal, Number)):
        return None
    if hasattr(x, "__array__") or isinstance(x, (list, tuple)):
        raise HalfulpError(
            f"{type(x).__name__} is not supported here: give a NumPy array (numpy.asarray(x)), a "
            "torch tensor, a JAX array or a number"
        )
    return None


def _module(kind: str) -> Any:
    """A backend, imported when it is first used; spelt out, as torch.compile reads imports."""
    if kind == "torch":
        from halfulp.backends import torch

        return torch
    if kind == "jax":
        from halfulp.backends import jax

        return jax
    from halfulp.backends import numpy

    return numpy


def _name(source: str | Format) -> str:
    return format(source).name


# What torch.compiler.assume_constant_result would set, had torch been imported: torch.compile takes
# the answers as they are and does not look into how names are read.
_spec._dynamo_marked_constant = True  # type: ignore[attr-defined]  # torch's own attribute
_name._dynamo_marked_constant = True  # type: ignore[attr-defined]  # torch's own attribute


def _array(x: Any) -> Any:
    """A NumPy scalar as an array; arrays as they are."""
    numpy = sys.modules.get("numpy")
    is_scalar = numpy is not None and isinstance(x, numpy.generic)
    return numpy.asanyarray(x) if numpy is not None and is_scalar else x


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
