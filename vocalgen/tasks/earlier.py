"""Comparison of the benchmark that an output folder holds already with the one that is asked for."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from vocalgen.errors import VocalgenError
from vocalgen.settings_diff import describe, differences
from vocalgen.tasks.runs import RECORD, REPORT, key_of, plain, read_record
from vocalgen.tasks.system import System, TaskData
from vocalgen.tasks.task import Task


def require_same_benchmark(out: Path, task: Task, system: System) -> None:
    """Check that a folder does not hold the benchmark of another task or system.

    Raises:
        VocalgenError: it does.
    """
    for record in _records(out).values():
        if (record["task"], record["system"]) != (task.name, system.name):
            raise VocalgenError(
                f"{out} holds the benchmark of {record['system']} on {record['task']}; give another --out"
            )


def require_unchanged(out: Path, system: System, data: TaskData) -> None:
    """Refuse to replace what is finished by what other settings or data would make of it.

    Raises:
        VocalgenError: a seed or the report was made otherwise.
    """
    now = plain(system.settings)
    for path, record in _records(out).items():
        changed = differences(record.get("settings", now), now)
        if changed:
            reason = describe(changed)
        elif "key" in record and record["key"] != key_of(system, data, record["seed"]):
            what = f"the clips of {data.manifest}, their splits, speakers or labels"
            reason = f"{what if 'settings' in record else f'the settings, or {what}'} have changed since"
        else:
            continue
        raise VocalgenError(f"{path} was made otherwise ({reason}); give another --out, or remove {out} to start over")


def _records(out: Path) -> dict[Path, dict[str, Any]]:
    """What finished seeds and the report say of themselves, by file; what is damaged will be made anew."""
    found = {}
    for path in (out / REPORT, *sorted(out.glob(f"seeds/seed-*/{RECORD}"))):
        wanted = {"task", "system", *(("seed", "key") if path.name == RECORD else ())}
        with suppress(VocalgenError):
            record = read_record(path)
            if wanted <= record.keys() and isinstance(record.get("settings", {}), dict):
                found[path] = record
    return found
