"""The table of what was compared with what: for the terminal, as markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from halfulp.records import Record
from proof.keys import machine
from proof.pieces import Mismatch, said_roundings
from proof.references import version_of
from proof.running import Result

HEADERS = (
    "what", "rounding", "ours", "held to", "inputs", "of", "mismatches", "known differences",
)  # fmt: skip
TITLES = {
    "casts": "Casts of float32",
    "sources": "Casts of other floats",
    "stochastic": "Stochastic rounding",
    "pairs": "Pairs of float16",
    "operations": "Operations",
    "p3109": "IEEE P3109",
}
PACKAGES = (
    "halfulp", "numpy", "numba", "llvmlite", "ml_dtypes", "torch", "jax", "softfloatpy", "gfloat",
)  # fmt: skip


@dataclass(frozen=True)
class Row(Record):
    """One line: a claim, or claims that differ in their item alone and came out the same."""

    area: str
    subject: str
    items: tuple[str, ...]
    roundings: tuple[str, ...]
    backend: str
    reference: str
    inputs: int
    population: int
    comparisons: int
    mismatches: int
    known: tuple[tuple[str, int], ...]
    examples: tuple[Mismatch, ...]
    pieces: str  # done of all
    note: str  # why there is nothing, or not all
    seconds: float

    @property
    def cells(self) -> tuple[str, ...]:
        """What the columns say."""
        items = ", ".join(filter(None, self.items))
        known = "; ".join(f"{count:,}: {what}" for what, count in self.known if count)
        shown = "—" if self.note and not self.inputs else f"{self.mismatches:,}"
        return (
            f"{self.subject} {items}".strip(), said_roundings(self.roundings), self.backend,
            self.reference, said_count(self.inputs, len(self.items)),
            said_count(self.population, len(self.items)), shown,
            "; ".join(filter(None, (self.note, known))),
        )  # fmt: skip


def said_count(count: int, items: int = 1) -> str:
    """A count, by powers of two where it is a large one; of several items, as so many times.

    >>> said_count(65536), said_count(1 << 32), said_count(28 << 32, 14), said_count(3 << 64)
    ('65,536', '2³²', '14 × 2³³', '3 × 2⁶⁴')
    """
    if items > 1 and count % items == 0 and _is_large_power(count // items):
        return f"{items} × {said_count(count // items)}"
    if _is_large_power(count):
        return _power(count.bit_length() - 1)
    for exponent in (64, 32):
        if count >> exponent and count % (1 << exponent) == 0:
            return f"{count >> exponent:,} × {_power(exponent)}"
    return f"{count:,}"


def _is_large_power(count: int) -> bool:
    return count >= 1 << 20 and count & (count - 1) == 0


def _power(exponent: int) -> str:
    return "2" + str(exponent).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def rows(results: Iterable[Result]) -> list[Row]:
    """Results as lines; those that are alike but for their item are one."""
    merged: dict[Any, Row] = {}
    for result in results:
        row = _row(result)
        alike = (
            row.area, row.subject, row.roundings, row.backend, row.reference, row.note,
            row.inputs == row.population,
        )  # fmt: skip
        eventful = row.mismatches or row.known
        key = (alike, result.claim.item) if eventful else alike
        merged[key] = _joined(merged[key], row) if key in merged else row
    return list(merged.values())


def _row(result: Result) -> Row:
    claim, found = result.claim, result.found
    known = tuple((what, count) for what, count in found.known if count)
    return Row(
        claim.area, claim.subject, (claim.item,), claim.roundings, claim.backend, claim.reference,
        found.inputs, claim.population, found.comparisons, found.mismatches, known, found.examples,
        f"{result.done}/{len(claim.pieces)}", _note(result), result.seconds,
    )  # fmt: skip


def _note(result: Result) -> str:
    claim = result.claim
    if claim.absent:
        return f"not covered: {claim.absent}"
    if result.errors:
        return f"FAILED: {result.errors[0]}"
    if result.done < len(claim.pieces):
        return f"so far: {result.done} of {len(claim.pieces)} pieces"
    return ""


def _joined(a: Row, b: Row) -> Row:
    return Row(
        a.area, a.subject, (*a.items, *b.items), a.roundings, a.backend, a.reference,
        a.inputs + b.inputs, a.population + b.population, a.comparisons + b.comparisons, 0, (), (),
        a.pieces if a.pieces == b.pieces else "", a.note, a.seconds + b.seconds,
    )  # fmt: skip


def verdict(results: Sequence[Result]) -> str:
    """What it comes to, in a sentence."""
    comparisons = sum(result.found.comparisons for result in results)
    wrong = sum(result.found.mismatches for result in results)
    known = sum(count for result in results for _, count in result.found.known)
    notes = {
        "could not be computed": sum(bool(r.errors) for r in results),
        "not covered": sum(bool(r.claim.absent) for r in results),
        "not done yet": sum(_note(r).startswith("so far") for r in results),
    }
    rest = ", ".join(f"{count} {what}" for what, count in notes.items() if count)
    return (
        f"{comparisons:,} comparisons in {len(results)} claims: {wrong:,} mismatches, "
        f"{known:,} known differences{'; claims: ' + rest if rest else ''}."
    )


def machine_line() -> str:
    """Where it ran, and with what."""
    versions = (f"{package} {version_of(package)}" for package in PACKAGES if version_of(package))
    return f"{', '.join(machine())}; {', '.join(versions)}"


def mismatch_lines(results: Iterable[Result]) -> list[str]:
    """Every mismatch that is named, with its bits."""
    return [
        f"MISMATCH {result.claim.name}: {each.what}: {each.inputs} gives {each.ours}, "
        f"theirs {each.theirs}"
        for result in results
        for each in result.found.examples
    ]


def draw(results: Sequence[Result], console: Console) -> None:
    """The table on a terminal."""
    for area, lines in _by_area(rows(results)):
        table = Table(*HEADERS, title=TITLES.get(area, area), title_justify="left")
        for column in table.columns[4:7]:
            column.justify = "right"
        for row in lines:
            bad = row.mismatches or row.note.startswith("FAILED")
            table.add_row(*map(Text, row.cells), style="bold red" if bad else "")
        console.print(table)
    for line in mismatch_lines(results):
        console.print(Text(line, "bold red"))
    console.print(Text(verdict(results)))


def _by_area(lines: Sequence[Row]) -> Iterable[tuple[str, list[Row]]]:
    areas = dict.fromkeys(row.area for row in lines)
    return [(area, [row for row in lines if row.area == area]) for area in areas]


def markdown(results: Sequence[Result], date: str) -> str:
    """The table as markdown."""
    spent = sum(result.seconds for result in results)
    parts = [
        f"{verdict(results)} Measured on {date}: {machine_line()}; {spent / 60:.0f} minutes of one "
        "core.",
    ]
    for area, lines in _by_area(rows(results)):
        table = [f"| {' | '.join(HEADERS)} |", "|" + "---|" * 4 + "---:|" * 3 + "---|"]
        cells = ([cell.replace("|", "\\|") for cell in row.cells] for row in lines)
        table += [f"| {' | '.join(line)} |" for line in cells]
        parts.append(f"### {TITLES.get(area, area)}\n\n" + "\n".join(table))
    named = mismatch_lines(results)
    if named:
        parts.append("\n".join(f"- {line}" for line in named))
    return "\n\n".join(parts) + "\n"


def as_json(results: Sequence[Result]) -> str:
    """All of it, one entry a claim."""
    claims = [_row(result).to_dict() for result in results]
    whole = {"verdict": verdict(results), "machine": machine_line(), "claims": claims}
    return json.dumps(whole, indent=2, ensure_ascii=False)
