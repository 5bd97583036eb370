"""Whether a report follows the schema of `evaluation.columns`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vocalgen.errors import VocalgenError
from vocalgen.evaluation.columns import SCHEMA, SECTIONS, Column

KEYS = (
    "schema", "systems", "anchors", "emotions", "conditions", "warnings", "sections", "confusion", "between",
    "differences", "published",
)  # fmt: skip
"""What every report holds."""

MATRIX_KEYS = {"confusion": "heard", "between": "emotions"}
"""Where the columns of a matrix are named; rows are `emotions`."""


def check_report(report: Mapping[str, Any]) -> None:
    """Look through a report, made or read from report.json.

    A row may lack columns and emotions. "heard", the names of the columns of confusion matrices, may be left out where
    they are the emotions.

    Raises:
        VocalgenError: not of this schema, or anything that is missing, unknown, of the wrong type or not finite; names
            the place.
    """
    if report.get("schema") != SCHEMA:
        raise VocalgenError(f"report: the schema is {report.get('schema')!r}, this version reads {SCHEMA!r}")
    for key in KEYS:
        _require(key in report, key, "is missing")
    for key in ("systems", "anchors", "emotions", "warnings"):
        _require(_is_texts(report[key]), key, "must be a list of texts")
    for key in ("systems", "emotions"):
        _require(len(set(report[key])) == len(report[key]) > 0, key, "must be different names, at least one")
    both = sorted(set(report["systems"]) & set(report["anchors"]))
    _require(not both, "systems", f"must not be called like an anchor, {', '.join(map(repr, both))}")
    _check_plain(report["conditions"], "conditions")
    _require(isinstance(report["conditions"], Mapping), "conditions", "must be a mapping")
    _check_sections(report)
    for key, named in MATRIX_KEYS.items():
        for name, matrix in _mapping(report[key], key).items():
            width = len(report.get(named) or report["emotions"])
            _check_matrix(matrix, f"{key}.{name}", len(report["emotions"]), width, counts=key == "confusion")
    for place, entry in enumerate(_sequence(report["differences"], "differences")):
        _check_difference(entry, f"differences.{place}", report)
    for place, entry in enumerate(_sequence(report["published"], "published")):
        for key, value in _mapping(entry, f"published.{place}").items():
            where = f"published.{place}.{key}"
            _require(isinstance(value, (str, int, float, type(None))), where, "must be a text or a number")
            _check_plain(value, where)


def _check_sections(report: Mapping[str, Any]) -> None:
    known = {*report["systems"], *report["anchors"]}
    for key, section in _mapping(report["sections"], "sections").items():
        where = f"sections.{key}"
        kind = str(_mapping(section, where).get("kind"))
        _require(kind in SECTIONS, f"{where}.kind", f"is {kind!r}, not one of {', '.join(SECTIONS)}")
        _require(isinstance(section.get("encoder"), (str, type(None))), f"{where}.encoder", "must be a name or null")
        for name, row in _mapping(section.get("rows"), f"{where}.rows").items():
            inside = f"{where}.rows.{name}"
            _require(name in known, inside, "is neither a system nor an anchor")
            _require({"overall", "emotions"} == set(_mapping(row, inside)), inside, "must hold overall and emotions")
            _check_row(row["overall"], SECTIONS[kind].overall, f"{inside}.overall")
            for emotion, entry in _mapping(row["emotions"], f"{inside}.emotions").items():
                _require(emotion in report["emotions"], f"{inside}.emotions.{emotion}", "is no emotion of the report")
                _check_row(entry, SECTIONS[kind].emotions, f"{inside}.emotions.{emotion}")


def _check_row(row: Any, columns: Mapping[str, Column], where: str) -> None:
    for key, value in _mapping(row, where).items():
        _require(key in columns, f"{where}.{key}", f"is not a column; there are {', '.join(columns) or 'none'}")
        if columns[key].form == "{}":
            _require(isinstance(value, (str, type(None))), f"{where}.{key}", "must be a text or null")
        elif isinstance(value, (list, tuple)):
            _check_interval(value, f"{where}.{key}")
        else:
            _require(value is None or _is_number(value), f"{where}.{key}", f"is {value!r}, not a finite number")


def _check_interval(value: Any, where: str) -> None:
    good = isinstance(value, (list, tuple)) and len(value) == 3 and all(_is_number(entry) for entry in value)
    _require(good, where, f"is {value!r}, not an interval [value, low, high]")
    _require(value[1] <= value[2], where, f"is {value!r}: low lies above high")


def _check_difference(entry: Any, where: str, report: Mapping[str, Any]) -> None:
    keys = {"a", "b", "section", "column", "value"}
    _require(set(_mapping(entry, where)) == keys, where, f"must hold {', '.join(sorted(keys))}")
    for key in ("a", "b"):
        _require(entry[key] in report["systems"], f"{where}.{key}", "is no system")
    _require(entry["section"] in report["sections"], f"{where}.section", "is no section")
    kind = report["sections"][entry["section"]]["kind"]
    _require(entry["column"] in SECTIONS[kind].overall, f"{where}.column", f"is no column of {kind}")
    _check_interval(entry["value"], f"{where}.value")


def _check_matrix(matrix: Any, where: str, height: int, width: int, counts: bool) -> None:
    rows = _sequence(matrix, where)
    shape = len(rows) == height and all(len(_sequence(row, where)) == width for row in rows)
    _require(shape, where, f"must have {height} rows of {width}")
    for value in (value for row in rows for value in row):
        good = isinstance(value, int) and value >= 0 if counts else value is None or _is_number(value)
        _require(good, where, f"holds {value!r}")


def _check_plain(value: Any, where: str) -> None:
    """Nothing but what JSON has."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            _require(isinstance(key, str), f"{where}.{key}", "is no text")
            _check_plain(entry, f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for place, entry in enumerate(value):
            _check_plain(entry, f"{where}.{place}")
    else:
        good = isinstance(value, (str, bool, type(None))) or _is_number(value)
        _require(good, where, f"is {value!r}, which JSON does not have")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(entry, str) for entry in value)


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    _require(isinstance(value, Mapping), where, "must be a mapping")
    mapping: Mapping[str, Any] = value
    return mapping


def _sequence(value: Any, where: str) -> Sequence[Any]:
    _require(isinstance(value, (list, tuple)), where, "must be a list")
    sequence: Sequence[Any] = value
    return sequence


def _require(condition: bool, where: str, what: str) -> None:
    if not condition:
        raise VocalgenError(f"report: {where} {what}")
