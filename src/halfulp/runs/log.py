"""The log of a run: one SQLite file, written while the training goes on.

It is in WAL mode: readers see all samples that are whole, and a writer that is killed loses at most
the one it was writing. A file holds one run.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from halfulp.errors import HalfulpError
from halfulp.language import translate as _
from halfulp.runs.packing import packed
from halfulp.runs.samples import About, Event, Recorded, Sample, Series

VERSION = 1
APPLICATION = 0x68756C70  # "hulp", which SQLite keeps in a file's header
MEMORY = ":memory:"

TABLES = """
CREATE TABLE about (text TEXT NOT NULL);
CREATE TABLE series (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE samples (
    step INTEGER PRIMARY KEY, head TEXT NOT NULL,
    seen BLOB NOT NULL, counts BLOB NOT NULL, binades BLOB NOT NULL, updates BLOB
);
CREATE TABLE events (id INTEGER PRIMARY KEY, step INTEGER NOT NULL, text TEXT NOT NULL);
CREATE TABLE recorded (series INTEGER PRIMARY KEY, step INTEGER NOT NULL, elements BLOB NOT NULL);
"""


class LogWriter:
    """Writes a run to a new file, or to memory.

    Raises HalfulpError where the file exists, or cannot be written.
    """

    def __init__(self, path: str | Path, about: About) -> None:
        self.path = str(path)
        if self.path != MEMORY and Path(self.path).exists():
            raise HalfulpError(
                _(
                    "{path} exists already: a log holds one run, so name another file, or remove it"
                ).format(path=self.path)
            )
        self._series: dict[Series, int] = {}
        with self._said("cannot write"):
            # Backward hooks may run on a thread of the framework's.
            self.connection = sqlite3.connect(self.path, check_same_thread=False)
            self.connection.execute("PRAGMA journal_mode=WAL")
            self.connection.execute("PRAGMA synchronous=NORMAL")
            with self.connection:
                self.connection.executescript(
                    f"PRAGMA application_id={APPLICATION}; PRAGMA user_version={VERSION};{TABLES}"
                )
                self.connection.execute("INSERT INTO about VALUES (?)", (about.to_json(None),))

    def index(self, series: Series) -> int:
        """The number of a series; a new one for one that was not asked for yet."""
        return self._series.setdefault(series, len(self._series))

    def add(
        self, sample: Sample, events: Iterable[Event] = (), recorded: Iterable[Recorded] = ()
    ) -> None:
        """Write a sampled step, whole or not at all.

        Raises HalfulpError where it cannot be written, as on a full disk; nothing is lost of what
        was written before.
        """
        observed, updates = sample.observed, sample.updates
        row = (
            sample.head.step,
            sample.head.to_json(None),
            packed(observed[:7]),
            packed(observed[7:8]),
            packed(observed[8:]),
            None if updates is None else packed(updates),
        )
        pairs = [(r.series, r.step, packed((r.where, r.weights, r.updates))) for r in recorded]
        with self._said("cannot write to"), self.connection:
            self._write_series()
            self.connection.execute("INSERT OR REPLACE INTO samples VALUES (?,?,?,?,?,?)", row)
            self.connection.executemany("INSERT OR REPLACE INTO recorded VALUES (?,?,?)", pairs)
            self._write_events(events)

    def tell(self, *events: Event) -> None:
        """Write what happened at a step that is not sampled."""
        with self._said("cannot write to"), self.connection:
            self._write_events(events)

    def close(self) -> None:
        """No more is written. A run in memory is lost."""
        with self._said("cannot close"):
            self.connection.close()

    def _write_series(self) -> None:
        rows = ((number, json.dumps(series.to_dict())) for series, number in self._series.items())
        self.connection.executemany("INSERT OR IGNORE INTO series VALUES (?,?)", rows)

    def _write_events(self, events: Iterable[Event]) -> None:
        rows = [(event.step, event.to_json(None)) for event in events]
        self.connection.executemany("INSERT INTO events (step, text) VALUES (?,?)", rows)

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise HalfulpError(
                _("{what} the log {path}: {error}").format(what=what, path=self.path, error=error)
            ) from error
