"""L1: arrays in block formats: their values, their codes with scales, and these packed.

Reached by halfulp.cast, encode and decode, which take the names of block formats as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from halfulp.block_catalogue import BlockFormat, block_format
from halfulp.casting import Cast, Policy, checked_seed
from halfulp.catalogue import Format, NanStyle
from halfulp.errors import HalfulpError
from halfulp.language import translate as _
from halfulp.packing import pack, unpack
from halfulp.profiles import profiled_cast
from halfulp.records import Record


@dataclass(frozen=True, eq=False)
class Blocks(Record):
    """An array in a block format, as codes.

    The value of an element is element × scale of its block × ``tensor_scale``.
    """

    format: BlockFormat
    codes: Any  # uint8, of the array's shape: codes of the element format
    scales: Any  # codes of the scale format: the array's shape, but the axis has one a block
    tensor_scale: float = 1.0

    def __str__(self) -> str:
        return (
            f"Blocks({self.format}: {self.codes.size} elements of {self.format.element} in "
            f"{self.scales.size} blocks, tensor scale {self.tensor_scale:g})"
        )

    def decode(self, dtype: str = "float32") -> Any:
        """The values, in float32 or float64.

        Raises HalfulpError where shapes or codes do not belong together.
        """
        from halfulp.backends.blocks import Coded, decode_blocks

        coded = Coded(self.codes, self.scales, self.tensor_scale)
        return decode_blocks(coded, self.format, dtype)

    def packed(self) -> tuple[bytes, bytes]:
        """Elements without gaps and scales, as bytes in C order.

        Fixed-point elements (MXINT8) are in two's complement, as the MX specification has them.
        """
        codes = _twos_complement(self.codes, self.format.element)
        return pack(codes, self.format.element.width), self.scales.tobytes()

    @classmethod
    def from_packed(
        cls, f: str | BlockFormat, shape: tuple[int, ...], elements: bytes, scales: bytes,
        tensor_scale: float = 1.0,
    ) -> Blocks:  # fmt: skip
        """The blocks that :meth:`packed` made of an array of ``shape``.

        Raises HalfulpError where the bytes are not as many as the shape needs.
        """
        import numpy as np

        found = block_format(f)
        if not -len(shape) <= found.axis < len(shape):
            raise HalfulpError(
                _("{format} has blocks along axis {axis}: {shape} has no such").format(
                    format=found, axis=found.axis, shape=shape
                )
            )
        count = int(np.prod(shape, dtype=np.int64))
        codes = _sign_magnitude(unpack(elements, found.element.width, count), found.element)
        blocked = list(shape)
        blocked[found.axis] = -(-shape[found.axis] // found.size)
        dtype = np.dtype(np.uint8 if found.scale.width <= 8 else np.uint16)
        needed = int(np.prod(blocked, dtype=np.int64)) * dtype.itemsize
        if len(scales) != needed:
            raise HalfulpError(
                _("{shape} scales take {needed} bytes: found {found}").format(
                    shape=tuple(blocked), needed=needed, found=len(scales)
                )
            )
        own = np.frombuffer(scales, dtype).reshape(blocked)
        return cls(found, codes.reshape(shape), own, tensor_scale)


def _is_fixed_point(element: Format) -> bool:
    """Whether codes of one sign are evenly spaced: as integers, hardware has them signed."""
    evenly = element.exponent_bits == 1 and element.nan is NanStyle.NONE
    return evenly and not element.infinities and not element.signed_zero


def _twos_complement(codes: Any, element: Format) -> Any:
    if not _is_fixed_point(element):
        return codes
    magnitude, negative = codes & (element.sign_bit - 1), (codes & element.sign_bit) != 0
    return (magnitude.astype("int16") * (1 - 2 * negative)) & (element.codes - 1)


def _sign_magnitude(codes: Any, element: Format) -> Any:
    if not _is_fixed_point(element):
        return codes
    signed = codes.astype("int16") - ((codes & element.sign_bit) != 0) * element.codes
    if (signed == -element.sign_bit).any():
        raise HalfulpError(
            _("the code {code} (-2.0) is unused in {element}: its numbers are symmetric").format(
                code=element.hex(element.sign_bit), element=element
            )
        )
    return (abs(signed) + (signed < 0) * element.sign_bit).astype("uint8")


def element_cast(
    f: BlockFormat, rounding: str, overflow: str | Policy | None, random_bits: int
) -> Cast:
    """The cast of elements: what lies beyond the largest saturates unless said otherwise."""
    return profiled_cast(f.element, rounding, overflow or "saturate", random_bits)


def cast_values(
    x: Any, target: str | BlockFormat, rounding: str, overflow: str | Policy | None,
    seed: int | None, random_bits: int, out: Any,
) -> Any:  # fmt: skip
    """The values of a NumPy array in a block format, in its own dtype."""
    from halfulp.backends.blocks import cast_blocks

    found = block_format(target)
    cast = element_cast(found, rounding, overflow, random_bits)
    return cast_blocks(x, found, cast, seed=checked_seed(cast, seed), out=out)


def encode_values(
    x: Any, target: str | BlockFormat, rounding: str, overflow: str | Policy | None,
    seed: int | None, random_bits: int,
) -> Blocks:  # fmt: skip
    """A NumPy array as codes and scales."""
    from halfulp.backends.blocks import encode_blocks

    found = block_format(target)
    cast = element_cast(found, rounding, overflow, random_bits)
    coded = encode_blocks(x, found, cast, seed=checked_seed(cast, seed))
    return Blocks(found, *coded)
