"""L3: formats as tables: the catalogue, and everything about one format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from halfulp.casting import default_policy
from halfulp.catalogue import Format
from halfulp.exact import Number, finite
from halfulp.explanations.density import Density
from halfulp.language import N_
from halfulp.records import Record, data_frame


@dataclass(frozen=True)
class CatalogueRow(Record):
    """One line of the catalogue."""

    name: str
    exponent_bits: int
    fraction_bits: int
    bias: int
    max: Fraction
    least_normal: Fraction
    least_positive: Fraction
    infinities: bool
    nan_codes: int
    signed_zero: bool


@dataclass(frozen=True)
class CatalogueTable(Record):
    """The catalogue as rows."""

    renderer = "halfulp.explanations.formats_text:catalogue_page"

    formats: tuple[CatalogueRow, ...]

    def to_pandas(self) -> Any:
        """One row a format."""
        return data_frame(self.formats)

    @staticmethod
    def of(formats: Sequence[Format]) -> CatalogueTable:
        """The rows of some formats."""
        return CatalogueTable(
            tuple(
                CatalogueRow(**{k: getattr(f, k) for k in CatalogueRow.__dataclass_fields__})
                for f in formats
            )
        )


@dataclass(frozen=True)
class Landmark(Record):
    """A number of a format worth knowing, with its code."""

    name: str
    code: str
    value: Number


@dataclass(frozen=True)
class FormatSheet(Record):
    """One format in full."""

    renderer = "halfulp.explanations.formats_text:sheet_page"

    format: Format
    width: int
    precision: int
    emin: int
    emax: int
    codes: int
    finite_numbers: int  # different values, the two zeros counted once
    nan_codes: int
    overflow: str  # what a value beyond the range becomes by default
    landmarks: tuple[Landmark, ...]
    lost_at_one: Fraction | None  # updates of a weight of 1.0 up to this are lost, or just below it
    tie_is_lost: bool  # whether exactly that is lost too: 1.0 has an even code
    parameters: dict[str, object]
    density: Density

    @staticmethod
    def of(f: Format) -> FormatSheet:
        """The sheet of a format."""
        has_one = f.emin <= 0 and f.bias << f.fraction_bits <= f.max_code
        magnitudes = f.max_code - f.least_code + 1
        return FormatSheet(
            format=f, width=f.width, precision=f.precision, emin=f.emin, emax=f.emax,
            codes=f.codes, finite_numbers=(magnitudes << int(f.signed)) + int(f.zero),
            nan_codes=f.nan_codes, overflow=default_policy(f).overflow.value,
            landmarks=_landmarks(f), lost_at_one=f.ulp(1) / 2 if has_one else None,
            tie_is_lost=(f.bias << f.fraction_bits) % 2 == 0, parameters=f.to_dict(),
            density=Density.of(f),
        )  # fmt: skip


def _landmarks(f: Format) -> tuple[Landmark, ...]:
    one = max(f.bias, 0) << f.fraction_bits
    rows = [
        (N_("least positive"), f.least_code, finite(f.least_positive)),
        (N_("least normal"), f.least_field << f.fraction_bits, finite(f.least_normal)),
        (N_("one"), one, finite(Fraction(1))),
        (N_("next after one"), one + 1, finite(1 + f.epsilon)),
        (N_("largest"), f.max_code, finite(f.max)),
    ]
    if f.emin > 0:
        rows = [row for row in rows if "one" not in row[0]]
    found = [Landmark(name, f.hex(code), value) for name, code, value in rows if code <= f.max_code]
    if f.infinity_code is not None:
        found.append(Landmark(N_("infinity"), f.hex(f.infinity_code), Number(special="inf")))
    if f.nan_code is not None:
        found.append(Landmark(N_("NaN"), f.hex(f.nan_code), Number(special="nan")))
    return tuple(found)
