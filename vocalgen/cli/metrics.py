"""`vocalgen metrics`: single numbers for scripts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from vocalgen.cli import people
from vocalgen.cli.numbers import Json, Seed, print_value, refused
from vocalgen.cli.options import OverwriteOption
from vocalgen.errors import VocalgenError
from vocalgen.ownership import require_replaceable

if TYPE_CHECKING:
    from vocalgen.evaluation.stored import Embedded, Gaussian, Source
    from vocalgen.metrics.frechet import Shrinkage


class _InOrder(TyperGroup):
    """Lists its verbs as they stand here."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)


metrics_app = typer.Typer(cls=_InOrder, help="Single numbers for scripts.", no_args_is_help=True, add_completion=False)

A = Annotated[Path, typer.Argument(metavar="A", help="Generated: a file of `vocalgen embed`.")]
B = Annotated[Path, typer.Argument(metavar="B", help="Reference: a file of `vocalgen embed`.")]
AnyA = Annotated[Path, typer.Argument(metavar="A", help="A file of `vocalgen embed`, statistics, official pickle.")]
AnyB = Annotated[Path, typer.Argument(metavar="B", help="Reference: any of these.")]
Emotion = Annotated[
    str | None, typer.Option(metavar="NAME", help="Clips of this emotion alone; statistics are taken as they are.")
]
ShrinkageOption = Annotated[
    str, typer.Option(metavar="NAME", help="Of covariances: none, ledoit-wolf, or a share from 0 to 1.")
]


@metrics_app.command("fid")
def fid(a: AnyA, b: AnyB, emotion: Emotion = None, shrinkage: ShrinkageOption = "none", json_: Json = False) -> None:
    """Fréchet distance of two sets of embeddings."""
    from vocalgen.evaluation.stored import load
    from vocalgen.metrics.frechet import frechet_distance

    x, y = _pair(load(a), load(b), emotion)
    with refused():
        value = frechet_distance(x.statistics, y.statistics, _shrinkage(shrinkage))
    print_value(value, json_, metric="fid", **_sets(x, y), shrinkage=shrinkage)


@metrics_app.command("fd-infinity")
def fd_infinity(
    a: A, b: AnyB, emotion: Emotion = None, shrinkage: ShrinkageOption = "none", seed: Seed = 0, json_: Json = False
) -> None:
    """Fréchet distance of endlessly many clips like those of A from the statistics of B, by extrapolation."""
    from vocalgen.evaluation.stored import load, load_embeddings
    from vocalgen.metrics import infinity

    x, y = _pair(load_embeddings(a), load(b), emotion)
    with refused():
        found = infinity.fd_infinity(x.embeddings, y.statistics, _shrinkage(shrinkage), seed=seed)
    line = {"slope": found.slope, "r2": found.r2, "sizes": found.sizes, "distances": found.distances}
    print_value(found.value, json_, metric="fd-infinity", **_sets(x, y), shrinkage=shrinkage, seed=seed, **line)


@metrics_app.command("kad")
def kad(
    a: A,
    b: B,
    emotion: Emotion = None,
    bandwidth: Annotated[
        float | None, typer.Option(metavar="X", help="Of the kernel; default: median distance of the reference.")
    ] = None,
    permutations: Annotated[
        int, typer.Option(metavar="N", help="Also a p-value from so many exchanges of speakers, in --json.")
    ] = 0,
    seed: Seed = 0,
    json_: Json = False,
) -> None:
    """Kernel audio distance: unbiased, Gaussian kernel."""
    from vocalgen.evaluation.stored import load_embeddings
    from vocalgen.metrics import kernel

    x, y = _pair(load_embeddings(a), load_embeddings(b), emotion)
    p = None
    with refused():
        value = kernel.kad(x.embeddings, y.embeddings, bandwidth)
        if permutations:
            clusters = [f"A {name}" for name in x.speakers] + [f"B {name}" for name in y.speakers]
            p = kernel.permutation_test(x.embeddings, y.embeddings, clusters, permutations, bandwidth, seed)
    print_value(value, json_, metric="kad", **_sets(x, y), bandwidth=bandwidth, permutations=permutations, p=p)


@metrics_app.command("kid")
def kid(a: A, b: B, emotion: Emotion = None, json_: Json = False) -> None:
    """Kernel inception distance: unbiased, cubic kernel."""
    from vocalgen.evaluation.stored import load_embeddings
    from vocalgen.metrics import kernel

    x, y = _pair(load_embeddings(a), load_embeddings(b), emotion)
    with refused():
        value = kernel.kid(x.embeddings, y.embeddings)
    print_value(value, json_, metric="kid", **_sets(x, y))


@metrics_app.command("manifold")
def manifold(
    a: A,
    b: B,
    emotion: Emotion = None,
    k: Annotated[int, typer.Option("-k", metavar="K", help="Balls reach to the K-th neighbour.")] = 5,
    json_: Json = False,
) -> None:
    """Precision, recall, density and coverage."""
    from vocalgen.evaluation.stored import load_embeddings
    from vocalgen.metrics import manifold as metric

    x, y = _pair(load_embeddings(a), load_embeddings(b), emotion)
    with refused():
        found = metric.manifold(x.embeddings, y.embeddings, k)._asdict()
    print_value(found, json_, metric="manifold", **_sets(x, y), k=k)


@metrics_app.command("vendi")
def vendi(a: A, emotion: Emotion = None, json_: Json = False) -> None:
    """Vendi score: the effective number of different clips."""
    from vocalgen.evaluation.stored import load_embeddings
    from vocalgen.metrics.manifold import vendi_score

    x = _chosen(load_embeddings(a), emotion)
    with refused():
        value = vendi_score(x.embeddings)
    print_value(value, json_, metric="vendi", n=len(x), **_encoder(x.source))


@metrics_app.command("statistics")
def statistics(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of `vocalgen embed`, or statistics.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Statistics to write (.npz).")],
    emotion: Emotion = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Mean and covariance of all files together, as a file: small, and exact when parts are merged."""
    from vocalgen.evaluation.stored import UNKNOWN_COUNT, load, same_encoder, save_statistics
    from vocalgen.metrics.frechet import Statistics

    if out.suffix != ".npz":
        raise VocalgenError(f"{out}: statistics are written as .npz; give such a name to --out")
    require_replaceable(out, overwrite)
    parts = [_chosen(load(file), emotion) for file in files]
    for file, part in zip(files, parts, strict=True):
        same_encoder(parts[0].source, part.source)
        if part.statistics.count == UNKNOWN_COUNT:
            raise VocalgenError(f"{file} does not say of how many clips it is, so it cannot be merged")
    with refused():
        merged = Statistics.merged(part.statistics for part in parts)
    save_statistics(out, merged, parts[0].source, overwrite)
    print(f"{out}: {merged.count} embeddings of dimension {merged.dim}")


def _pair(x: Any, y: Any, emotion: str | None) -> tuple[Any, Any]:
    """Both sets, of one emotion where it is named and they hold embeddings."""
    from vocalgen.evaluation.stored import same_encoder

    same_encoder(x.source, y.source)
    return _chosen(x, emotion), _chosen(y, emotion)


def _chosen(found: Any, emotion: str | None) -> Any:
    return found.of(emotion) if emotion is not None and hasattr(found, "of") else found


def _sets(x: Embedded | Gaussian, y: Embedded | Gaussian) -> dict[str, Any]:
    """n of both sides and the encoder."""
    from vocalgen.evaluation.stored import UNKNOWN_COUNT

    counts = [side.statistics.count for side in (x, y)]
    n = [None if count == UNKNOWN_COUNT else count for count in counts]
    return {"n": n, **_encoder(x.source if x.source.checksum else y.source)}


def _encoder(source: Source) -> dict[str, Any]:
    return {"encoder": source.encoder or None, "checksum": source.checksum or None}


def _shrinkage(text: str) -> Shrinkage:
    if text == "none":
        return None
    if text == "ledoit-wolf":
        return "ledoit-wolf"
    try:
        return float(text)
    except ValueError as error:
        raise VocalgenError(f"--shrinkage {text}: choose none, ledoit-wolf, or a share from 0 to 1") from error


for name, verb in people.VERBS.items():
    metrics_app.command(name)(verb)
