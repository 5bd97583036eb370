"""Official label tables: CSV read by column name, whatever the order, with rows named in errors."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from vocalgen.corpora.words import count
from vocalgen.errors import VocalgenError

UNKNOWN = frozenset({"", "nan", "na", "none", "?"})
"""How blank cells are written, in lower case."""

Columns = Sequence[str | tuple[str, ...]]
"""Names of columns that must be there, in any case; of a tuple of names one must be."""

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_LISTED = 3


@dataclass(frozen=True)
class Column:
    """What cells of a column may hold.

    Args:
        low, high: of numbers.
        words: the only values, if not numbers.
    """

    low: float = 0.0
    high: float = 1.0
    words: tuple[str, ...] = ()

    def problem(self, text: str) -> str:
        """What is wrong with a cell; "" if nothing is."""
        if self.words:
            return "" if text in self.words else f"{text!r} is none of {', '.join(self.words)}"
        try:
            value = float(text)
        except ValueError:
            return f"{text!r} is not a number"
        if not math.isfinite(value):
            return f"{text} is no finite number"
        return "" if self.low <= value <= self.high else f"{text} is outside [{self.low:g}, {self.high:g}]"


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Args:
        table: the file, for messages.
        number: line of the file as a spreadsheet counts, the header being 1.
        cells: stripped values by lower-case column name; "" where unknown.
        others: all rows of the table, for messages.
    """

    table: Path
    number: int
    cells: Mapping[str, str]
    others: Sequence[Row] = field(default=(), repr=False, compare=False)

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
            hint = scale_hint(row.text(column) for row in self.others) if high == 1 else ""
            raise self.error(column, f"{text} is outside [{low:g}, {high:g}]{hint}")
        return value

    def error(self, column: str, problem: str) -> VocalgenError:
        """What is wrong with a cell."""
        return VocalgenError(f"{self.table}, row {self.number}, column {column}: {problem}")


def scale_hint(values: Iterable[object]) -> str:
    """What to do about labels that belong into [0, 1], if most of the column are on another scale; else "".

    >>> scale_hint(["", "0", "64", "100"])
    '; the labels look like 1 to 100: divide them by 100'
    """
    numbers = [value for value in map(_positive, values) if value]
    top = max(numbers, default=0.0)
    if top < 2 or 2 * sum(value > 1 for value in numbers) <= len(numbers):
        return ""
    if 10 < top <= 100:
        return "; the labels look like 1 to 100: divide them by 100"
    return f"; the labels go up to {top:g}: bring them into [0, 1]"


def _positive(value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return 0.0
    return number if number > 0 else 0.0


def separator_hint(cells: Sequence[str], separator: str = ",") -> str:
    """How a table seems to be written, if a line is one cell only; else "".

    >>> separator_hint(["File_ID;Split"])
    'its cells seem to be separated by semicolons: save it with commas'
    """
    others = [other for other in _SEPARATORS if other != separator and len(cells) == 1 and other in cells[0]]
    if not others:
        return ""
    likely = max(others, key=cells[0].count)
    return f"its cells seem to be separated by {_SEPARATORS[likely]}: save it with {_SEPARATORS[separator]}"


def check_header(path: Path, header: Sequence[str], required: Columns, separator: str = ",") -> None:
    """Hold the first line of a table against the columns that are needed.

    Raises:
        VocalgenError: a column is missing, with what may be meant for it, or is there twice.
    """
    known = {name.lower(): name for name in header if name}
    names = [name if isinstance(name, tuple) else (name,) for name in required]
    missing = [" or ".join(either) for either in names if not any(name.lower() in known for name in either)]
    hint = separator_hint(header, separator)
    if missing and hint:
        raise VocalgenError(f"{path} has one column only; {hint}")
    if missing:
        needed = {name.lower() for either in names for name in either}
        near = get_close_matches(missing[0].lower(), set(known) - needed, n=1, cutoff=0.5)
        meant = f"is {known[near[0]]!r} meant for it? then rename that; " if near else ""
        more = f" (and {len(missing) - _LISTED} more)" if len(missing) > _LISTED else ""
        found = ", ".join(known.values()) or "nothing"
        lacking = f"column {', '.join(missing[:_LISTED])}{more} is missing"
        raise VocalgenError(f"{path}: {lacking}; {meant}its first line has {found[:200]}")
    lower = [name.lower() for name in header if name]
    repeated = sorted({name for name in lower if lower.count(name) > 1})
    if repeated:
        raise VocalgenError(f"{path}: column {', '.join(repeated)} appears twice")


def read_text(path: Path, what: str = "table", encoding: str = "utf-8-sig") -> str:
    """A text file in UTF-8.

    Args:
        what: the file is, for messages.
        encoding: "utf-8" keeps a byte-order mark.

    Raises:
        VocalgenError: it cannot be read, or is no UTF-8; the row is named.
    """
    try:
        return path.read_bytes().decode(encoding)
    except OSError as error:
        raise VocalgenError(f"cannot read the {what} {path} ({error.strerror or error}); check the path") from error
    except UnicodeDecodeError as error:
        row = len(error.object[: error.start + 1].splitlines())
        raise VocalgenError(f"{path}, row {row}: a character is not UTF-8; save the {what} as UTF-8") from error


def read_csv(path: Path, what: str = "table") -> list[list[str]]:
    """Cells of every row of a CSV; the first row may be the header.

    Raises:
        VocalgenError: whatever `read_text` and `parse_csv` refuse.
    """
    return parse_csv(read_text(path, what), str(path))


def parse_csv(text: str, name: str) -> list[list[str]]:
    """Cells of every row of the text of a CSV.

    Args:
        name: of the file, for messages.

    Raises:
        VocalgenError: a quote is not closed, or has text behind it; the row is named.
    """
    rows: list[list[str]] = []
    try:
        for cells in csv.reader(io.StringIO(text, newline=""), strict=True):
            rows.append(cells)
    except csv.Error as error:
        problem = f'not readable as CSV ({error}); is a quote (") opened there and not closed?'
        raise VocalgenError(f"{name}, row {len(rows) + 1}: {problem}") from error
    return rows


def check_width(cells: Sequence[str], header: Sequence[str], where: str) -> None:
    """Raise VocalgenError, beginning with `where`, if a row has more or fewer cells than the header."""
    if len(cells) != len(header):
        hint = separator_hint(cells)
        raise VocalgenError(
            f"{where} has {count(len(cells), 'cell')}, the header has {len(header)}; {hint or 'mend the row'}"
        )


def read_table(path: Path, required: Columns) -> list[Row]:
    """All rows of a CSV.

    Args:
        required: columns that must be there.

    Raises:
        VocalgenError: it cannot be read, lacks a required column, has one twice, has a row of another length or none.
    """
    lines = read_csv(path)
    header = [name.strip() for name in lines[0]] if lines else []
    check_header(path, header, required)
    rows: list[Row] = []
    rows.extend(_rows(path, header, lines, rows))
    if not rows:
        raise VocalgenError(f"{path} has no rows")
    return rows


def _rows(path: Path, header: Sequence[str], lines: Sequence[Sequence[str]], others: Sequence[Row]) -> Iterator[Row]:
    names = [name.lower() for name in header]
    for number, cells in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        check_width(cells, header, f"{path}, row {number}")
        stripped = (cell.strip() for cell in cells)
        known = {n: "" if c.lower() in UNKNOWN else c for n, c in zip(names, stripped, strict=True)}
        yield Row(path, number, known, others)
