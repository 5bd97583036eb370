"""Print the requirements of pyproject.toml, each at its lowest version or without any limit above.

    python .ci/bounds.py lowest EXTRA ...   constraints for pip: name==LOWEST
    python .ci/bounds.py newest EXTRA ...   requirements for pip: name>=LOWEST

Extras are those of the project; requirements that name the project itself stand for its extras. Needs Python 3.11.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import tomllib

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
FORMATS = {"lowest": "{name}=={lowest}", "newest": "{name}>={lowest}"}


def requirements(project: dict, extras: list[str]) -> Iterator[str]:
    """Requirements of the project and of some of its extras, those of nested extras included."""
    own = re.compile(rf"{project['name']}\[([\w,-]+)\]$")
    for requirement in [*project["dependencies"], *(r for e in extras for r in project["optional-dependencies"][e])]:
        nested = own.match(requirement)
        if nested is None:
            yield requirement
        elif set(nested[1].split(",")) - set(extras):
            raise SystemExit(f"{requirement}: name these extras too")


def lowest(requirement: str) -> tuple[str, str]:
    """Name and lowest version of `name>=LOWEST` or `name>=LOWEST,<LIMIT`."""
    found = re.match(r"([\w.-]+)>=([\w.]+)(?:,<[\w.]+)?$", requirement)
    if found is None:
        raise SystemExit(
            f"pyproject.toml: {requirement!r} has no lower bound; write name>=VERSION or name>=VERSION,<LIMIT"
        )
    return found[1], found[2]


def main() -> None:
    """Print one line for each requirement."""
    kind, extras = sys.argv[1], sys.argv[2:]
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    for requirement in requirements(project, extras):
        name, version = lowest(requirement)
        print(FORMATS[kind].format(name=name, lowest=version))


if __name__ == "__main__":
    main()
