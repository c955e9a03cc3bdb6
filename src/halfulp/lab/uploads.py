"""Arrays that were uploaded: read from their bytes, bounded, kept in memory, never unpickled."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from threading import Lock
from typing import Any

from starlette.requests import ClientDisconnect, Request

from halfulp.errors import HalfulpError
from halfulp.language import translate as _
from halfulp.npy import PREFIX, header, read

MOST_BYTES = 16 << 20  # of an upload
MOST_KEPT = 4  # uploads; the one that was used longest ago goes first


class Uploads:
    """The last few arrays that were uploaded, by the hash of their bytes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self._lock = Lock()  # views take them from threads

    def add(self, data: bytes) -> str:
        """Keep an array as gradients; its name."""
        from halfulp.loss_scales.sources import of_array

        name = sha256(data).hexdigest()[:16]
        found = of_array("upload.npy", read(data))
        with self._lock:
            self._kept[name] = found
            self._kept.move_to_end(name)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return name

    def get(self, name: str) -> Any:
        """The gradients of an array by its name.

        Raises HalfulpError for one that is not there, or not any more.
        """
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
        text = _("the uploaded file is gone, for the last {kept} are kept: upload it again")
        raise HalfulpError(text.format(kept=MOST_KEPT))


async def take(request: Request, uploads: Uploads) -> str:
    """The name of what a request brings, whose body is a .npy file.

    Its length is known and checked before the body is read, its header before memory is taken for
    more. Raises HalfulpError for what is no such file.
    """
    total = _length(request.headers)
    found = bytearray()
    checked = False
    with suppress(ClientDisconnect):  # what was sent is too short then
        async for chunk in request.stream():
            found += chunk
            if len(found) > total:
                raise HalfulpError(
                    _("the upload is longer than it said: {total} bytes").format(total=total)
                )
            if not checked and (len(found) >= PREFIX or len(found) == total):
                header(bytes(found[:PREFIX]), total)
                checked = True
    if len(found) != total:
        raise HalfulpError(
            _("the upload ended after {found} of {total} bytes").format(
                found=len(found), total=total
            )
        )
    return await asyncio.to_thread(uploads.add, bytes(found))  # sorting millions takes a second


def _length(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "")
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise HalfulpError(_("the upload does not say how long it is: send its Content-Length"))
    total = int(text)
    if not 0 < total <= MOST_BYTES:
        raise HalfulpError(
            _("the upload has {total} bytes: the lab takes 1 to {most}, halfulp scale more").format(
                total=total, most=MOST_BYTES
            )
        )
    return total
