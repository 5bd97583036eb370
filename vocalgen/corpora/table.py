"""The one reader of tables: CSV or JSON lines, read by column name in any case, with rows named in errors.

Separators (comma, semicolon, tab), a byte-order mark, decimal commas, blank rows and the usual spellings of blank cells
are what spreadsheets and pandas make of a table; all are read alike. Submission files are checked, not read: there the
exact form counts (see `corpora.submission`).
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocalgen.corpora.cells import UNKNOWN, known, parse_number, scale_hint
from vocalgen.corpora.names import match_names
from vocalgen.corpora.words import count
from vocalgen.errors import VocalgenError

Columns = Sequence[str | tuple[str, ...]]
"""Names of columns that must be there, in any case; of a tuple of names one must be."""

JSON_LINES = frozenset({".jsonl", ".ndjson", ".json"})
"""Suffixes, in lower case, of tables that hold one JSON object per line."""

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_QUOTED = re.compile(r'"[^"]*"')
_NAMED_SEPARATOR = re.compile(r"\ufeff?sep=(.)\r?\n", re.IGNORECASE)
_LISTED = 3


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Args:
        table: the file, for messages.
        number: line of the file as a spreadsheet counts; the header of a CSV file is line 1.
        cells: values by lower-case column name, "" where unknown; strings without surrounding spaces in a CSV file.
        others: all rows of the table, for messages.
        decimal_comma: whether 0,5 is a number here.
    """

    table: Path
    number: int
    cells: Mapping[str, Any]
    others: Sequence[Row] = field(default=(), repr=False, compare=False)
    decimal_comma: bool = False

    @property
    def where(self) -> str:
        """Table and row, for messages."""
        return f"{self.table}, row {self.number}"

    def text(self, column: str) -> str:
        """Return a cell as text; "" where it is blank or the column is missing."""
        return str(self.cells.get(column.lower(), "")).strip()

    def number_of(self, column: str, low: float = -math.inf, high: float = math.inf) -> float:
        """Return a cell as a number in [low, high]; NaN where it is blank or the column is missing.

        Raises:
            VocalgenError: it is not a number, or outside.
        """
        text = self.text(column)
        if not text:
            return math.nan
        try:
            value = parse_number(text, self.decimal_comma)
        except ValueError as error:
            raise self.error(column, str(error)) from None
        if not (low <= value <= high or math.isnan(value)):
            hint = scale_hint(row.text(column) for row in self.others) if high == 1 else ""
            raise self.error(column, f"{text} is outside [{low:g}, {high:g}]{hint}")
        return value

    def error(self, column: str, problem: str) -> VocalgenError:
        """Say what is wrong with a cell."""
        return VocalgenError(f"{self.where}, column {column}: {problem}")


@dataclass(frozen=True)
class Table:
    """Rows of a file; at least one.

    Args:
        path: the file, for messages.
        columns: names as they are written; blank ones are left out.
        rows: rows in which something is written.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, column: object) -> bool:
        """Whether there is a column of that name, in any case."""
        return isinstance(column, str) and column.lower() in {name.lower() for name in self.columns}

    def require(self, *names: str) -> None:
        """Refuse a table without these columns.

        Raises:
            VocalgenError: it lacks one.
        """
        check_header(self.path, self.columns, names)

    def by(self, key: str) -> dict[str, Row]:
        """Return the rows by what they have in the column `key`.

        Raises:
            VocalgenError: no such column, a row where it is blank, or a value that appears twice.
        """
        self.require(key)
        found: dict[str, Row] = {}
        for row in self.rows:
            name = row.text(key)
            if not name:
                raise row.error(key, "is blank; fill it in")
            if name in found:
                raise VocalgenError(f"{row.where}: {key} {name} is there twice; keep one")
            found[name] = row
        return found


def read_table(
    path: str | Path, required: Columns = (), what: str = "table", blanks: Collection[str] = UNKNOWN
) -> Table:
    """Read a CSV file or, by its suffix, JSON lines.

    Args:
        required: columns that must be there.
        what: what the file is, for messages.
        blanks: how blank cells are written, in lower case.

    Raises:
        VocalgenError: it cannot be read, lacks a required column, has one twice, has a row of another length or none.
    """
    path = Path(path)
    rows: list[Row] = []
    if path.suffix.lower() in JSON_LINES:
        rows.extend(_json_rows(path, what, rows, blanks))
        columns = tuple(dict.fromkeys(name for row in rows for name in row.cells))
        check_header(path, columns, required if rows else ())
    else:
        text = read_text(path, what)
        lines, separator = parse_csv(text, str(path)), delimiter(text)
        header = [name.strip() for name in lines[0]] if lines else []
        check_header(path, header, required)
        columns = tuple(filter(None, header))
        rows.extend(_csv_rows(path, header, lines, rows, blanks, separator != ","))
    if not rows:
        raise VocalgenError(f"{path} has no rows")
    return Table(path, columns, tuple(rows))


def joined(truth: Table, prediction: Table, key: str) -> list[tuple[Row, Row]]:
    """Pair the rows of two tables by their ids, in the order of the truth.

    Ids may differ in what tools change about names, see `match_names`.

    Raises:
        VocalgenError: an id is in one table only, or what `Table.by` refuses.
    """
    true, predicted = truth.by(key), prediction.by(key)
    same = match_names(predicted, true)
    for table, other, lacking in (
        (truth, prediction, [name for name in predicted if name not in same]),
        (prediction, truth, [name for name in true if name not in set(same.values())]),
    ):
        if lacking:
            raise VocalgenError(f"{table.path} lacks {len(lacking)} ids of {other.path}, the first is {lacking[0]}")
    of = {name: predicted[given] for given, name in same.items()}
    return [(row, of[name]) for name, row in true.items()]


def numbers(rows: Sequence[Row], column: str) -> NDArray[np.float64]:
    """Return one column of some rows as numbers; NaN where blank.

    Raises:
        VocalgenError: a cell is not a number; its row is named.
    """
    return np.array([row.number_of(column) for row in rows], dtype=np.float64)


def separator_hint(cells: Sequence[str], separator: str = ",") -> str:
    """Say how a table seems to be written, if a line is one cell only; else "".

    >>> separator_hint(["File_ID;Split"])
    'its cells seem to be separated by semicolons: save it with commas'
    """
    others = [other for other in _SEPARATORS if other != separator and len(cells) == 1 and other in cells[0]]
    if not others:
        return ""
    likely = max(others, key=cells[0].count)
    return f"its cells seem to be separated by {_SEPARATORS[likely]}: save it with {_SEPARATORS[separator]}"


def check_header(path: Path, header: Sequence[str], required: Columns, separator: str = ",") -> None:
    """Compare the columns of a table with those that are needed.

    Raises:
        VocalgenError: a column is missing, with what may be meant for it, or is there twice.
    """
    present = {name.lower(): name for name in header if name}
    names = [name if isinstance(name, tuple) else (name,) for name in required]
    missing = [" or ".join(either) for either in names if not any(name.lower() in present for name in either)]
    hint = separator_hint(header, separator)
    if missing and hint:
        raise VocalgenError(f"{path} has one column only; {hint}")
    if missing:
        needed = {name.lower() for either in names for name in either}
        near = get_close_matches(missing[0].lower(), set(present) - needed, n=1, cutoff=0.5)
        meant = f"is {present[near[0]]!r} meant for it? then rename that; " if near else ""
        more = f" (and {len(missing) - _LISTED} more)" if len(missing) > _LISTED else ""
        found = ", ".join(present.values()) or "nothing"
        lacking = f"column {', '.join(missing[:_LISTED])}{more} is missing"
        raise VocalgenError(f"{path}: {lacking}; {meant}its first line has {found[:200]}")
    require_different(header, path)


def require_different(columns: Sequence[str], path: Path) -> None:
    """Refuse a table in which one column would hide another.

    Raises:
        VocalgenError: a column is there twice, in any case.
    """
    lower = [name.lower() for name in columns if name]
    repeated = sorted({name for name in lower if lower.count(name) > 1})
    if repeated:
        raise VocalgenError(f"{path}: column {', '.join(repeated)} appears twice; keep one")


def read_text(path: Path, what: str = "table", encoding: str = "utf-8-sig") -> str:
    """Read a text file in UTF-8.

    Args:
        what: what the file is, for messages.
        encoding: "utf-8" keeps a byte-order mark.

    Raises:
        VocalgenError: it cannot be read, or is not UTF-8; the row is named.
    """
    try:
        return path.read_bytes().decode(encoding)
    except OSError as error:
        raise VocalgenError(f"cannot read the {what} {path} ({error.strerror or error}); check the path") from error
    except UnicodeDecodeError as error:
        row = len(error.object[: error.start + 1].splitlines())
        raise VocalgenError(f"{path}, row {row}: a character is not UTF-8; save the {what} as UTF-8") from error


def delimiter(text: str) -> str:
    """Return what separates the cells of a CSV file, by its first line: what occurs most there.

    >>> delimiter("clip;rating\\n"), delimiter("clip\\n"), delimiter("sep=;\\nclip\\n")
    (';', ',', ';')
    """
    named = _NAMED_SEPARATOR.match(text)
    if named:
        return named[1]
    first = _QUOTED.sub("", text.partition("\n")[0])
    return max(_SEPARATORS, key=first.count)


def read_csv(path: Path, what: str = "table") -> list[list[str]]:
    """Read the cells of every row of a CSV file; the first row may be the header.

    Raises:
        VocalgenError: whatever `read_text` and `parse_csv` refuse.
    """
    return parse_csv(read_text(path, what), str(path))


def parse_csv(text: str, name: str, separator: str | None = None) -> list[list[str]]:
    """Split the text of a CSV file into the cells of every row.

    Args:
        name: of the file, for messages.
        separator: what separates cells; None detects it, see `delimiter`.

    Raises:
        VocalgenError: a quote is not closed, or has text behind it; the row is named.
    """
    rows: list[list[str]] = []
    if separator is None:
        separator = delimiter(text)
        named = _NAMED_SEPARATOR.match(text)
        text = text[named.end() :] if named else text
    try:
        for cells in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True):
            rows.append(cells)
    except csv.Error as error:
        problem = f'not readable as CSV ({error}); is a quote (") opened there and not closed?'
        raise VocalgenError(f"{name}, row {len(rows) + 1}: {problem}") from error
    return rows


def is_blank_row(cells: Sequence[str]) -> bool:
    """Whether a row holds separators and spaces only, as spreadsheets append them."""
    return not any(cell.strip() for cell in cells)


def fit_width(cells: Sequence[str], header: Sequence[str], where: str) -> Sequence[str]:
    """Return the cells of a row, as many as the header has; blank ones beyond them are dropped.

    Args:
        where: how errors begin.

    Raises:
        VocalgenError: the row has fewer cells, or more.
    """
    if len(cells) > len(header) and is_blank_row(cells[len(header) :]):
        return cells[: len(header)]
    if len(cells) != len(header):
        others = [name for mark, name in _SEPARATORS.items() if len(cells) == 1 and mark in cells[0]]
        todo = "mend the row" if len(cells) < len(header) else "mend the row, and write decimals with a point"
        if others:
            todo = f"its cells seem to be separated by {others[0]}, unlike those of the header"
        raise VocalgenError(f"{where} has {count(len(cells), 'cell')}, the header has {len(header)}; {todo}")
    return cells


def _csv_rows(
    path: Path,
    header: Sequence[str],
    lines: Sequence[Sequence[str]],
    others: Sequence[Row],
    blanks: Collection[str],
    decimal_comma: bool,
) -> Iterator[Row]:
    names = [name.lower() for name in header]
    for number, cells in enumerate(lines[1:], start=2):
        if is_blank_row(cells):
            continue
        fitting = fit_width(cells, header, f"{path}, row {number}")
        values = {name: known(cell, blanks) for name, cell in zip(names, fitting, strict=True) if name}
        yield Row(path, number, values, others, decimal_comma)


def _json_rows(path: Path, what: str, others: Sequence[Row], blanks: Collection[str]) -> Iterator[Row]:
    # Lines of JSON end with a line feed alone: `splitlines` would cut at U+2028 and NEL inside strings.
    for number, line in enumerate(read_text(path, what).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", None) or error
            raise VocalgenError(f"{path}: row {number} is not JSON ({reason}); mend it") from error
        if not isinstance(cells, dict):
            raise VocalgenError(f'{path}: row {number} is not a JSON object; write {{"file": ..., "emotion": ...}}')
        values = {str(name).strip().lower(): known(value, blanks) for name, value in cells.items()}
        yield Row(path, number, values, others)
