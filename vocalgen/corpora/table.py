"""Official label tables: CSV read by column name, whatever the order, with rows named in errors."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vocalgen.errors import VocalgenError

UNKNOWN = frozenset({"", "nan", "na", "none", "?"})
"""How blank cells are written, in lower case."""


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Args:
        table: the file, for messages.
        number: line of the file as a spreadsheet counts, the header being 1.
        cells: stripped values by lower-case column name; "" where unknown.
    """

    table: Path
    number: int
    cells: Mapping[str, str]

    def text(self, column: str) -> str:
        """A cell as it is; "" where it is blank or the column is missing."""
        return self.cells.get(column.lower(), "")

    def number_of(self, column: str, low: float = -math.inf, high: float = math.inf) -> float:
        """A cell as a number in [low, high]; NaN where it is blank or the column is missing.

        Raises:
            VocalgenError: it is no number, or outside.
        """
        text = self.text(column)
        if not text:
            return math.nan
        try:
            value = float(text)
        except ValueError:
            raise self.error(column, f"{text!r} is not a number") from None
        if not low <= value <= high:
            raise self.error(column, f"{text} is outside [{low:g}, {high:g}]")
        return value

    def error(self, column: str, problem: str) -> VocalgenError:
        """What is wrong with a cell."""
        return VocalgenError(f"{self.table}, row {self.number}, column {column}: {problem}")


def read_table(path: Path, required: Sequence[str], delimiter: str = ",", quote: str = '"') -> list[Row]:
    """All rows of a CSV.

    Args:
        required: columns that must be there, in any case.

    Raises:
        VocalgenError: it cannot be read, lacks a required column, has one twice, has a row of another length or none.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quotechar=quote))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise VocalgenError(f"cannot read {path} ({reason})") from error
    header = [name.strip().lower() for name in lines[0]] if lines else []
    missing = [column for column in required if column.lower() not in header]
    if missing:
        found = ", ".join(name for name in header if name) or "nothing"
        raise VocalgenError(f"{path}: column {', '.join(missing)} is missing; its first line has {found[:200]}")
    repeated = sorted({name for name in header if name and header.count(name) > 1})
    if repeated:
        raise VocalgenError(f"{path}: column {', '.join(repeated)} appears twice")
    rows = list(_rows(path, header, lines))
    if not rows:
        raise VocalgenError(f"{path} has no rows")
    return rows


def _rows(path: Path, header: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[Row]:
    for number, cells in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise VocalgenError(f"{path}, row {number} has {len(cells)} cells, the header has {len(header)}")
        stripped = (cell.strip() for cell in cells)
        yield Row(path, number, {n: "" if c.lower() in UNKNOWN else c for n, c in zip(header, stripped, strict=True)})
