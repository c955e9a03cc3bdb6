"""L0: writing a file whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from halfulp.errors import HalfulpError


def write_text(path: str | Path, text: str) -> Path:
    """Write a text through a temporary file beside it and a rename, so that none is left half.

    Raises HalfulpError where the folder is missing or cannot be written.
    """
    target = Path(path)
    check_writable(target)
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise HalfulpError(f"cannot write {target}: {error.strerror}") from None
    return target


def check_writable(path: str | Path) -> None:
    """Say before long work that its result could not be written.

    Raises HalfulpError as :func:`write_text` would.
    """
    target = Path(path)
    if target.is_dir():
        raise HalfulpError(f"cannot write {target}: it is a folder; name a file in it")
    if not target.parent.is_dir():
        raise HalfulpError(f"cannot write {target}: the folder {target.parent} does not exist")
    if not os.access(target.parent, os.W_OK):
        raise HalfulpError(f"cannot write {target}: the folder {target.parent} is not writable")
