"""L3: a run as long tables: pandas DataFrames, and CSV and Parquet files.

Tables are made in blocks, a sampled step each, so that a file of any length takes little memory.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from halfulp.errors import HalfulpError, listed, missing_extra, unknown
from halfulp.files import check_writable, written_whole
from halfulp.language import translate as _
from halfulp.runs.samples import KINDS, Observed, UpdateRows

if TYPE_CHECKING:
    from halfulp.runs.reading import Run

Array = npt.NDArray[Any]
Progress = Callable[[int], None]  # called with how many sampled steps are done

#: Rows of a group of a Parquet file, about: what is held in memory at a time.
GROUP = 200_000

# Columns that may lack values, or be empty: what pandas is to take them for.
_TEXT, _NUMBER, _TRUTH = "string", "float64", "boolean"
_KINDS = {
    "kind": _TEXT, "sentence": _TEXT, "parameter": _TEXT, "details": _TEXT,
    "loss_scale": _NUMBER, "scale_after": _NUMBER, "taken": _TRUTH,
}  # fmt: skip


class Names(NamedTuple):
    """A column of recurring texts."""

    codes: Array
    texts: Sequence[str]

    def tolist(self) -> list[str]:
        """The texts, row after row."""
        return [self.texts[code] for code in self.codes.tolist()]


Block = dict[str, Any]  # columns of one length by their names: lists, arrays and Names


def to_pandas(run: Run, table: str = "tensors", most: int | None = None) -> Any:
    """A table of a run as a pandas DataFrame; of all sampled steps, or of so many, evenly spread.

    ``tensors`` has a row a series and sampled step, with counts of what a cast to each candidate
    would do (``float16_underflow``); ``updates`` a row a parameter, step and way; ``events`` what
    happened; ``samples`` the sampled steps.

    Raises HalfulpError for an unknown table, and where pandas is not installed.
    """
    found = blocks(run, table, most)
    try:
        import pandas
    except ModuleNotFoundError:
        raise missing_extra("pandas", "report", "to_pandas") from None
    return _frame(pandas, list(found))


def export(
    run: Run, path: str | Path, table: str = "tensors", progress: Progress | None = None
) -> Path:
    """Write a table of a run as .csv or .parquet, whole or not at all; numbers are exact in both.

    Raises HalfulpError for another ending, an unknown table, a path that cannot be written or is
    the log's own, and where pyarrow or pandas are not installed for Parquet.
    """
    check_export(run, path, table)
    found = blocks(run, table)
    if progress is not None:
        found = _told(found, progress)
    with written_whole(check_apart(run, path)) as partial:
        WRITERS[Path(path).suffix.lower()](partial, found)
    return Path(path)


def check_export(run: Run, path: str | Path, table: str = "tensors") -> None:
    """Say before long work that a table could not be written.

    Raises HalfulpError as :func:`export` does.
    """
    ending = Path(path).suffix.lower()
    if ending not in WRITERS:
        raise HalfulpError(
            _("cannot export to {path}: name a file that ends in {known}").format(
                path=path, known=listed(WRITERS)
            )
        )
    if table not in TABLES:
        raise unknown(_("table"), table, TABLES)
    check_apart(run, path)
    if ending == ".parquet":
        _parquet()


def check_apart(run: Run, path: str | Path) -> Path:
    """Where an output goes; or say that it would take the place of the log it is made from.

    Raises HalfulpError as :func:`halfulp.files.check_writable` does, too.
    """
    target = check_writable(path)
    log = Path(run.path).resolve()
    own = {log, *(log.with_name(log.name + end) for end in ("-wal", "-shm", "-journal"))}
    if target in own or (target.exists() and log.exists() and target.samefile(log)):
        raise HalfulpError(
            _("cannot write {path}: it is the log that is read; name another file").format(
                path=path
            )
        )
    return target


def blocks(run: Run, table: str, most: int | None = None) -> Iterator[Block]:
    """The parts of a table, at least one; of a sampled step each, where it has a row a tensor.

    Raises HalfulpError for an unknown table.
    """
    if table not in TABLES:
        raise unknown(_("table"), table, TABLES)
    return TABLES[table](run, most)


def _tensors(run: Run, most: int | None) -> Iterator[Block]:
    steps, formats, labels = run.steps(most), run.about.formats, _labels(run)
    for step in steps:
        yield _tensor_rows(step, run.observed(step), formats, labels)
    if not steps:
        parts: dict[str, Array] = dict.fromkeys(Observed._fields, np.zeros(0, np.int64))
        parts["counts"] = np.zeros((0, len(formats), len(KINDS)), np.int64)
        parts["largest"] = parts["least"] = np.zeros(0)
        yield _tensor_rows(0, Observed(**parts), formats, labels)


def _tensor_rows(
    step: int, seen: Observed, formats: Sequence[str], labels: dict[str, Names]
) -> Block:
    plain = ("elements", "zero", "infinite", "nan", "largest", "least")
    return {
        "step": np.full(seen.series.size, step, np.int64),
        **{name: Names(of.codes[seen.series], of.texts) for name, of in labels.items()},
        **{name: getattr(seen, name) for name in plain},
        **{
            f"{format}_{kind}": seen.counts[:, i, j]
            for i, format in enumerate(formats)
            for j, kind in enumerate(KINDS)
        },
    }


def _updates(run: Run, most: int | None) -> Iterator[Block]:
    steps, labels = run.steps(most), _labels(run)
    del labels["role"]  # all are weights
    found = False
    for step in steps:
        rows = run.updates(step)
        if rows is not None:
            found = True
            yield _update_rows(step, rows, run, labels)
    if not found:
        none, wide = np.zeros(0, np.int64), np.zeros((0, len(run.about.ways)), np.int64)
        several = {"lost", "effective", "product", "decays_lost"}
        empty = UpdateRows(*(wide if f in several else none for f in UpdateRows._fields))
        yield _update_rows(0, empty, run, labels)


def _update_rows(step: int, rows: UpdateRows, run: Run, labels: dict[str, Names]) -> Block:
    ways = run.about.ways
    series = np.repeat(rows.series, len(ways))
    way = np.tile(np.arange(len(ways)), rows.series.size)
    block: Block = {
        "step": np.full(series.size, step, np.int64),
        **{name: Names(of.codes[series], of.texts) for name, of in labels.items()},
        "format": _coded(way, [w.format for w in ways]),
        "strategy": _coded(way, [w.strategy for w in ways]),
        "running": way == np.repeat(rows.running, len(ways)),
    }
    for field in UpdateRows._fields[2:]:
        values = getattr(rows, field)
        block[field] = values.reshape(-1) if values.ndim > 1 else np.repeat(values, len(ways))
    return block


def _events(run: Run, most: int | None) -> Iterator[Block]:
    fields = ("step", "kind", "sentence", "loss_scale", "scale_after", "parameter")
    block: Block = {name: [getattr(event, name) for event in run.events] for name in fields}
    block["details"] = [json.dumps(event.details) for event in run.events]
    yield block


def _samples(run: Run, most: int | None) -> Iterator[Block]:
    fields = ("step", "time", "loss_scale", "taken", "nonfinite")
    chosen = set(run.steps(most))
    heads = [head for head in run.heads if head.step in chosen]
    settings = dict.fromkeys(name for head in heads for name, _ in head.settings)
    block: Block = {name: [getattr(head, name) for head in heads] for name in fields}
    for name in settings:
        block[name if name not in block else f"{name}_set"] = [
            dict(head.settings).get(name) for head in heads
        ]
    yield block


TABLES: dict[str, Callable[[Run, int | None], Iterator[Block]]] = {
    "tensors": _tensors, "updates": _updates, "events": _events, "samples": _samples,
}  # fmt: skip


def _labels(run: Run) -> dict[str, Names]:
    """Names, roles and dtypes of the series."""
    every = np.arange(len(run.series))
    return {
        field: _coded(every, [getattr(series, field) for series in run.series])
        for field in ("name", "role", "dtype")
    }


def _coded(rows: Array, texts: Sequence[str]) -> Names:
    """``texts[row]`` of each row, with every text once."""
    codes: dict[str, int] = {}
    of_text = np.array([codes.setdefault(text, len(codes)) for text in texts], np.int32)
    return Names(of_text[rows], list(codes))


def _frame(pandas: Any, parts: Sequence[Block]) -> Any:
    return pandas.DataFrame(
        {name: _column(pandas, name, [part[name] for part in parts]) for name in parts[0]}
    )


def _column(pandas: Any, name: str, parts: Sequence[Any]) -> Any:
    first = parts[0]
    if isinstance(first, Names):
        codes = np.concatenate([part.codes for part in parts])
        return pandas.Categorical.from_codes(codes, categories=first.texts)
    if isinstance(first, np.ndarray):
        return np.concatenate(parts)
    values = [value for part in parts for value in part]
    kind = _KINDS.get(name)
    if kind is None:
        kind = "int64" if name in ("step", "nonfinite") else _NUMBER
    return pandas.Series(values, dtype=kind)


def _told(parts: Iterable[Block], progress: Progress) -> Iterator[Block]:
    for done, part in enumerate(parts, start=1):
        yield part
        progress(done)


def _write_csv(path: Path, parts: Iterator[Block]) -> None:
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file)
        for number, part in enumerate(parts):
            if not number:
                writer.writerow(part)
            columns = [c if isinstance(c, list) else c.tolist() for c in part.values()]
            writer.writerows(zip(*columns, strict=True))


def _parquet() -> tuple[Any, Any, Any]:
    """The libraries that write Parquet."""
    try:
        pandas, pyarrow = import_module("pandas"), import_module("pyarrow")
        return pandas, pyarrow, import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        name = (error.name or "pyarrow").partition(".")[0]
        raise missing_extra(name, "report", "a Parquet file") from None


def _write_parquet(path: Path, parts: Iterator[Block]) -> None:
    pandas, pyarrow, parquet = _parquet()
    writer = None
    try:
        for group in _grouped(parts):
            table = pyarrow.Table.from_pandas(_frame(pandas, group), preserve_index=False)
            if writer is None:
                writer = parquet.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _grouped(parts: Iterable[Block]) -> Iterator[list[Block]]:
    """Blocks in lists of about ``GROUP`` rows."""
    group, rows = [], 0
    for part in parts:
        group.append(part)
        rows += len(part["step"])
        if rows >= GROUP:
            yield group
            group, rows = [], 0
    if group:
        yield group


WRITERS: dict[str, Callable[[Path, Iterator[Block]], None]] = {
    ".csv": _write_csv, ".parquet": _write_parquet,
}  # fmt: skip
