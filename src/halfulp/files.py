"""L0: writing a file whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from halfulp.errors import HalfulpError
from halfulp.language import translate as _


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """A file beside the one that is wanted, to be written, which takes its place at the end.

    Raises HalfulpError as :func:`check_writable` does, and where the disk does not take it.
    """
    target = check_writable(path)
    partial = target.with_name(f".halfulp-{os.getpid()}.part")
    try:
        yield partial
        partial.replace(target)
    except OSError as error:
        raise HalfulpError(
            _("cannot write {path}: {reason}").format(path=target, reason=error.strerror or error)
        ) from None
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> Path:
    """Write a text whole or not at all.

    Raises HalfulpError as :func:`written_whole` does.
    """
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    return Path(path).resolve()


def check_writable(path: str | Path) -> Path:
    """The file behind any links; or say, before long work, that it could not be written.

    Raises HalfulpError for folders, devices and pipes, and for folders that are not there.
    """
    try:
        target = Path(path).resolve()
        if target.is_dir():
            raise HalfulpError(
                _("cannot write {path}: it is a folder; name a file in it").format(path=path)
            )
        if target.exists() and not target.is_file():
            raise HalfulpError(_("cannot write {path}: it is no regular file").format(path=path))
        if not target.parent.is_dir():
            raise HalfulpError(
                _("cannot write {path}: the folder {parent} does not exist").format(
                    path=path, parent=target.parent
                )
            )
        if not os.access(target.parent, os.W_OK):
            raise HalfulpError(
                _("cannot write {path}: the folder {parent} is not writable").format(
                    path=path, parent=target.parent
                )
            )
    except (OSError, ValueError) as error:  # a name too long, or with a null character
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, HalfulpError):
            raise
        raise HalfulpError(
            _("cannot write {path}: {reason}").format(path=path, reason=reason)
        ) from None
    return target
