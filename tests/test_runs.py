"""Logs of watched runs: written and read back, torn, full, damaged; their tables and their report."""

from __future__ import annotations

import csv
import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import halfulp as hu
from chinese import english
from halfulp.cli.app import run as command
from halfulp.errors import HalfulpError
from halfulp.language import use
from halfulp.runs.exports import TABLES, export, to_pandas
from halfulp.runs.log import APPLICATION, MEMORY, VERSION, LogWriter
from halfulp.runs.packing import packed, unpacked
from halfulp.runs.reading import Run, read_run
from halfulp.runs.samples import (
    KINDS,
    About,
    Event,
    Head,
    Observed,
    Recorded,
    Sample,
    Series,
    UpdateRows,
    Way,
)  # fmt: skip
from halfulp.runs.verdicts import findings

FORMATS = ("float16", "bfloat16", "float8_e4m3fn")
WAYS = (Way("float16", "nearest"), Way("float16", "kahan"))
ABOUT = About(
    "Net", "AdamW", FORMATS, WAYS, 10, 96, started=1.5, versions=(("torch", "2.6"), ("halfulp", "0.1"))
)  # fmt: skip
NAMES = ("block.0.linear.weight", "block.1.linear.weight")
SERIES = [Series(name, role, "float32") for role in ("weight", "gradient") for name in NAMES]
SIZES = {"weight": 2.0**-4, "gradient": 2.0**-21}


def held(step: int, series: list[Series]) -> list[np.ndarray]:
    """What tensors hold at a step: the same for a step."""
    rng = np.random.default_rng(step)
    return [rng.normal(0, SIZES[one.role], 48) * (rng.random(48) > 0.1) for one in series]


def observed(tensors: list[np.ndarray], numbers: list[int]) -> Observed:
    """Columns as a monitor makes them, by the tally."""
    tallies = [hu.tally(x, FORMATS) for x in tensors]
    counts = [[[getattr(t, kind) for kind in KINDS] for t in found] for found in tallies]
    first = [found[0].binades[0][0] for found in tallies]
    dense = [
        [dict(found[0].binades).get(e, 0) for e in range(low, found[0].binades[-1][0] + 1)]
        for low, found in zip(first, tallies, strict=True)
    ]
    sizes = [np.abs(x[x != 0]) for x in tensors]
    return Observed(
        np.array(numbers), np.array([x.size for x in tensors]),
        np.array([found[0].zero for found in tallies]),
        *(np.zeros(len(tensors), int) for _ in range(2)),
        np.array([x.max() for x in sizes]), np.array([x.min() for x in sizes]),
        np.array(counts), np.array(first), np.array([len(row) for row in dense]),
        np.concatenate(dense),
    )  # fmt: skip


def updates(step: int, numbers: list[int]) -> UpdateRows:
    rng, n = np.random.default_rng(step), len(numbers)
    total = rng.integers(20, 48, n)
    lost = np.stack([total // 2 + step % 3, total // 16], 1)
    squares = rng.random(n)
    return UpdateRows(
        np.array(numbers), np.zeros(n, int), total, lost, squares, squares[:, None] * [0.5, 1.0],
        squares[:, None] * [0.7, 1.0], total, lost, total, total // 4, np.full(n, 3),
    )  # fmt: skip


def sample(step: int, taken: bool = True, series: list[Series] = SERIES) -> Sample:
    numbers = list(range(len(series)))
    weights = [i for i in numbers if series[i].role == "weight"]
    head = Head(step, 100.0 + step, 2.0**10, taken, (("lr", 0.1),))
    rows = updates(step, weights) if taken and weights else None
    return Sample(head, observed(held(step, series), numbers), rows)


SKIP = Event(20, "skip", "step 20 was skipped: block.0 overflowed", 2048.0, 1024.0, NAMES[0],
             {"elements": 3})  # fmt: skip
RECORDED = Recorded(
    0, 20, np.arange(3), np.array([1.0, -0.5, 2**-30]), np.array([1e-9, 0.0, -1e-3])
)


def written(path: str | Path, samples: int = 4, **options: Any) -> LogWriter:
    """A log of some samples, ten steps apart, the third of which was skipped."""
    writer = LogWriter(path, ABOUT)
    for one in options.get("series", SERIES):
        writer.index(one)
    for step in range(0, 10 * samples, 10):
        more = ([SKIP], [RECORDED]) if step == 20 else ()
        writer.add(sample(step, taken=step != 20, **options), *more)
    return writer


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "run.db"
    written(path).close()
    return path


def same(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is b
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


# Packing.

SHAPES = array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=7)
ARRAYS = st.one_of(
    arrays(np.int64, SHAPES), arrays(np.float64, SHAPES), arrays(np.float32, SHAPES),
    arrays(np.int64, SHAPES, elements=st.integers(0, 300)), arrays(np.uint8, SHAPES),
)  # fmt: skip


@given(st.lists(ARRAYS, max_size=5))
def test_packing_is_exact(columns: list[np.ndarray]) -> None:
    found = unpacked(packed(columns))
    assert len(found) == len(columns)
    for before, after in zip(columns, found, strict=True):
        assert after.shape == before.shape
        assert after.dtype == ("i8" if before.dtype.kind in "iu" else "f8")
        np.testing.assert_array_equal(after, before)
        assert np.array_equal(np.signbit(after), np.signbit(before)) or after.dtype != "f8" \
            or np.isnan(before).any()  # fmt: skip


@given(st.lists(ARRAYS, min_size=1, max_size=3), st.data())
def test_what_is_cut_off_or_changed_is_told(columns: list[np.ndarray], data: st.DataObject) -> None:
    blob = packed(columns)
    with pytest.raises(HalfulpError, match="damaged"):
        unpacked(blob[: data.draw(st.integers(0, len(blob) - 1))])


@given(st.binary(max_size=100))
def test_no_bytes_are_taken_for_columns(blob: bytes) -> None:
    with pytest.raises(HalfulpError, match="damaged"):
        unpacked(blob)


# The log.


def test_what_was_written_is_read(log: Path) -> None:
    run = read_run(log)
    assert (run.about, run.series, run.events) == (ABOUT, tuple(SERIES), (SKIP,))
    assert run.heads == tuple(sample(step, step != 20).head for step in (0, 10, 20, 30))
    for step in run.steps():
        before, after = sample(step, step != 20), run.sample(step)
        assert after.head == before.head
        assert same(after.observed, before.observed)
        assert same(after.updates, before.updates)
        assert same(run.seen(step), before.observed[:7])
    (found,) = run.recorded()
    assert same(found, RECORDED)


def test_samples_are_thinned_evenly(log: Path) -> None:
    run = read_run(log)
    assert (run.steps(), run.steps(4), run.steps(3), run.steps(2)) == (
        [0, 10, 20, 30], [0, 10, 20, 30], [0, 10, 30], [0, 30],
    )  # fmt: skip
    with pytest.raises(HalfulpError, match="step 5 was not sampled"):
        run.observed(5)


def test_a_reader_sees_whole_samples_of_an_open_log(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    writer = written(path, 2)
    early = read_run(path)
    assert len(early) == 2
    new = Series("late", "activation", "float16")
    numbers = [*range(len(SERIES)), writer.index(new)]
    tensors = [*held(20, SERIES), np.ones(3)]
    writer.add(Sample(Head(20, 0.0, None, True), observed(tensors, numbers), None))
    late = read_run(path)
    assert (len(early), len(late)) == (2, 3)
    assert late.series == (*SERIES, new)
    assert late.observed(20).series.tolist() == numbers
    assert same(early.observed(10), sample(10).observed)
    assert findings(early).sampled == 2
    writer.close()
    assert same(late.observed(20), observed(tensors, numbers))


def test_series_are_never_fewer_than_a_sample_has(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    writer = written(path, 1)
    run = read_run(path)
    assert run.series == tuple(SERIES)  # and with them, what was sampled until then
    numbers = [writer.index(Series("late", "weight", "float16"))]
    writer.add(Sample(Head(10, 0.0, None, True), observed([np.ones(2)], numbers), None))
    assert all(run.observed(s).series.max() < len(run.series) for s in run.steps())
    writer.close()


def test_reading_a_finished_log_leaves_nothing_beside_it(log: Path) -> None:
    run = read_run(log)
    findings(run)
    run.close()
    assert [p.name for p in log.parent.iterdir()] == ["run.db"]


def test_a_log_that_exists_is_kept(log: Path) -> None:
    before = log.read_bytes()
    with pytest.raises(HalfulpError, match="exists already: a log holds one run"):
        LogWriter(log, ABOUT)
    assert log.read_bytes() == before


def test_a_log_where_none_can_be(tmp_path: Path) -> None:
    with pytest.raises(HalfulpError, match="cannot write the log"):
        LogWriter(tmp_path / "no" / "run.db", ABOUT)


# What befalls a writer. Programs of their own, with these tests' samples.

WRITES = """
import os, resource, signal, sys
sys.path.insert(0, {tests!r})
from test_runs import ABOUT, LogWriter, SERIES, sample
writer = LogWriter(sys.argv[1], ABOUT)
for one in SERIES:
    writer.index(one)
{before}
for step in range(0, {steps}, 10):
    {each}
    writer.add(sample(step))
    print(step, flush=True)
"""


def program(path: Path, before: str = "", each: str = "pass", steps: int = 1000) -> list[str]:
    code = WRITES.format(tests=str(Path(__file__).parent), before=before, each=each, steps=steps)
    return [sys.executable, "-c", code, str(path)]


def whole(path: Path) -> list[int]:
    """The sampled steps of a log, all of which are as they were written."""
    run = read_run(path)
    assert run.about == ABOUT
    for step in run.steps():
        assert same(run.observed(step), sample(step).observed)
        assert same(run.updates(step), sample(step).updates)
    return run.steps()


def test_a_writer_killed_within_a_sample_loses_that_one(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    # The rows of the sample are in the transaction by then, and it is never committed.
    die = "if step == 70: writer._write_events = lambda e: os.kill(os.getpid(), signal.SIGKILL)"
    ran = subprocess.run(program(path, each=die), capture_output=True, text=True, check=False)
    assert ran.returncode == -signal.SIGKILL
    assert ran.stdout.split() == [str(step) for step in range(0, 70, 10)]
    assert whole(path) == [*range(0, 70, 10)]


@pytest.mark.parametrize("after", [1, 4, 9])
def test_a_writer_killed_at_any_time_loses_at_most_one_sample(tmp_path: Path, after: int) -> None:
    path = tmp_path / "run.db"
    with subprocess.Popen(program(path), stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(after)]
        writer.kill()
        told += [int(line) for line in writer.stdout]
    found = whole(path)
    assert found[: len(told)] == told
    assert len(found) <= len(told) + 1


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits of files")
def test_a_full_disk_is_said_and_what_was_written_stays(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    limit = (
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))"
    )
    ran = subprocess.run(
        program(path, limit, steps=10**6), capture_output=True, text=True, check=False
    )
    said = ran.stderr.strip().splitlines()[-1]
    assert said.startswith("halfulp.errors.HalfulpError: cannot write to the log ")
    told = [int(line) for line in ran.stdout.split()]
    assert len(told) > 10
    assert whole(path) == told


def test_a_full_disk_is_no_end_where_room_is_made(tmp_path: Path) -> None:
    writer = written(tmp_path / "run.db", 2)
    (pages,) = writer.connection.execute("PRAGMA page_count").fetchone()
    writer.connection.execute(f"PRAGMA max_page_count={pages}")

    def fill() -> None:
        for step in range(20, 2000, 10):
            writer.add(sample(step))

    with pytest.raises(HalfulpError, match=r"cannot write to the log .*: .*full"):
        fill()
    before = read_run(writer.path).steps()
    assert before[:2] == [0, 10]
    writer.connection.execute("PRAGMA max_page_count=100000")
    writer.add(sample(5000))
    assert read_run(writer.path).steps() == [*before, 5000]
    writer.close()


# What is no log, or none any more.


def test_what_is_no_log_is_refused(tmp_path: Path, log: Path) -> None:
    text, empty, other, later = (tmp_path / name for name in ("a.json", "b", "c.db", "d.db"))
    text.write_text(json.dumps({"recipes": []}) * 100)
    empty.touch()
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    later.write_bytes(log.read_bytes())
    with sqlite3.connect(later) as connection:
        connection.execute(f"PRAGMA user_version={VERSION + 1}")
    connection.close()
    for path, said in (
        (tmp_path / "none.db", "there is no log"), (tmp_path, "is a folder"),
        (text, "is no log: give a file that halfulp.training.watch"),
        (empty, "is empty: give a file"), (other, "is an SQLite file, but no log"),
        (later, f"is a log of version {VERSION + 1}, and this halfulp reads version {VERSION}"),
    ):  # fmt: skip
        with pytest.raises(HalfulpError, match=re.escape(said)):
            read_run(path)


def test_a_run_without_a_word_of_what_it_is() -> None:
    connection = sqlite3.connect(MEMORY)
    connection.executescript(
        f"PRAGMA application_id={APPLICATION}; PRAGMA user_version={VERSION};"
        "CREATE TABLE about (text TEXT)"
    )
    with pytest.raises(HalfulpError, match="is an empty log"):
        _ = Run(connection, MEMORY).about
    connection.execute("INSERT INTO about VALUES ('{\"name\": 1}')")
    with pytest.raises(HalfulpError, match="is damaged: what it says makes no sense"):
        _ = Run(connection, MEMORY).about


def read_all(path: Path) -> None:
    run = read_run(path)
    try:
        _ = run.about, run.events, list(run.recorded())
        for step in run.steps():
            run.sample(step)
    finally:
        run.close()


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("log") / "run.db"
    written(path).close()
    return path.read_bytes()


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_log_is_said_in_a_sentence(
    data: st.DataObject, content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.db"
    content = bytearray(content)
    if data.draw(st.booleans(), label="cut off"):
        del content[data.draw(st.integers(1, len(content) - 1)) :]
    else:
        at = data.draw(st.integers(0, len(content) - 1))
        part = data.draw(st.binary(min_size=1, max_size=64))
        content[at : at + len(part)] = part[: len(content) - at]
    path.write_bytes(content)
    with suppress(HalfulpError):  # and no other exception
        read_all(path)


# Tables.


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_csv_of_tensors_is_what_was_seen(log: Path, tmp_path: Path) -> None:
    run = read_run(log)
    assert export(run, tmp_path / "t.csv") == tmp_path / "t.csv"
    rows = rows_of(tmp_path / "t.csv")
    assert len(rows) == 4 * len(SERIES)
    for at, step in enumerate(run.steps()):
        seen = run.observed(step)
        for i, (series, row) in enumerate(zip(SERIES, rows[4 * at :], strict=False)):
            assert (row["step"], row["name"]) == (str(step), series.name)
            assert (row["role"], row["dtype"]) == (series.role, series.dtype)
            for name in ("elements", "zero", "infinite", "nan"):
                assert int(row[name]) == getattr(seen, name)[i]
            for name in ("largest", "least"):
                assert float(row[name]) == getattr(seen, name)[i]  # exactly
            for f, j in ((f, j) for f in range(len(FORMATS)) for j in range(len(KINDS))):
                assert int(row[f"{FORMATS[f]}_{KINDS[j]}"]) == seen.counts[i, f, j]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.db", "t.csv"]


def test_a_csv_of_updates_has_a_row_a_way(log: Path, tmp_path: Path) -> None:
    run = read_run(log)
    export(run, tmp_path / "u.csv", "updates")
    rows = rows_of(tmp_path / "u.csv")
    assert len(rows) == 3 * 2 * len(WAYS)  # one step was skipped
    found = updates(10, [0, 1])
    row = rows[2 * len(WAYS) + 3]  # of step 10, the second weight, the second way
    assert (row["step"], row["name"], row["format"]) == ("10", NAMES[1], "float16")
    assert (row["strategy"], row["running"]) == ("kahan", "False")
    assert int(row["updates"]) == found.updates[1]
    assert int(row["lost"]) == found.lost[1, 1]
    assert float(row["effective"]) == found.effective[1, 1]
    assert sum(row["running"] == "True" for row in rows) == 6


def test_csvs_of_events_and_samples(log: Path, tmp_path: Path) -> None:
    run = read_run(log)
    export(run, tmp_path / "e.csv", "events")
    (row,) = rows_of(tmp_path / "e.csv")
    assert (row["step"], row["kind"], row["sentence"]) == ("20", "skip", SKIP.sentence)
    assert json.loads(row["details"]) == SKIP.details
    export(run, tmp_path / "s.csv", "samples")
    rows = rows_of(tmp_path / "s.csv")
    assert [r["taken"] for r in rows] == ["True", "True", "False", "True"]
    assert {r["lr"] for r in rows} == {"0.1"}


@pytest.mark.parametrize("table", TABLES)
def test_tables_without_rows_have_their_columns(tmp_path: Path, table: str) -> None:
    full, empty = Run(written(MEMORY).connection, MEMORY), written(MEMORY, 0)
    export(full, tmp_path / "a.csv", table)
    export(Run(empty.connection, MEMORY), tmp_path / "b.csv", table)
    a, b = ((tmp_path / name).read_text().splitlines() for name in ("a.csv", "b.csv"))
    assert len(b) == 1
    assert b[0].split(",") == [name for name in a[0].split(",") if name != "lr"]


def test_exports_are_whole_or_not_there(log: Path, tmp_path: Path) -> None:
    run, before = read_run(log), log.read_bytes()
    link, hard = tmp_path / "link.csv", tmp_path / "hard.csv"
    link.symlink_to(log)
    hard.hardlink_to(log)
    for path, said in (
        (link, "it is the log that is read"), (hard, "it is the log that is read"),
        (tmp_path / "t.txt", "name a file that ends in .csv or .parquet"),
        (tmp_path / "no" / "t.csv", "does not exist"), (tmp_path, "name a file that ends in"),
    ):  # fmt: skip
        with pytest.raises(HalfulpError, match=re.escape(said)):
            export(run, path)
    with pytest.raises(HalfulpError, match="unknown table 'tensor': did you mean tensors"):
        export(run, tmp_path / "t.csv", "tensor")
    (tmp_path / "old.csv").write_text("old")

    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(run, tmp_path / "old.csv", progress=interrupt)
    assert (tmp_path / "old.csv").read_text() == "old"
    assert log.read_bytes() == before
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["hard.csv", "link.csv", "old.csv", "run.db"]


@pytest.mark.extra
@pytest.mark.parametrize("table", TABLES)
def test_all_exports_are_the_data_frame(log: Path, tmp_path: Path, table: str) -> None:
    import pandas

    run = read_run(log)
    frame = to_pandas(run, table)
    pandas.testing.assert_frame_equal(run.to_pandas(table=table), frame)
    export(run, tmp_path / "t.parquet", table)
    pandas.testing.assert_frame_equal(pandas.read_parquet(tmp_path / "t.parquet"), frame)
    export(run, tmp_path / "t.csv", table)
    again = pandas.read_csv(tmp_path / "t.csv")
    plain = frame.astype(again.dtypes.to_dict())
    pandas.testing.assert_frame_equal(again, plain, check_exact=True)


@pytest.mark.extra
def test_parquet_is_written_in_groups(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyarrow import parquet

    monkeypatch.setattr("halfulp.runs.exports.GROUP", 5)
    run = read_run(log)
    export(run, tmp_path / "t.parquet")
    assert parquet.ParquetFile(tmp_path / "t.parquet").num_row_groups == 2
    assert parquet.read_table(tmp_path / "t.parquet").to_pandas().equals(run.to_pandas())


@pytest.mark.extra
def test_few_samples_make_a_smaller_frame(log: Path) -> None:
    frame = read_run(log).to_pandas(most=2)
    assert frame["step"].unique().tolist() == [0, 30]
    assert frame["role"].unique().tolist() == ["weight", "gradient"]


@pytest.mark.parametrize("package", ["pandas", "pyarrow"])
def test_a_missing_library_is_named(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", sys if package == "pyarrow" else None)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(HalfulpError, match=rf"Parquet file needs {package}.*pip install"):
        export(read_run(log), tmp_path / "t.parquet")
    if package == "pandas":
        with pytest.raises(HalfulpError, match="to_pandas needs pandas"):
            read_run(log).to_pandas()
    export(read_run(log), tmp_path / "t.csv")  # which needs neither
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.db", "t.csv"]


# TensorBoard.


@pytest.mark.extra
def test_tensorboard_reads_what_was_seen(log: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing import event_accumulator as reading

    from halfulp.report.tensorboard import to_tensorboard

    folder, run = tmp_path / "a" / "events", read_run(log)
    assert to_tensorboard(run, folder) == folder
    events = reading.EventAccumulator(str(folder), size_guidance={"histograms": 0, "scalars": 0})
    events.Reload()
    tags = events.Tags()
    found = {e.step: e.value for e in events.Scalars("lost/as it runs")}
    for step in (0, 10, 30):
        rows = updates(step, [0, 1])
        assert found[step] == np.float32(rows.lost[:, 0].sum() / rows.updates.sum())
    assert [e.value for e in events.Scalars("loss scale/running, log2")] == [10] * 4
    seen = run.observed(20)
    (largest,) = [e.value for e in events.Scalars(f"largest weight/{NAMES[1]}") if e.step == 20]
    assert largest == np.float32(seen.largest[1])
    assert {"lost/float16, kahan", "loss scale/largest that fits float16, log2"} < {
        *tags["scalars"]
    }
    drawn = events.Histograms(f"exponents of gradient/{NAMES[0]}")[2].histogram_value
    counted = seen.histogram(2)
    pairs = zip(drawn.bucket_limit, drawn.bucket, strict=True)
    assert {int(limit) - 1: int(count) for limit, count in pairs if count} == counted
    assert [p.parent for p in (tmp_path / "a").rglob("*") if p.is_file()] == [folder]
    with pytest.raises(HalfulpError, match="holds events already"):
        to_tensorboard(run, folder)
    with pytest.raises(HalfulpError, match="is no folder"):
        to_tensorboard(run, log)


@pytest.mark.extra
def test_tensorboard_that_is_missing_is_named(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from halfulp.report.tensorboard import to_tensorboard

    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(HalfulpError, match="TensorBoard needs tensorboard"):
        to_tensorboard(read_run(log), tmp_path / "events")
    assert not (tmp_path / "events").exists()


# The report.

OUTSIDE = re.compile(r"""(?:<script[^>]*\ssrc|<link[^>]*\shref|<img[^>]*\ssrc|@import)\s*=?""")


def own(text: str) -> str:
    """The page without plotly's script, whose text speaks of addresses it never asks."""
    return re.sub(r"<script>.*?</script>", "", text, count=1, flags=re.DOTALL)


def headings(text: str) -> list[str]:
    return re.findall("<h2>(.*?)</h2>", text)


ALL = ["Findings", "Tensors over steps", "Magnitudes", "Updates lost", "Loss scale"]


@pytest.mark.extra
def test_the_report_is_one_file_with_its_findings_first(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["report", str(log), "--html"]) == 0
    told = capsys.readouterr()
    text = (tmp_path / "run.html").read_text()
    assert told.out.strip() == str(findings(read_run(log))).strip()
    assert headings(text) == ALL
    assert not OUTSIDE.search(own(text))
    assert "http" not in own(text).replace("https://plotly.com", "")  # a link, in plotly's settings
    assert text.count("Plotly.newPlot") >= 5
    assert text.index(findings(read_run(log)).findings[0].kind[:4]) < text.index("Plotly.newPlot(")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.db", "run.html"]


def texts_of(figure: Any) -> Iterator[str]:
    """All that a figure says: titles, axes, legends, buttons, and what is under the mouse."""
    if isinstance(figure, dict):
        for key, value in figure.items():
            is_said = key in ("text", "label", "name", "title", "hovertemplate", "ticksuffix")
            yield from [value] if is_said and isinstance(value, str) else texts_of(value)
    elif isinstance(figure, (list, tuple)):
        for value in figure:
            yield from texts_of(value)


@pytest.mark.extra
def test_the_report_is_chinese(log: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.html"
    assert command(["report", str(log), "--html", str(path), "--lang", "zh"]) == 0
    assert path.read_text().startswith('<!doctype html>\n<html lang="zh-CN">')
    assert headings(path.read_text()) == ["发现", "各步的张量", "绝对值", "丢失的更新", "损失缩放"]
    from halfulp.report.runs import sections

    run = read_run(log)
    with use("zh"):
        found = sections(run)
    assert [s.title for s in sections(run)] == ALL
    for section in found:
        assert english(section.title + section.prose.split("。数据")[0]) <= {"Net", "AdamW"}
        for figure in section.figures:
            for text in texts_of(json.loads(figure.to_json())["data"]):
                assert english(re.sub(r"<[^>]*>|%\{[^}]*\}", " ", text)) <= {"Cividis", "log"}, text
            layout = json.loads(figure.to_json())["layout"]
            for text in texts_of({k: v for k, v in layout.items() if k != "template"}):
                assert english(re.sub(r"<[^>]*>|%\{[^}]*\}", " ", text)) == set(), text


@pytest.mark.extra
@pytest.mark.parametrize(
    ("samples", "series", "parts"),
    [
        (0, SERIES, ALL[:1]),
        (1, SERIES, ALL),
        (3, [s for s in SERIES if s.role == "gradient"], [*ALL[:3], *ALL[4:]]),
    ],
    ids=["no sample", "one sample", "no updates"],
)
def test_reports_of_little(
    tmp_path: Path, samples: int, series: list[Series], parts: list[str]
) -> None:
    written(tmp_path / "run.db", samples, series=series).close()
    assert command(["report", str(tmp_path / "run.db"), "--html", str(tmp_path / "x.html")]) == 0
    text = (tmp_path / "x.html").read_text()
    assert headings(text) == parts
    assert "</html>" in text


@pytest.mark.extra
def test_a_training_that_goes_on_is_reported(tmp_path: Path) -> None:
    writer = written(tmp_path / "run.db", 3)
    page = tmp_path / "x.html"
    assert command(["report", str(tmp_path / "run.db"), "--html", str(page)]) == 0
    writer.add(sample(30))
    assert headings(page.read_text()) == ALL
    assert read_run(tmp_path / "run.db").steps() == [0, 10, 20, 30]
    writer.close()


@pytest.mark.extra
def test_figures_show_shares_with_both_numbers(log: Path) -> None:
    from halfulp.report.heat_maps import heat_map_figure
    from halfulp.report.magnitudes import roles_figure, worst_figure
    from halfulp.report.run_curves import lost_curve, scale_figure
    from halfulp.report.run_data import RunData

    run = read_run(log)
    data = RunData(run)
    first = heat_map_figure(data).data[0]
    rows = [updates(step, [0, 1]) for step in (0, 10, 30)]
    lost, total = (np.stack([f(r) for r in rows], 1) for f in
                   (lambda r: r.lost[:, 0], lambda r: r.updates))  # fmt: skip
    order = [NAMES.index(name) for name in first.y]
    share = (lost.sum(1) / total.sum(1))[order]
    assert share[0] >= share[1]
    np.testing.assert_array_equal(first.customdata[:, [0, 1, 3], 0], lost[order])
    np.testing.assert_array_equal(first.customdata[:, [0, 1, 3], 1], total[order])
    assert np.isnan(first.z[:, 2]).all()  # the step that was skipped
    curve = lost_curve(data)
    assert [t.name for t in curve.data] == ["float16, kahan", "<b>as it runs: float16, nearest</b>"]
    np.testing.assert_array_equal(curve.data[1].customdata[:, 0], lost.sum(0))
    assert [m.label for m in heat_map_figure(data).layout.updatemenus[0].buttons][:2] == [
        "Updates lost, as it runs", "Gradients that float16 makes zero",
    ]  # fmt: skip
    bars = [t for t in roles_figure(data).data if t.orientation != "h"]
    merged = sum((np.bincount(s.first_binade.repeat(s.width) + 200 + np.concatenate(
        [np.arange(w) for w in s.width]), s.binades * (s.series < 2).repeat(s.width), 400)
        for s in map(run.observed, run.steps())), np.zeros(400))  # fmt: skip
    np.testing.assert_array_equal(bars[0].customdata[:, 0], merged[merged > 0])
    assert worst_figure(data).layout.annotations[0].text.endswith(")")
    scale = {t.name: t for t in scale_figure(run, findings(run).windows).data}
    skips = scale["skipped steps (1)"]
    assert (list(skips.x), list(skips.y)) == ([20], [11.0])


@pytest.mark.extra
def test_labels_tell_tensors_apart_and_are_short() -> None:
    from halfulp.report.heat_maps import LABEL, labels

    names = [f"model.language_model.layers.{i}.self_attention.query.weight" for i in range(100)]
    found = labels(names)
    assert found[7] == "…7.self_attention.query.weight"
    assert len(set(found)) == 100
    assert max(map(len, labels([*names, "x" * 200]))) == LABEL
    assert labels(["weight"]) == ["weight"]
    assert labels(["a.weight", "a"]) == ["a.weight", "a"]


# The command.


def test_the_command_prints_what_was_found(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["report", str(log)]) == 0
    assert capsys.readouterr().out.strip() == str(findings(read_run(log))).strip()
    assert command(["report", str(log), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == findings(read_run(log)).to_dict()


def test_the_command_exports(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "u.csv"
    assert command(["report", str(log), "--export", str(target), "--table", "updates"]) == 0
    assert len(rows_of(target)) == 12
    assert capsys.readouterr().err == f"wrote {target}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.db"], "there is no log"),
        (["."], "is a folder"),
        (["none.json"], "cannot be read: give a file that halfulp compare"),
        (["text.json", "--export", "x.csv"], "are for logs of watched trainings"),
        pytest.param(["text.json"], "is no comparison: give", marks=pytest.mark.extra),
        (["run.db", "--export", "run.db"], "name a file that ends in"),
        (["run.db", "--export", "no/x.csv"], "does not exist"),
        (["run.db", "--table", "events"], "give --export FILE, too"),
        (["run.db", "--table", "event", "--export", "x.csv"], "did you mean events"),
        (["cut.db"], "cannot be read as a log"),
        pytest.param(["cut.db", "--html"], "cannot be read", marks=pytest.mark.extra),
        pytest.param(["run.db", "--html", "run.db"], "the log that is", marks=pytest.mark.extra),
        pytest.param(["run.db", "--html", "no/x"], "does not exist", marks=pytest.mark.extra),
        pytest.param(["run.db", "--tensorboard", "run.db"], "is no", marks=pytest.mark.extra),
    ],
)
def test_bad_input_is_a_sentence(
    log: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(log.parent)
    Path("text.json").write_text("{}" * 1000)
    Path("cut.db").write_bytes(log.read_bytes()[:9000])
    before = {p.name: p.read_bytes() for p in log.parent.iterdir()}
    assert command(["report", *arguments]) == 2
    found = capsys.readouterr()
    assert (found.out, found.err.count("\n")) == ("", 1)
    assert said in found.err
    assert {p.name: p.read_bytes() for p in log.parent.iterdir()} == before


def test_a_full_disk_under_an_export(log: Path, tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from halfulp.cli.app import run; sys.exit(run(sys.argv[1:]))"
    )
    call = [sys.executable, "-B", "-c", code, "report", str(log), "--export"]
    ran = subprocess.run(
        [*call, str(tmp_path / "t.csv")], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    assert "cannot write" in ran.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["run.db"]
