"""A run as it is read: from a log that is finished, or still being written."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from halfulp.errors import HalfulpError
from halfulp.language import N_
from halfulp.language import translate as _
from halfulp.runs.log import APPLICATION, VERSION
from halfulp.runs.packing import unpacked
from halfulp.runs.samples import (
    About,
    Event,
    Head,
    Observed,
    Recorded,
    Sample,
    Series,
    UpdateRows,
    Way,
)

# A view in place of a table could compute for ever; ours has none.
FOREIGN = (
    "SELECT count(*) FROM sqlite_master WHERE type IN ('view', 'trigger') "
    "OR sql LIKE 'CREATE VIRTUAL%'"
)
WRITTEN = N_("that halfulp.training.watch(…, log=…) wrote")


def read_run(path: str | Path) -> Run:
    """The run of a log; of one that is being written, what is there now.

    Raises HalfulpError for what is no log of halfulp, one of another version, and one that is
    damaged.
    """
    if Path(path).is_dir():
        raise HalfulpError(
            _("{path} is a folder: give the log in it, {written}").format(
                path=path, written=_(WRITTEN)
            )
        )
    if not Path(path).is_file():
        raise HalfulpError(
            _("there is no log {path}: give a file {written}").format(path=path, written=_(WRITTEN))
        )
    file = Path(path).resolve()
    # A finished log has no journal beside it; SQLite would leave an empty one there, or need to.
    finished = not file.with_name(f"{file.name}-wal").exists()
    if finished and not file.stat().st_size:
        raise HalfulpError(
            _("{path} is empty: give a file {written}").format(path=path, written=_(WRITTEN))
        )
    place = f"{file.as_uri()}?mode=ro{'&immutable=1' if finished else ''}"
    try:
        connection = sqlite3.connect(place, uri=True, check_same_thread=False)
    except sqlite3.Error as error:
        raise HalfulpError(
            _("{path} cannot be read as a log: {error}").format(path=path, error=error)
        ) from error
    return Run(connection, str(path))


class Run:
    """What a training was seen to do. Columns are read when they are asked for."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self._connection, self.path = connection, path
        application = self._one("PRAGMA application_id")
        version = self._one("PRAGMA user_version")
        if application != APPLICATION or self._one(FOREIGN):
            raise HalfulpError(
                _("{path} is an SQLite file, but no log {written}").format(
                    path=path, written=_(WRITTEN)
                )
            )
        if version != VERSION:
            raise HalfulpError(
                _(
                    "{path} is a log of version {version}, and this halfulp reads version "
                    "{known}: read it with the halfulp that wrote it"
                ).format(path=path, version=version, known=VERSION)
            )

    @cached_property
    def about(self) -> About:
        """What was watched, and how."""
        text = self._one("SELECT text FROM about")
        with self._understood():
            value = json.loads(text)
            value["ways"] = tuple(Way(**way) for way in value["ways"])
            value["formats"] = tuple(value["formats"])
            value["versions"] = tuple(tuple(pair) for pair in value["versions"])
            return About(**value)

    @cached_property
    def series(self) -> tuple[Series, ...]:
        """The series by their numbers."""
        self.heads  # noqa: B018 - first: a sample that is written in between may bring new series
        rows = self._rows("SELECT text FROM series ORDER BY id")
        with self._understood():
            return tuple(Series(**json.loads(text)) for (text,) in rows)

    @cached_property
    def heads(self) -> tuple[Head, ...]:
        """The sampled steps, in order."""
        rows = self._rows("SELECT head FROM samples ORDER BY step")
        with self._understood():
            return tuple(_head(json.loads(text)) for (text,) in rows)

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """What happened, in order."""
        rows = self._rows("SELECT text FROM events ORDER BY id")
        with self._understood():
            return tuple(Event(**json.loads(text)) for (text,) in rows)

    def __len__(self) -> int:
        return len(self.heads)

    def observed(self, step: int) -> Observed:
        """What tensors held at a sampled step.

        Raises HalfulpError for a step that was not sampled.
        """
        seen, counts, binades = self._columns("seen, counts, binades", step)
        with self._understood():
            return Observed(*unpacked(seen), *unpacked(counts), *unpacked(binades))

    def seen(self, step: int) -> Sequence[Any]:
        """The first columns of :class:`Observed` alone, which are read much faster."""
        return unpacked(self._columns("seen", step)[0])

    def updates(self, step: int) -> UpdateRows | None:
        """What became of the updates of a sampled step; None where it was not taken."""
        (blob,) = self._columns("updates", step)
        with self._understood():
            return None if blob is None else UpdateRows(*unpacked(blob))

    def sample(self, step: int) -> Sample:
        """All of a sampled step."""
        head = next(h for h in self.heads if h.step == step)
        return Sample(head, self.observed(step), self.updates(step))

    def recorded(self) -> Iterator[Recorded]:
        """Elements of weights with the updates meant for them, at the last sample of each."""
        for series, step, blob in self._rows("SELECT series, step, elements FROM recorded"):
            with self._understood():
                found = Recorded(series, step, *unpacked(blob))
            yield found

    def steps(self, most: int | None = None) -> list[int]:
        """The sampled steps, or so many of them, evenly spread, with the first and the last."""
        every = [head.step for head in self.heads]
        if most is None or len(every) <= most:
            return every
        last = len(every) - 1
        return [every[last * i // (most - 1)] for i in range(most)]

    def to_pandas(self, table: str = "tensors", most: int | None = None) -> Any:
        """A table as a pandas DataFrame; as :func:`halfulp.runs.exports.to_pandas`."""
        from halfulp.runs.exports import to_pandas

        return to_pandas(self, table, most)

    def close(self) -> None:
        """Read no more."""
        self._connection.close()

    def _columns(self, names: str, step: int) -> Any:
        rows = self._rows(f"SELECT {names} FROM samples WHERE step = ?", (step,))
        if not rows:
            raise HalfulpError(
                _("step {step} was not sampled: every {every} was").format(
                    step=step, every=self.about.every
                )
            )
        return rows[0]

    @contextmanager
    def _understood(self) -> Iterator[None]:
        try:
            yield
        except HalfulpError as error:
            raise HalfulpError(
                _("{path} is damaged: {error}").format(path=self.path, error=error)
            ) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise HalfulpError(
                _("{path} is damaged: what it says makes no sense").format(path=self.path)
            ) from error

    def _one(self, query: str) -> Any:
        rows = self._rows(query)
        if not rows:
            raise HalfulpError(
                _("{path} is an empty log: nothing was written to it yet").format(path=self.path)
            )
        return rows[0][0]

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        try:
            return self._connection.execute(query, values).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if "not a database" in str(error):
                raise HalfulpError(
                    _("{path} is no log: give a file {written}").format(
                        path=self.path, written=_(WRITTEN)
                    )
                ) from error
            if "decode" in str(error):
                raise HalfulpError(
                    _("{path} is damaged: a text in it is none").format(path=self.path)
                ) from error
            raise HalfulpError(
                _("{path} cannot be read as a log: {error}").format(path=self.path, error=error)
            ) from error


def _head(value: dict[str, Any]) -> Head:
    value["settings"] = tuple((name, float(number)) for name, number in value["settings"])
    return Head(**value)
