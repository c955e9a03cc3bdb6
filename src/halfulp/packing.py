"""L1: codes of less than a byte, packed without gaps, and taken apart again.

The first code lies in the lowest bits: two 4-bit codes to a byte with the first in the low half, as
torch's float4_e2m1fn_x2 and ONNX have them, and longer streams of bits little-endian.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from halfulp.errors import HalfulpError

if TYPE_CHECKING:
    import numpy


def pack(codes: Any, bits: int) -> bytes:
    """Codes of ``bits`` bits (1 to 8) each, in C order, as bytes; the last is filled with zeros.

    Raises HalfulpError for codes that need more bits, and for what is no array of integers.

    >>> import numpy as np
    >>> pack(np.array([0x1, 0x2, 0xF]), 4).hex()
    '210f'
    """
    import numpy as np

    _check_bits(bits)
    array = np.asarray(codes)
    if array.dtype.kind not in "iu":
        raise HalfulpError(f"codes are integers, not {array.dtype}: use encode to make them")
    if array.size and not 0 <= int(array.min()) <= int(array.max()) < 1 << bits:
        wrong = int(array.min()) if int(array.min()) < 0 else int(array.max())
        raise HalfulpError(f"code {wrong} does not fit {bits} bits: they hold 0 to {2**bits - 1}")
    each = np.unpackbits(
        np.ascontiguousarray(array, np.uint8).reshape(-1, 1), axis=1, count=bits, bitorder="little"
    )
    return np.packbits(each, bitorder="little").tobytes()


def unpack(data: bytes, bits: int, count: int) -> numpy.ndarray[Any, Any]:
    """``count`` codes of ``bits`` bits (1 to 8) each from what :func:`pack` made, as uint8.

    Raises HalfulpError where ``data`` has another number of bytes.

    >>> unpack(bytes.fromhex("210f"), 4, 3).tolist()
    [1, 2, 15]
    """
    import numpy as np

    _check_bits(bits)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise HalfulpError(f"count is {count!r}: give the number of codes")
    needed = -(-count * bits // 8)
    if len(data) != needed:
        raise HalfulpError(f"{count} codes of {bits} bits take {needed} bytes: found {len(data)}")
    stream = np.unpackbits(np.frombuffer(data, np.uint8), count=count * bits, bitorder="little")
    codes = np.packbits(stream.reshape(count, bits), axis=1, bitorder="little")
    return codes.reshape(count)


def _check_bits(bits: int) -> None:
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 8:
        raise HalfulpError(f"codes of {bits!r} bits were asked for: allowed are 1 to 8")
