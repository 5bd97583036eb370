"""What lies in the folder of a benchmark before it begins: nothing, its own earlier work, or something else."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from vocalgen.errors import VocalgenError
from vocalgen.tasks.runs import RECORD, REPORT, key_of, plain, read_record
from vocalgen.tasks.system import System, TaskData
from vocalgen.tasks.task import Task

logger = logging.getLogger(__name__)

LISTED = 5
"""Settings that a message names."""


def require_own(out: Path, task: Task, system: System) -> None:
    """Refuse a folder with files of another origin, or with the benchmark of another task or system.

    Raises:
        VocalgenError: it is such a folder.
    """
    records = _records(out)
    for record in records.values():
        if (record["task"], record["system"]) != (task.name, system.name):
            raise VocalgenError(
                f"{out} holds the benchmark of {record['system']} on {record['task']}; give another --out"
            )
    begun = any(entry for kind in ("seed", "state") for entry in out.glob(f"seeds/{kind}-*"))
    visible = out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir())
    if visible and not (records or begun):
        raise VocalgenError(f"{out} holds files, but no benchmark; give a new or empty folder as --out")
    if (out / REPORT).is_file() and out / REPORT not in records:
        logger.warning("%s is damaged; it is written anew", out / REPORT)


def require_unchanged(out: Path, system: System, data: TaskData) -> None:
    """Refuse to replace what is finished by what other settings or data would make of it.

    Raises:
        VocalgenError: a seed or the report was made otherwise.
    """
    now = _flat(plain(system.settings))
    for path, record in _records(out).items():
        then = _flat(record["settings"]) if "settings" in record else now
        changed = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
        if changed:
            some = [f"{name}: {_short(then.get(name))} there, {_short(now.get(name))} now" for name in changed[:LISTED]]
            reason = "; ".join([*some, *([f"{len(changed) - LISTED} more"] if len(changed) > LISTED else [])])
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
            if wanted <= record.keys():
                found[path] = record
    return found


def _flat(values: Any, at: str = "") -> dict[str, Any]:
    """Nested settings by dotted names."""
    if isinstance(values, Mapping):
        parts = values.items()
    elif isinstance(values, list) and any(isinstance(entry, Mapping) for entry in values):
        parts = {str(place + 1): entry for place, entry in enumerate(values)}.items()
    else:
        return {at: values}
    return {name: leaf for key, part in parts for name, leaf in _flat(part, f"{at}.{key}".lstrip(".")).items()}


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text[:16] if re.fullmatch(r"[0-9a-f]{64}", text) else text
