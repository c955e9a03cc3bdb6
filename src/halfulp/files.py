"""L0: writing a file whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from halfulp.errors import HalfulpError


def write_text(path: str | Path, text: str) -> Path:
    """Write a text through a temporary file beside it and a rename, so that none is left half.

    Raises HalfulpError as :func:`check_writable` does, and where the disk does not take it.
    """
    target = check_writable(path)
    partial = target.with_name(f".halfulp-{os.getpid()}.part")
    try:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")
        partial.replace(target)
    except OSError as error:
        raise HalfulpError(f"cannot write {target}: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)
    return target


def check_writable(path: str | Path) -> Path:
    """The file behind any links; or say, before long work, that it could not be written.

    Raises HalfulpError for folders, devices and pipes, and for folders that are not there.
    """
    try:
        target = Path(path).resolve()
        if target.is_dir():
            raise HalfulpError(f"cannot write {path}: it is a folder; name a file in it")
        if target.exists() and not target.is_file():
            raise HalfulpError(f"cannot write {path}: it is no regular file")
        if not target.parent.is_dir():
            raise HalfulpError(f"cannot write {path}: the folder {target.parent} does not exist")
        if not os.access(target.parent, os.W_OK):
            raise HalfulpError(f"cannot write {path}: the folder {target.parent} is not writable")
    except (OSError, ValueError) as error:  # a name too long, or with a null character
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, HalfulpError):
            raise
        raise HalfulpError(f"cannot write {path}: {reason}") from None
    return target
