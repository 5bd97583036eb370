"""What came out of a study: `vocalgen rate report` and `vocalgen rate export`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vocalgen.cli.options import OverwriteOption
from vocalgen.cli.printed import command
from vocalgen.errors import VocalgenError

if TYPE_CHECKING:
    from vocalgen.rating.answers import Rater

ICCS = {"icc1": "ICC(1)", "icc2": "ICC(2)", "icc3": "ICC(3)", "icc1k": "ICC(1, k)", "icc2k": "ICC(2, k)",
        "icc3k": "ICC(3, k)"}  # fmt: skip
READINGS = {"column": "its ratings of all clips", "row": "all ratings of the clips made for it"}
StudyArgument = Annotated[Path, typer.Argument(metavar="STUDY", help="Folder of the study.")]
FlaggedOption = Annotated[
    bool, typer.Option("--without-flagged", metavar="", help="Leave out the ratings of flagged raters.")
]


def export(
    study: StudyArgument,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the files.")],
    without_flagged: FlaggedOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Write the ratings for `vocalgen metrics heep` and `vocalgen evaluate --ratings`: long and wide CSV, NPZ; what the
    clips were made for; and tables of all pages and raters.

    Raters are called by numbers. Tables of pages and raters are of all, flagged or not. What you wrote yourself as
    reasons of flags, and times to the second, are among it.
    """
    from vocalgen.emotions import VOCABULARIES
    from vocalgen.rating.export import LONG, TARGETS
    from vocalgen.rating.export import export as write
    from vocalgen.rating.store import Store
    from vocalgen.rating.study import open_study

    opened = open_study(study)
    with closing(Store(opened, reading=True)) as store:
        answers, raters = store.answers(), store.raters()
    for file in write(opened, answers, raters, out, not without_flagged, overwrite):
        print(file)
    names = {*opened.settings.emotions, *(clip.emotion for clip in opened.rated)}
    known = next((name for name, words in VOCABULARIES.items() if all(word in words for word in names)), None)
    if known is not None:  # else the study's emotions are its own
        heep = command("metrics", "heep", out / LONG, "--targets", out / TARGETS, "--vocabulary", known)
        print(f"HEEP: {heep}")
    print(_left_out(raters, without_flagged))


def report(
    study: StudyArgument,
    without_flagged: FlaggedOption = False,
    evaluation: Annotated[
        Path | None, typer.Option(metavar="FILE", help="report.json of `vocalgen evaluate` on these clips, for S_GEN.")
    ] = None,
    system: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which system of the evaluation, where it has several.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw target by rated emotion (PNG, SVG or PDF).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print all of it as JSON.")] = False,
) -> None:
    """Print HEEP with intervals, S_GEN, agreement, agreement with oneself, missed instructions and hasty pages.

    Example: vocalgen rate report study --evaluation report/report.json --figure heard.svg
    """
    import json

    from vocalgen.rating.numbers import missing_ratings
    from vocalgen.rating.report import distances_of, study_report
    from vocalgen.rating.store import Store
    from vocalgen.rating.study import open_study

    opened, distances = open_study(study), None
    if evaluation is not None:
        try:
            distances = distances_of(json.loads(content(evaluation)), system)
        except ValueError as error:
            raise VocalgenError(f"{evaluation} is no JSON ({error})") from error
    with closing(Store(opened, reading=True)) as store:
        answers, raters = store.answers(), store.raters()
    found = study_report(opened, answers, raters, flagged=not without_flagged, distances=distances)
    if figure is not None:
        from vocalgen.evaluation.figures import rated

        rated(found["heard"], figure)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    print(f"{found['raters']} raters, {found['clips']} clips, {found['ratings']} ratings")
    if found["clips_of_other_emotions"]:
        print(f"clips that were made for emotions that are not rated: {found['clips_of_other_emotions']}")
    print(_left_out(raters, without_flagged))
    print(f"HEEP: {_interval(found['heep']['column']['overall'])}")
    for reading, scores in found["heep"].items():
        print(f"HEEP of one emotion ({reading}, {READINGS[reading]}):")
        for name, interval in scores["emotions"].items():
            print(f"  {name}: {_interval(interval)}")
    if found["s_gen"] is not None:
        print(f"S_GEN: {_score(found['s_gen']['overall'])}")
        for name, value in found["s_gen"]["emotions"].items():
            print(f"  {name}: {_score(value)}")
        for note in found["s_gen"]["notes"]:
            print(f"  {note}")
    print(f"Krippendorff's alpha: {_score(found['krippendorff_alpha'])}")
    for name, value in found["alpha_by_emotion"].items():
        print(f"  {name}: {_score(value)}")
    for name, value in found["icc"].items():
        reason = found["icc_undefined"].get(name)
        print(f"{ICCS[name]}: {_score(value)}{'' if reason is None else f', {reason}'}")
    if found["icc_complete_raters"] > 1:
        print(f"  ICC(2) and ICC(3) are of the {found['icc_complete_raters']} raters who have rated every clip")
    again = found["with_themselves"]
    if again is not None:
        values = [value for value in again["raters"].values() if value is not None]
        between = f", from {min(values):.3f} to {max(values):.3f}" if len(values) > 1 else ""
        print(f"second times with first times of the same rater: r = {_score(again['median'])}, the median of "
              f"{again['defined']} raters{between} ({again['pages']} pages)")  # fmt: skip
    missing = missing_ratings(opened, answers)
    if missing:
        print(
            f"ratings of clips still wanted: {missing}, by {opened.raters_for(missing)} raters (vocalgen rate invite)"
        )
    asked = found["instructed"]
    print(f"instructed pages answered otherwise: {asked['missed']['pages']} of {asked['pages']}")
    print(f"pages answered too fast: {found['hasty']['pages']}")


def _left_out(raters: list[Rater], without_flagged: bool) -> str:
    flagged = sum(rater.flagged and rater.withdrawn is None and rater.saved > 0 for rater in raters)
    withdrawn = sum(rater.withdrawn is not None for rater in raters)
    what = "left out" if without_flagged else "counted; --without-flagged leaves them out"
    return f"raters who withdrew: {withdrawn} (left out); flagged: {flagged} ({what})"


def content(file: Path) -> str:
    """A file's text.

    Raises:
        VocalgenError: it cannot be read.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise VocalgenError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error


def _interval(values: list[float | None]) -> str:
    value, low, high = map(_score, values)
    return f"{value} [{low}, {high}]"


def _score(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
