"""Published results of the tasks: the CSV files of eval/published."""

from __future__ import annotations

from pathlib import Path

from vocalgen.corpora.table import read_table
from vocalgen.errors import VocalgenError
from vocalgen.evaluation.protocol import shipped_folder

NUMBERS = ("value", "deviation")


def published_tasks() -> dict[str, Path]:
    """Files of the tables that this installation has, by task."""
    folder = shipped_folder("published")
    return {path.stem: path for path in sorted(folder.glob("*.csv"))} if folder else {}


def published(task: str) -> list[dict[str, str | float]]:
    """Rows of a task, as flat mappings without blank entries.

    Raises:
        VocalgenError: there is no table of that task.
    """
    files = published_tasks()
    if task not in files:
        raise VocalgenError(f"no published results of {task!r}; there are those of {', '.join(files) or 'no task'}")
    return [
        {key: float(text) if key in NUMBERS else text for key, text in row.cells.items() if text}
        for row in read_table(files[task], blanks=("",))
    ]
