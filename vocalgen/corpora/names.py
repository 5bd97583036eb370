"""Names of clips and files that tools spell differently: Windows paths, Unicode normal forms, lost leading zeros."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Literal

_ZEROS = re.compile(r"(?<![^/\[])0+(?=\d+(?:[\].]|/|$))")
_FORMS: tuple[Literal["NFC"], Literal["NFD"]] = ("NFC", "NFD")


def plain_name(name: str) -> str:
    """Return the form in which spellings of one name are equal.

    >>> plain_name("awe\\\\0012.wav"), plain_name("[00012]"), plain_name("take-007")
    ('awe/12.wav', '[12]', 'take-007')
    """
    text = unicodedata.normalize("NFC", name).replace("\\", "/").removeprefix("./")
    return _ZEROS.sub("", text)


def by_plain_name(names: Iterable[str]) -> dict[str, str]:
    """Return the names by their plain form; forms that several names have are left out."""
    pairs = [(plain_name(name), name) for name in names]
    often = Counter(form for form, _ in pairs)
    return {form: name for form, name in pairs if often[form] == 1}


def match_names(given: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Return which known name each given one means; names without a counterpart are left out.

    A name that is known as it is means itself. Others are compared by `plain_name`, where that is unambiguous.
    """
    given, every = list(given), set(known)
    found = {name: name for name in given if name in every}
    free: Mapping[str, str] = by_plain_name(every.difference(found))
    for form, name in by_plain_name(name for name in given if name not in every).items():
        if form in free:
            found[name] = free[form]
    return found


def locate(folder: Path, text: str) -> Path:
    """Return the file that a table names: `text`, relative to `folder`, or the spelling of it that exists.

    Backslashes are tried as slashes, and names in both normal forms of Unicode. Where nothing exists, the path has
    slashes and is otherwise as written.
    """
    direct = Path(os.path.normpath(os.path.join(folder, text)))
    if (text.isascii() and "\\" not in text) or os.path.lexists(direct):
        return direct
    path = folder
    for part in PurePosixPath(text.replace("\\", "/")).parts:
        path = next((path / form for form in _spellings(part) if os.path.lexists(path / form)), path / part)
    return Path(os.path.normpath(path))


def _spellings(part: str) -> Iterator[str]:
    yield part
    yield from (unicodedata.normalize(form, part) for form in _FORMS)


def similar_hint(path: Path) -> str:
    """Return the end of a message about a missing file: what is there and may be meant; "" if nothing is."""
    near = similar_file(path)
    return f"; {near!r} is there: is it meant?" if near else ""


def similar_file(path: Path) -> str:
    """Return the name of a file beside `path` that may be meant for it; "" if there is none.

    Numbers with other zeros are looked for first, then names in another case, then with another suffix.
    """
    try:
        entries = sorted(entry for entry in os.listdir(path.parent) if not entry.startswith("."))
    except OSError:
        return ""
    for form in (plain_name, lambda name: plain_name(name).casefold(), lambda name: _stem(name).casefold()):
        alike = [entry for entry in entries if form(entry) == form(path.name)]
        if alike:
            return alike[0]
    return ""


def _stem(name: str) -> str:
    return PurePosixPath(plain_name(name)).stem
