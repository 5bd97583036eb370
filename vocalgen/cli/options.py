"""Options that several verbs share."""

from __future__ import annotations

from typing import Annotated

import typer

StepsOption = Annotated[
    int | None,
    typer.Option(metavar="N", help="Sampler steps: more are finer and slower; default: the checkpoint's."),
]
GuidanceOption = Annotated[
    float | None,
    typer.Option(metavar="W", help="Classifier-free guidance, 1 is none; default: the checkpoint's."),
]
SolverOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="dpm++, or heun at twice the work a step; default: the checkpoint's."),
]
PsiOption = Annotated[
    float | None,
    typer.Option(
        metavar="PSI", help="Truncation of StyleGAN2: 1 is all its variety, 0 the mean; default: the checkpoint's."
    ),
]
DurationOption = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="How long the burst should last; default: the model decides."),
]
NoTrimOption = Annotated[bool, typer.Option("--no-trim", metavar="", help="Keep the silence around the burst.")]
CheckpointOption = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        "--generator",
        metavar="MODEL",
        help="Shipped name, local folder or hub id; default: diffusion, the shipped model.",
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1...; default: a GPU if there is one."),
]
OverwriteOption = Annotated[
    bool,
    typer.Option("--overwrite", metavar="", help="Replace files of these names that vocalgen did not write."),
]
FormatOption = Annotated[str | None, typer.Option(metavar="FORMAT", help="wav (default), flac, mp3, ogg or opus.")]
