"""The benchmark: a system fitted with several seeds, scored on validation and test, and written down."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vocalgen.atomic import atomic_path, atomic_write_text, locked, sweep
from vocalgen.corpora.manifest import Manifest
from vocalgen.corpora.submission import FORMATS, require_ids, submission_path
from vocalgen.errors import VocalgenError
from vocalgen.ownership import FolderKind, own_folder, remove, require_own_folder, require_replaceable
from vocalgen.shipped import file_sha256
from vocalgen.tasks.earlier import require_same_benchmark, require_unchanged
from vocalgen.tasks.enrolment import unhelped
from vocalgen.tasks.report import markdown
from vocalgen.tasks.runs import MODEL, PAGE, PREDICTIONS, REPORT, Run, key_of, plain, read_seed, write_run
from vocalgen.tasks.scores import by_column, further, intervals
from vocalgen.tasks.submit import SUBMISSION, originals, submit
from vocalgen.tasks.system import SUPPORT, Rows, System, TaskData, task_data
from vocalgen.tasks.task import DIRECTION, Array, Task, bounded, labelled

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

FIRST_SEED = 101
"""As in the official code."""

MOST_SEEDS, LEAST_DRAWS = 1000, 40
"""Of fewer than 40 resamples none lies beyond a limit of 95 %."""


BENCHMARK = FolderKind("a benchmark")
SEED, SYSTEM = FolderKind("a run of a benchmark", cache=True), FolderKind("a trained system", cache=True)


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Args:
        task, manifest: what is learnt from which corpus.
        out: folder for the report, the runs, the model and the submission.
        seeds: how many; systems that draw no random numbers are fitted once.
        team: in the name of the submission.
        published: rows of other systems to print beside.
        draws: resamples of the intervals.
    """

    task: Task
    manifest: Path
    out: Path
    seeds: int = 3
    team: str = "our-team"
    published: Sequence[Mapping[str, Any]] = ()
    draws: int = 1000


def benchmark(plan: Plan, system: System) -> dict[str, Any]:
    """Fit what is not fitted yet, score, write, and return the report.

    In `out`: `report.json`, `report.md`, the submission for the test clips, `predictions.safetensors` and `model/` of
    the seed that is best on validation, and all seeds in `seeds/`. Nothing is chosen by the test.

    Raises:
        VocalgenError: as `task_data` and the system; `out` holds something else, the same with other settings or data,
            or cannot be written.
    """
    if not 1 <= plan.seeds <= MOST_SEEDS:
        raise VocalgenError(f"--seeds is {plan.seeds}; give 1 to {MOST_SEEDS}")
    if plan.draws < LEAST_DRAWS:
        raise VocalgenError(f"--draws is {plan.draws}; the limits of 95 % need {LEAST_DRAWS} resamples at least")
    require_own_folder(plan.out, BENCHMARK, "give a new or empty folder as --out")
    require_same_benchmark(plan.out, plan.task, system)
    require_replaceable(plan.out / MODEL, kind=SYSTEM)
    written = [plan.out / name for name in (PREDICTIONS, PAGE, REPORT)]
    if plan.task.name in FORMATS:
        written.append(submission_path(plan.task.name, plan.out, plan.team, SUBMISSION))
    for file in written:
        require_replaceable(file)
    data, truth = task_data(plan.task, plan.manifest)
    manifest = Manifest.load(plan.manifest)
    require_ids(plan.task.name, manifest)
    repeats = originals(manifest) if plan.task.name in FORMATS else {}
    own_folder(plan.out, BENCHMARK)
    with locked(plan.out / "benchmark"):
        require_unchanged(plan.out, system, data)
        runs = [
            _run(system, data, seed, plan.out / "seeds", set(repeats.values()))
            for seed in range(FIRST_SEED, FIRST_SEED + (plan.seeds if system.seeded else 1))
        ]
        return _written(plan, system, data, truth, repeats, runs)


def _run(system: System, data: TaskData, seed: int, folder: Path, repeated: set[str]) -> Run:
    """The run of a seed: read if it is there, fitted otherwise; it predicts repeated training clips too.

    What was fitted before a training clip was known to be repeated lacks its prediction: it is fitted again.
    """
    target, key = folder / f"seed-{seed}", key_of(system, data, seed)
    if target.is_dir():
        try:
            run = read_seed(target, data.task)
            if repeated <= set(run.ids):
                return run
            logger.warning("%s lacks clips that test clips are now known to repeat; it is fitted again", target)
        except VocalgenError as error:
            logger.warning("%s; it is fitted again", error)
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    state = folder / f"state-{seed}-{key[:16]}"
    state.mkdir(exist_ok=True)
    fitted = system.fit(data, seed, state)
    heard = [split != "train" or entry in repeated for entry, split in zip(data.ids, data.splits, strict=True)]
    rows = np.flatnonzero(heard)
    prediction = bounded(data.task, fitted.predict(rows))
    for name, values in prediction.items():
        if not np.isfinite(values).all():
            raise VocalgenError(f"{system.name}, seed {seed}: predictions of {name} are NaN; lower the learning rate")
    with atomic_path(target, kind=SEED) as part:
        part.mkdir()
        fitted.save(part / MODEL)
        write_run(part, system, seed, key, data.task, prediction, [data.ids[row] for row in rows])
    for old in folder.glob(f"state-{seed}-*"):
        remove(old)
    return read_seed(target, data.task)


def _written(
    plan: Plan,
    system: System,
    data: TaskData,
    truth: Mapping[str, Array],
    repeats: Mapping[str, str],
    runs: Sequence[Run],
) -> dict[str, Any]:
    parts = {"validation": data.labelled("validation"), "test": _scored_test(data, truth)}
    seeds = [{split: _scores(data, truth, rows, run) for split, rows in parts.items() if len(rows)} for run in runs]
    metric = plan.task.metric
    best = _best([entry["validation"][metric] for entry in seeds], DIRECTION[metric])
    run = runs[best]
    report: dict[str, Any] = {
        "task": plan.task.name,
        "system": system.name,
        "settings": dict(system.settings),
        "metric": metric,
        "data": _data(plan, data, parts),
        "seeds": [{"seed": run.seed, **entry} for run, entry in zip(runs, seeds, strict=True)],
        "summary": {split: _summary([entry[split] for entry in seeds]) for split, rows in parts.items() if len(rows)},
        "best": {
            "seed": run.seed,
            "folder": run.folder.name,
            **{split: _detail(plan, data, truth, rows, run) for split, rows in parts.items() if len(rows)},
        },
        "published": [dict(row) for row in plan.published],
        "warnings": _warnings(plan, data, parts, runs),
    }
    with atomic_path(plan.out / MODEL, kind=SYSTEM) as part:
        shutil.copytree(run.model, part)
    with atomic_path(plan.out / PREDICTIONS) as part:
        shutil.copyfile(run.folder / PREDICTIONS, part)
    if plan.task.name in FORMATS and len(data.rows("test")):
        path, remark = submit(data, Manifest.load(plan.manifest), repeats, run, plan.out, plan.team)
        report["submission"] = path.name
        report["warnings"] += [remark] if remark else []
    report = plain(report)
    atomic_write_text(plan.out / PAGE, markdown(report))
    atomic_write_text(plan.out / REPORT, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return report


def _scored_test(data: TaskData, truth: Mapping[str, Array]) -> Rows:
    """Test clips with a label that no system has seen."""
    some = np.any([labelled(values) for values in truth.values()], axis=0)
    return np.flatnonzero((data.splits == "test") & some & ~data.support)


def _scores(data: TaskData, truth: Mapping[str, Array], rows: Rows, run: Run) -> dict[str, float]:
    """All metrics of a run on some clips, the deciding one first; NaN where there is no number."""
    prediction = run.of([data.ids[row] for row in rows])
    of_rows = {name: values[rows] for name, values in truth.items()}
    try:
        decisive = data.task.score(of_rows, prediction)
    except ValueError:  # constants
        decisive = {data.task.metric: math.nan}
    return {**decisive, **_or_nothing(lambda: further(data.task, of_rows, prediction))}


def _detail(plan: Plan, data: TaskData, truth: Mapping[str, Array], rows: Rows, run: Run) -> dict[str, Any]:
    """Intervals and the scores of columns."""
    prediction = run.of([data.ids[row] for row in rows])
    of_rows = {name: values[rows] for name, values in truth.items()}
    speakers = [data.speakers[row] for row in rows]
    found = _or_nothing(lambda: intervals(plan.task, of_rows, prediction, speakers, plan.draws))
    return {
        "intervals": {name: list(interval) for name, interval in found.items()},
        "columns": _or_nothing(lambda: by_column(plan.task, of_rows, prediction)),
    }


def _or_nothing(compute: Callable[[], dict[str, Value]]) -> dict[str, Value]:
    """What is computed; empty where too few clips or constants have no score."""
    try:
        return compute()
    except ValueError:
        return {}


def _summary(scores: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """Mean and deviation (ddof 1) over seeds, by metric."""
    found: dict[str, dict[str, float | None]] = {}
    for name in scores[0]:
        values = [entry.get(name, math.nan) for entry in scores]
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
        found[name] = {"mean": float(np.mean(values)), "deviation": deviation}
    return found


def _best(scores: Sequence[float], direction: int) -> int:
    """Place of the best score; the first where none is a number."""
    return max(range(len(scores)), key=lambda k: direction * scores[k] if math.isfinite(scores[k]) else -math.inf)


def _data(plan: Plan, data: TaskData, parts: Mapping[str, Rows]) -> dict[str, Any]:
    """What was learnt from and scored on."""
    chosen = {"train": data.labelled("train"), **parts}
    counts = {
        split: {
            "clips": len(data.rows(split)),
            "labelled": len(rows),
            "speakers": len({data.speakers[row] for row in rows} - {""}),
        }
        for split, rows in chosen.items()
    }
    return {"corpus": plan.task.corpus, "manifest_sha256": file_sha256(plan.manifest), "splits": counts}


def _warnings(plan: Plan, data: TaskData, parts: Mapping[str, Rows], runs: Sequence[Run]) -> list[str]:
    found = []
    train = data.labelled("train")
    for target in plan.task.targets:
        if target.classes:
            never = [name for k, name in enumerate(target.columns) if not (data.truth[target.name][train] == k).any()]
            if never:
                found.append(f"never seen in training, so never predicted: {', '.join(never)}")
    for split, rows in parts.items():
        speakers = {data.speakers[row] for row in rows}
        if len(rows) and speakers == {""}:
            found.append(f"speakers of {split} are unknown: its intervals are over clips, and too narrow")
        elif len(speakers) == 1:
            found.append(f"{split} has one speaker: there are no intervals, which tell how much it matters who speaks")
        elif len(rows) and len(speakers) < 10:
            found.append(f"{split} has {len(speakers)} speakers: its intervals are rough")
    if plan.task.name in SUPPORT and len(data.rows("test")) and not data.support[data.rows("test")].any():
        found.append(
            "no test speaker has labelled clips to be known by, so that nothing is personalised in test: prepare the "
            "few-shot release (`vocalgen data prepare hume-vocalburst DIR --fewshot`)"
        )
    found += filter(None, [unhelped(runs)])
    if not len(parts["test"]):
        found.append("the test clips have no labels here: there is no test score")
    return found
