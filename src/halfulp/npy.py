"""L0: NumPy's .npy files read without trust: floats only, and never more than the file has.

The header is a Python literal. It is bounded before it is parsed, parsed as a literal (nothing is
evaluated or unpickled), and its shape must come to exactly the bytes that are there before any
memory is taken.

Source: NumPy Enhancement Proposal 1, versions 1.0, 2.0 and 3.0 of the format.
"""

from __future__ import annotations

import ast
import math
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from halfulp.errors import HalfulpError
from halfulp.language import N_
from halfulp.language import translate as _

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MAGIC = b"\x93NUMPY"
ZIP = b"PK\x03\x04"
#: What dtypes are read, by the code in the header: the name and the bytes of an element.
DTYPES = {"f2": ("float16", 2), "f4": ("float32", 4), "f8": ("float64", 8)}
ALLOWED = N_("allowed are float16, float32 and float64")
LONGEST = 10_000  # bytes of a header, as NumPy bounds it
MOST_TEXT = 2048  # of them, without the spaces they end in; what is parsed
MOST_DIMENSIONS = 32  # that every version of NumPy can have
PREFIX = 12 + LONGEST  # bytes that hold any header that is read
MOST_ELEMENTS = MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class NpyHeader:
    """What a .npy file says it holds: it is true of its size.

    >>> NpyHeader("float32", False, (2, 3), False, 128).elements
    6
    """

    dtype: str  # "float16", "float32" or "float64"
    big_endian: bool
    shape: tuple[int, ...]  # without a dimension: one element
    fortran: bool  # whether the first index runs fastest
    offset: int  # bytes before the elements

    @property
    def elements(self) -> int:
        """How many there are."""
        return math.prod(self.shape)


def header(prefix: bytes, total: int, most: int = MOST_ELEMENTS) -> NpyHeader:
    """What the first bytes of a .npy file say, checked against its size; no memory is taken.

    ``prefix`` is the file's first ``PREFIX`` bytes (or all of it), ``total`` its size in bytes and
    ``most`` how many elements are allowed.

    Raises HalfulpError for what is no .npy file, for what holds anything but floats of 16, 32 or 64
    bits, and where header and size do not fit each other.

    >>> import io, numpy as np
    >>> file = io.BytesIO()
    >>> np.save(file, np.zeros((2, 3), "float32"))
    >>> found = header(file.getvalue(), len(file.getvalue()))
    >>> found.dtype, found.shape, found.offset
    ('float32', (2, 3), 128)
    """
    text, offset = _text(prefix, total)
    descr, fortran, shape = _fields(text)
    code, big_endian = _checked_dtype(descr)
    name, size = DTYPES[code]
    found = NpyHeader(name, big_endian, _checked_shape(shape), fortran, offset)
    if not found.elements:
        raise _refused(
            _("shape {shape} holds no element: at least one is needed").format(shape=_short(shape))
        )
    if found.elements > most:
        raise _refused(
            _("shape {shape} is {elements} elements: allowed are {most}").format(
                shape=_short(shape), elements=found.elements, most=most
            )
        )
    if offset + size * found.elements != total:
        raise _refused(
            _(
                "{name} of shape {shape} after {offset} bytes of header take {elements} bytes, "
                "and the file has {total}"
            ).format(
                name=name,
                shape=_short(shape),
                offset=offset,
                elements=offset + size * found.elements,
                total=total,
            )
        )
    return found


def read(data: bytes | memoryview, most: int = MOST_ELEMENTS) -> npt.NDArray[np.floating[Any]]:
    """The array of a .npy file, as a view of its bytes: nothing is copied.

    Raises HalfulpError as :func:`header` does.

    >>> import io, numpy as np
    >>> file = io.BytesIO()
    >>> np.save(file, np.float16([[1, 2], [3, 4]]))
    >>> read(file.getvalue()).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    whole = memoryview(data).cast("B")
    found = header(bytes(whole[:PREFIX]), len(whole), most)
    import numpy as np

    dtype = np.dtype(found.dtype).newbyteorder(">" if found.big_endian else "<")
    flat = np.frombuffer(whole, dtype, found.elements, found.offset)
    return flat.reshape(found.shape, order="F" if found.fortran else "C")


def read_file(path: str | Path, most_bytes: int = MOST_BYTES) -> npt.NDArray[np.floating[Any]]:
    """The array of a .npy file of at most so many bytes.

    Raises HalfulpError as :func:`header` does, for what is no regular file, cannot be read, or has
    more bytes; what is in it is looked at before all of it is read.
    """
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait
            raise HalfulpError(_("{path} is no regular file: give a .npy file").format(path=path))
        if status.st_size > most_bytes:
            raise HalfulpError(
                _("{path} has {size} bytes: allowed are {most} at most").format(
                    path=path, size=status.st_size, most=most_bytes
                )
            )
        with Path(path).open("rb") as file:
            prefix = file.read(PREFIX)
            header(prefix, status.st_size)
            file.seek(0)
            return read(file.read(status.st_size))
    except (OSError, ValueError) as error:  # a name too long, or with a null character
        if isinstance(error, HalfulpError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise HalfulpError(
            _("cannot read {path}: {reason}; give a .npy file").format(path=path, reason=reason)
        ) from None


def _text(prefix: bytes, total: int) -> tuple[str, int]:
    """The header's text, and where it ends."""
    if prefix[: len(ZIP)] == ZIP:
        raise HalfulpError(_("this is an archive, such as .npz: give one .npy file out of it"))
    if prefix[: len(MAGIC)] != MAGIC:
        raise HalfulpError(
            _(
                "this is no .npy file: it begins with {begins!r}, and those of numpy.save with "
                "{magic!r}"
            ).format(begins=prefix[:6], magic=MAGIC)
        )
    version = tuple(prefix[6:8])
    if version not in ((1, 0), (2, 0), (3, 0)):
        shown = ".".join(map(str, version)) or "none"
        raise _refused(
            _("its version is {shown}: allowed are 1.0, 2.0 and 3.0").format(shown=shown)
        )
    start = 10 if version == (1, 0) else 12
    length = int.from_bytes(prefix[8:start], "little")
    if total < start + length or len(prefix) < start:
        raise _refused(
            _("its header ends at byte {length}, and the file has {total}").format(
                length=start + length, total=total
            )
        )
    if length > LONGEST:
        raise _refused(
            _("its header has {length} bytes: allowed are {most} at most").format(
                length=length, most=LONGEST
            )
        )
    if len(prefix) < start + length:
        raise _refused(
            _("only {found} bytes of it were given: the header needs more").format(
                found=len(prefix)
            )
        )
    try:
        text = prefix[start : start + length].decode("utf-8" if version == (3, 0) else "latin-1")
    except UnicodeDecodeError:
        raise _refused(_("its header is no text")) from None
    return text.strip(), start + length


def _fields(text: str) -> tuple[Any, bool, Any]:
    """Its dtype, whether it is in Fortran's order, and its shape, as the header gives them."""
    try:
        # No header is long but for spaces, or needs a backslash, some of which are warned of.
        found = None if len(text) > MOST_TEXT or "\\" in text else ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        found = None
    if not isinstance(found, dict) or set(found) != {"descr", "fortran_order", "shape"}:
        raise _refused(
            _("its header is no dict of a dtype, an order and a shape: {text}").format(
                text=_short(text)
            )
        )
    fortran = found["fortran_order"]
    if not isinstance(fortran, bool):
        raise _refused(
            _("its order is {order}: allowed are True and False").format(order=_short(fortran))
        )
    return found["descr"], fortran, found["shape"]


def _checked_dtype(descr: Any) -> tuple[str, bool]:
    """The code of a dtype that is read, and whether it is big-endian."""
    if isinstance(descr, (list, tuple)):
        raise _refused(
            _("its dtype has fields, {dtype}: {allowed}").format(
                dtype=_short(descr), allowed=_(ALLOWED)
            )
        )
    if not isinstance(descr, str):
        raise _refused(
            _("its dtype is {dtype}: {allowed}").format(dtype=_short(descr), allowed=_(ALLOWED))
        )
    if "O" in descr:
        raise _refused(
            _("it holds Python objects, which are never read: {allowed}").format(allowed=_(ALLOWED))
        )
    if descr[:1] not in ("<", ">") or descr[1:] not in DTYPES:
        raise _refused(
            _("its dtype is {dtype}: {allowed}").format(dtype=_short(descr), allowed=_(ALLOWED))
        )
    return descr[1:], descr[0] == ">"


def _checked_shape(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or not all(type(size) is int for size in shape):
        raise _refused(
            _("its shape is {shape}: allowed is a tuple of integers").format(shape=_short(shape))
        )
    if len(shape) > MOST_DIMENSIONS:
        raise _refused(
            _("its shape has {found} dimensions: allowed are {most} at most").format(
                found=len(shape), most=MOST_DIMENSIONS
            )
        )
    if any(not 0 <= size < 1 << 63 for size in shape):
        raise _refused(
            _("its shape is {shape}: sizes are allowed from 0 to 2**63 - 1").format(
                shape=_short(shape)
            )
        )
    return shape


def _refused(why: str) -> HalfulpError:
    return HalfulpError(_("this .npy file cannot be read: {why}").format(why=why))


def _short(value: Any) -> str:
    """What was found, in a few characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an int of too many digits, a list too deep
        return _("beyond printing")
    return text if len(text) <= 60 else f"{text[:57]}…"
