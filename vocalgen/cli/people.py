"""Verbs of `vocalgen metrics` about what people heard, and about predictions of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vocalgen.cli.numbers import Draws, Json, Seed, choice, print_value, refused, warn
from vocalgen.errors import VocalgenError

if TYPE_CHECKING:
    from vocalgen.corpora.table import Row
    from vocalgen.emotions import Vocabulary
    from vocalgen.evaluation.ratings import Ratings

RatingsFile = Annotated[Path, typer.Argument(metavar="RATINGS", help="CSV (long or wide) or NPZ.")]
VocabularyName = Annotated[
    str, typer.Option("--vocabulary", metavar="NAME", help="hume-10, prosody-9, sonata-25 or emogator-30.")
]
RatedVocabulary = Annotated[
    str | None, typer.Option("--vocabulary", metavar="NAME", help="Default: the first that has all rated emotions.")
]
Emotion = Annotated[str | None, typer.Option(metavar="NAME", help="The number of this emotion.")]
Truth = Annotated[Path, typer.Argument(metavar="TRUTH", help="CSV with one row a clip.")]
Prediction = Annotated[Path, typer.Argument(metavar="PREDICTION", help="CSV with the same clips, in any order.")]
Column = Annotated[str, typer.Option(metavar="NAME", help="Column of both files that is compared.")]
Key = Annotated[str, typer.Option("--id", metavar="NAME", help="Column of both files that names the clips.")]
Clusters = Annotated[
    str | None, typer.Option(metavar="NAME", help="Column of TRUTH, such as speaker, that the bootstrap draws by.")
]


def heep(
    ratings: RatingsFile,
    targets: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CSV: clip and emotion, or intensities; default: folders in clip names."),
    ] = None,
    emotion: Emotion = None,
    reading: Annotated[str, typer.Option(metavar="NAME", help="Of one emotion's HEEP: column or row.")] = "column",
    vocabulary: RatedVocabulary = None,
    draws: Draws = 1000,
    seed: Seed = 0,
    json_: Json = False,
) -> None:
    """HEEP: correlation of what clips were made for with what people heard; over all emotions, or of one."""
    from vocalgen.evaluation.targets import complete
    from vocalgen.evaluation.targets import targets as targets_of
    from vocalgen.metrics import heep as metric

    choice("--reading", reading, ("column", "row"))
    known, found = _ratings(ratings, vocabulary, lambda read, words: targets_of(read, words, targets))
    place = _place(emotion, known, found)
    found = complete(found)
    warn(found.warnings)
    meant = targets_of(found, known, targets)
    with refused():
        result = metric.heep(meant, found.mean(), reading)  # type: ignore[arg-type]
        limits = metric.heep_intervals(meant, found.values, reading, draws, seed=seed) if json_ and draws else None  # type: ignore[arg-type]
    if result.elsewhere:
        warn([f"{result.elsewhere} clips were made for emotions that nobody was asked about"])
    context: dict[str, Any] = {
        "reading": reading,
        "emotions": dict(zip(found.emotions, map(float, result.emotions), strict=True)),
        "reasons": {found.emotions[key] if isinstance(key, int) else key: why for key, why in result.reasons.items()},
        "clips": len(found.clips),
        "clips_of_other_emotions": result.elsewhere,
        "raters": len(found.raters),
    }
    if limits:
        context["interval"] = tuple(limits.overall if place is None else limits.emotions[place])[1:]
    print_value(result.overall if place is None else float(result.emotions[place]), json_, metric="heep", **context)


def s_gen(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="CSV with the columns emotion, fid and heep.")],
    missing: Annotated[
        str, typer.Option(metavar="NAME", help="An emotion without numbers: zero (official), skip or error.")
    ] = "zero",
    cap: Annotated[float | None, typer.Option(metavar="X", help="Largest 1 / FID; default: none, as official.")] = None,
    undefined: Annotated[str, typer.Option(metavar="NAME", help="A HEEP of nan: zero or nan.")] = "zero",
    vocabulary: VocabularyName = "hume-10",
    json_: Json = False,
) -> None:
    """S_GEN: mean over all emotions of (1 / FID + HEEP) / 2."""
    from vocalgen.corpora.cells import UNKNOWN
    from vocalgen.corpora.table import numbers, read_table
    from vocalgen.emotions import get_vocabulary
    from vocalgen.metrics import s_gen as metric

    choice("--missing", missing, ("zero", "skip", "error"))
    choice("--undefined", undefined, ("zero", "nan"))
    # A HEEP of nan was computed and is not defined, which is something else than a blank.
    blanks = UNKNOWN - {"nan"}
    known, read = get_vocabulary(vocabulary), read_table(table, ["emotion", "fid", "heep"], blanks=blanks)
    rows = {known.emotions[known.index(name)]: row for name, row in read.by("emotion").items()}
    found = {}
    for column in ("fid", "heep"):
        given = {name: row for name, row in rows.items() if row.text(column)}
        found[column] = dict(zip(given, map(float, numbers(list(given.values()), column)), strict=True))
    with refused():
        score = metric.s_gen(found["fid"], found["heep"], known.emotions, missing, cap, undefined)  # type: ignore[arg-type]
    warn(score.notes)
    print_value(score.total, json_, metric="s-gen", emotions=score.emotions, missing=missing, cap=cap,
                undefined=undefined)  # fmt: skip


def agreement(
    ratings: RatingsFile,
    measure: Annotated[
        str, typer.Option(metavar="NAME", help="alpha, or icc1, icc2, icc3, icc1k, icc2k, icc3k.")
    ] = "alpha",
    emotion: Emotion = None,
    vocabulary: RatedVocabulary = None,
    json_: Json = False,
) -> None:
    """How far raters agree: Krippendorff's alpha (interval data), or an intraclass correlation.

    ICC(2) and ICC(3) need ratings of everything by everybody; alpha and ICC(1) do not.
    """
    from vocalgen.metrics.agreement import ICC, icc, icc_one_way, krippendorff_alpha

    choice("--measure", measure, ("alpha", *ICC._fields))
    known, found = _ratings(ratings, vocabulary)
    place = _place(emotion, known, found)
    warn(found.warnings)
    values = found.values if place is None else found.values[..., place]
    items = values.reshape(len(values), -1)
    with refused():
        if measure == "alpha":
            value = krippendorff_alpha(items)
        else:  # only the one-way measures take ratings that are not complete
            value = getattr((icc_one_way if measure in ("icc1", "icc1k") else icc)(items), measure)
    print_value(value, json_, metric=measure, raters=len(items), items=items.shape[1])


def ccc(
    truth: Truth,
    prediction: Prediction,
    column: Column,
    key: Key = "clip",
    compat: Annotated[
        str | None, typer.Option(metavar="NAME", help="hume2022: the official code's number, bias and all.")
    ] = None,
    clusters: Clusters = None,
    draws: Draws = 1000,
    seed: Seed = 0,
    json_: Json = False,
) -> None:
    """Concordance correlation coefficient."""
    from vocalgen.metrics import prediction as metric

    if compat is not None:
        choice("--compat", compat, ("hume2022",))

    def score(t: Any, p: Any) -> float:
        return metric.ccc(t, p, compat)  # type: ignore[arg-type]

    _score("ccc", score, truth, prediction, column, key, clusters, draws, seed, json_)


def pearson(
    truth: Truth, prediction: Prediction, column: Column, key: Key = "clip", clusters: Clusters = None,
    draws: Draws = 1000, seed: Seed = 0, json_: Json = False,
) -> None:  # fmt: skip
    """Pearson correlation."""
    from vocalgen.metrics import prediction as metric

    _score("pearson", metric.pearson, truth, prediction, column, key, clusters, draws, seed, json_)


def spearman(
    truth: Truth, prediction: Prediction, column: Column, key: Key = "clip", clusters: Clusters = None,
    draws: Draws = 1000, seed: Seed = 0, json_: Json = False,
) -> None:  # fmt: skip
    """Spearman correlation of ranks."""
    from vocalgen.metrics import prediction as metric

    _score("spearman", metric.spearman, truth, prediction, column, key, clusters, draws, seed, json_)


def mae(
    truth: Truth, prediction: Prediction, column: Column, key: Key = "clip", clusters: Clusters = None,
    draws: Draws = 1000, seed: Seed = 0, json_: Json = False,
) -> None:  # fmt: skip
    """Mean absolute error."""
    from vocalgen.metrics import prediction as metric

    _score("mae", metric.mae, truth, prediction, column, key, clusters, draws, seed, json_)


def uar(
    truth: Truth, prediction: Prediction, column: Column, key: Key = "clip", clusters: Clusters = None,
    draws: Draws = 1000, seed: Seed = 0, json_: Json = False,
) -> None:  # fmt: skip
    """Unweighted average recall of labels."""
    from vocalgen.metrics import prediction as metric

    _score("uar", metric.uar, truth, prediction, column, key, clusters, draws, seed, json_, labels=True)


def s_mtl(
    ccc: Annotated[float, typer.Option(metavar="X", help="Of the emotions.")],
    uar: Annotated[float, typer.Option(metavar="X", help="Of the country.")],
    mae: Annotated[float, typer.Option(metavar="X", help="Of the age, in years.")],
    literal: Annotated[
        bool, typer.Option("--literal", metavar="", help="The printed formula, which rewards errors.")
    ] = False,
    json_: Json = False,
) -> None:
    """S_MTL: harmonic mean of CCC, UAR and 1 / MAE."""
    from vocalgen.metrics import prediction as metric

    with refused():
        value = metric.s_mtl(ccc, uar, mae, literal)
    print_value(value, json_, metric="s-mtl", ccc=ccc, uar=uar, mae=mae, literal=literal)


def _score(
    name: str,
    score: Callable[[Any, Any], float],
    truth: Path,
    prediction: Path,
    column: str,
    key: str,
    clusters: str | None,
    draws: int,
    seed: int,
    json_: bool,
    labels: bool = False,
) -> None:
    """Read, join, score, print."""
    import numpy as np

    from vocalgen.corpora.table import joined, numbers, read_table
    from vocalgen.metrics.prediction import bootstrap

    true, other = read_table(truth, [key, column]), read_table(prediction, [key, column])
    if clusters:
        true.require(clusters)
    pairs = joined(true, other, key)
    if labels:
        t, p = (np.array([_label(row, column) for row in rows]) for rows in zip(*pairs, strict=True))
    else:
        t, p = (numbers(rows, column) for rows in zip(*pairs, strict=True))
    groups = [row.text(clusters) for row, _ in pairs] if clusters else None
    with refused():
        value = score(t, p)
        interval = bootstrap(score, t, p, groups, draws, seed=seed)[1:] if json_ and draws else None
    print_value(value, json_, metric=name, column=column, n=len(pairs), clusters=clusters, interval=interval)


def _label(row: Row, column: str) -> str:
    """A class; blank ones cannot be compared."""
    if not row.text(column):
        raise row.error(column, "is blank; fill it in, or leave the clip out of both files")
    return row.text(column)


def _ratings(
    path: Path, vocabulary: str | None, fits: Callable[[Ratings, Vocabulary], object] = lambda ratings, vocabulary: None
) -> tuple[Vocabulary, Ratings]:
    """Ratings with the vocabulary given, or the first that has their emotions and that `fits` raises nothing about."""
    from vocalgen.emotions import HUME10, get_vocabulary
    from vocalgen.evaluation.ratings import read_ratings, spoken

    able = [get_vocabulary(vocabulary)] if vocabulary else spoken(path) or [HUME10]
    for known in able[:-1]:
        with suppress(VocalgenError):
            fits(found := read_ratings(path, known.emotions), known)
            return known, found
    return able[-1], read_ratings(path, able[-1].emotions)


def _place(emotion: str | None, known: Vocabulary, ratings: Ratings) -> int | None:
    """Column of an emotion in the ratings."""
    if emotion is None:
        return None
    name = known.emotions[known.index(emotion)]
    if name not in ratings.emotions:
        raise VocalgenError(f"nothing was rated for {name}; there are ratings of {', '.join(ratings.emotions)}")
    return ratings.emotions.index(name)


VERBS: dict[str, Callable[..., None]] = {
    "heep": heep,
    "s-gen": s_gen,
    "agreement": agreement,
    "ccc": ccc,
    "pearson": pearson,
    "spearman": spearman,
    "mae": mae,
    "uar": uar,
    "s-mtl": s_mtl,
}
"""By the names they are called with."""
