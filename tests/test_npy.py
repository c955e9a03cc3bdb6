"""Files of .npy: what NumPy writes is read without a copy, and what is hostile is a sentence."""

from __future__ import annotations

import io
import os
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfulp as hu
from halfulp import npy

MAGIC = b"\x93NUMPY"
GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"


def saved(x: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, x, version)
    return file.getvalue()


def made(text: str | bytes, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """A file of a header of one's own."""
    header = text if isinstance(text, bytes) else text.encode("latin-1")
    length = len(header).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    return MAGIC + version + length + header + body


def refused(data: bytes) -> str:
    """The sentence that a file is refused with; nothing of it is taken as an array."""
    taken: list[Any] = []
    real, np.frombuffer = np.frombuffer, lambda *a, **k: taken.append(a)
    try:
        with pytest.raises(hu.HalfulpError) as caught:
            npy.read(data)
    finally:
        np.frombuffer = real
    assert not taken
    assert len(str(caught.value)) < 500
    return str(caught.value)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (2, 3), (4, 1, 5)])
@pytest.mark.parametrize("fortran", [False, True])
def test_what_numpy_writes_is_read(
    dtype: str, order: str, version: tuple[int, int], shape: tuple[int, ...], fortran: bool
) -> None:
    x = np.random.default_rng(1).normal(size=shape).astype(np.dtype(dtype).newbyteorder(order))
    x = np.asarray(x, order="F" if fortran else "C")
    data = saved(x, version)
    found = npy.read(data)
    assert (found.shape, found.dtype) == (x.shape, x.dtype)
    assert found.tobytes() == x.tobytes()
    assert np.shares_memory(found, np.frombuffer(data, np.uint8))
    assert not found.flags.writeable
    head = npy.header(data[: npy.PREFIX], len(data))
    assert (head.dtype, head.big_endian, head.shape) == (dtype, order == ">", shape)
    assert head.elements == x.size
    assert np.array_equal(npy.read(memoryview(data)), found)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is no .npy file: it begins with b''"),
        (b"\x89PNG\r\n", "those of numpy.save with"),
        (b"PK\x03\x04rest", "an archive, such as .npz"),
        (MAGIC, "its version is none"),
        (MAGIC + b"\x09\x00", "its version is 9.0: allowed are 1.0, 2.0 and 3.0"),
        (MAGIC + b"\x02\x00\xff\xff\xff\xff", "ends at byte 4294967307, and the file has 12"),
        (MAGIC + b"\x01\x00\x40", "and the file has 9"),
        (made(b"\xff\xff", version=b"\x03\x00"), "its header is no text"),
        (made(" " * 10_001), "its header has 10001 bytes: allowed are 10000 at most"),
        (made("(" * 2000), "is no dict"), (made("[" * 900 + "]" * 900), "is no dict"),
        (made("-" * 2000 + "1"), "is no dict"), (made("1+" * 1000 + "1"), "is no dict"),
        (made("{'descr':" * 222), "is no dict"), (made("__import__('os').getpid()"), "is no dict"),
        (made("\x00"), "is no dict"), (made("{[]: 1}"), "is no dict"), (made("'\\d'"), "is no dict"),
        (made(GOOD.replace("(2, 3)", "10**9")), "is no dict"),
        (made(GOOD.replace("'descr'", "'dtype'")), "is no dict"),
        (made(GOOD.replace("}", "'more': 1}")), "is no dict"),
        (made(GOOD.replace("False", "0")), "its order is 0: allowed are True and False"),
        (made(GOOD.replace("'<f4'", "'|O'")), "Python objects, which are never read"),
        (made(GOOD.replace("'<f4'", "[('a', '<f4')]")), "its dtype has fields"),
        (made(GOOD.replace("<f4", "<i8")), "its dtype is '<i8': allowed are float16, float32"),
        (made(GOOD.replace("<f4", "<f16")), "its dtype is '<f16'"),
        (made(GOOD.replace("<f4", "<c8")), "its dtype is '<c8'"),
        (made(GOOD.replace("'<f4'", "None")), "its dtype is None"),
        (made(GOOD.replace("(2, 3)", "[2, 3]")), "its shape is [2, 3]: allowed is a tuple"),
        (made(GOOD.replace("(2, 3)", "(2.0,)")), "allowed is a tuple of integers"),
        (made(GOOD.replace("(2, 3)", "(True,)")), "allowed is a tuple of integers"),
        (made(GOOD.replace("(2, 3)", "(-1, -6)")), "from 0 to 2**63 - 1"),
        (made(GOOD.replace("(2, 3)", f"({2**63},)")), "from 0 to 2**63 - 1"),
        (made(GOOD.replace("(2, 3)", f"({'9' * 1900},)")), "from 0 to 2**63 - 1"),
        (made(GOOD.replace("(2, 3)", "(" + "1," * 33 + ")")), "33 dimensions: allowed are 32"),
        (made(GOOD.replace("(2, 3)", "(0, 5)")), "holds no element"),
        (made(GOOD.replace("(2, 3)", f"({2**62}, {2**62})")), "elements: allowed are 1073741824"),
        (made(GOOD.replace("(2, 3)", f"({2**30},)")), "take 4294967"),
        (made(GOOD, bytes(23)), "take 93 bytes, and the file has 92"),
        (made(GOOD, bytes(25)), "take 93 bytes, and the file has 94"),
    ],
)  # fmt: skip
def test_what_is_no_such_file_is_a_sentence(data: bytes, says: str) -> None:
    assert says in refused(data)


def test_a_good_header_is_good() -> None:
    assert npy.read(made(GOOD, bytes(24))).shape == (2, 3)  # what the bad ones above differ from


def test_pickled_objects_are_not_loaded() -> None:
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], object), allow_pickle=True)
    assert "never read" in refused(file.getvalue())
    assert "no .npy file" in refused(pickle.dumps([1]))


def test_a_huge_shape_takes_no_memory() -> None:
    data = made(GOOD.replace("(2, 3)", f"({2**29},)"), bytes(64))
    tracemalloc.start()
    refused(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_callers_bound_the_elements() -> None:
    data = saved(np.zeros(100, np.float32))
    assert npy.header(data, len(data), 100).elements == 100
    with pytest.raises(hu.HalfulpError, match="is 100 elements: allowed are 99"):
        npy.header(data, len(data), 99)
    with pytest.raises(hu.HalfulpError, match="is 100 elements: allowed are 99"):
        npy.read(data, 99)


def test_a_prefix_that_is_cut_is_told_from_a_file_that_is() -> None:
    data = saved(np.zeros(100, np.float32))
    with pytest.raises(hu.HalfulpError, match="only 50 bytes of it were given"):
        npy.header(data[:50], len(data))
    with pytest.raises(hu.HalfulpError, match="the file has 50"):
        npy.header(data[:50], 50)


WHOLE = saved(np.float32([[1.0, 2.0], [3.0, 4.0]]))


def tried(data: bytes) -> None:
    """An array that the file has room for, or a sentence before it is taken."""
    taken: list[int] = []
    real = np.frombuffer

    def counting(buffer: Any, dtype: Any, count: int, offset: int) -> Any:
        taken.append(np.dtype(dtype).itemsize * count + offset)
        return real(buffer, dtype, count, offset)

    np.frombuffer = counting
    try:
        found = npy.read(data)
        assert taken == [len(data)]
        assert found.dtype.kind == "f"
    except hu.HalfulpError:
        assert not taken
    finally:
        np.frombuffer = real


@given(
    st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=6),
    st.integers(0, len(WHOLE)),
)  # fmt: skip
def test_bytes_that_were_changed_or_cut(changes: list[tuple[int, int]], end: int) -> None:
    data = bytearray(WHOLE)
    for where, byte in changes:
        data[where] = byte
    tried(bytes(data))
    tried(bytes(data[:end]))


LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
    | st.sampled_from(["<f4", ">f8", "|O", "<f2", "float32"]) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=5) | st.lists(inner, max_size=5).map(tuple)
    | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@given(
    st.fixed_dictionaries({
        "descr": LITERALS | st.sampled_from(["<f2", "<f4", "<f8", ">f4"]),
        "fortran_order": LITERALS | st.booleans(),
        "shape": LITERALS | st.lists(st.integers(-2, 9), max_size=4).map(tuple),
    }),
    st.integers(0, 400), st.sampled_from([b"\x01\x00", b"\x02\x00", b"\x03\x00"]),
)  # fmt: skip
def test_headers_of_any_literals(fields: dict[str, Any], size: int, version: bytes) -> None:
    header = repr(fields).encode("utf-8", "backslashreplace")
    tried(made(header, bytes(size), version))


@given(
    st.text(max_size=300) | st.text(alphabet="{}()[]'\":,-+0123456789 eldrscfotanshp", max_size=300)
)
def test_headers_of_any_text(text: str) -> None:
    header = text.encode("utf-8", "backslashreplace")
    tried(made(header, bytes(16), b"\x03\x00"))
    tried(made(header, bytes(16)))


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes(data: bytes, with_magic: bool) -> None:
    tried(MAGIC * with_magic + data)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.arange(5000, dtype=np.float64))
    assert npy.read_file(path).tolist() == list(range(5000))
    with pytest.raises(hu.HalfulpError, match="has 40128 bytes: allowed are 40000"):
        npy.read_file(path, 40_000)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(hu.HalfulpError, match="the file has 40127"):
        npy.read_file(path)
    os.mkfifo(tmp_path / "pipe")
    for place, says in (
        (tmp_path, "no regular file"), (tmp_path / "pipe", "no regular file"),
        (tmp_path / "none", "No such file"), ("/dev/zero", "no regular file"), ("a\0", "null"),
        ("x" * 5000, "too long"),
    ):  # fmt: skip
        with pytest.raises(hu.HalfulpError, match=says):
            npy.read_file(place)


def test_a_hole_of_a_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big.npy"
    with path.open("wb") as file:
        file.write(made(GOOD))
        file.truncate(1 << 29)
    tracemalloc.start()
    with pytest.raises(hu.HalfulpError, match="the file has 536870912"):
        npy.read_file(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
