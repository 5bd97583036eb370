"""Making a study: clips are chosen, brought to one loudness and copied under names that tell nothing."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PureWindowsPath

import numpy as np
import yaml
from numpy.typing import NDArray

from vocalgen import audio
from vocalgen.atomic import atomic_path
from vocalgen.corpora.layout import EXPECTED, emotion_folders
from vocalgen.corpora.manifest import Manifest, is_manifest
from vocalgen.corpora.names import locate, similar_hint
from vocalgen.corpora.table import read_table
from vocalgen.emotions import Vocabulary
from vocalgen.errors import VocalgenError
from vocalgen.metrics.loudness import integrated_loudness, true_peak
from vocalgen.ownership import FolderKind
from vocalgen.rating.store import create_ratings
from vocalgen.rating.study import (
    CLIPS,
    SETTINGS,
    TABLE,
    TEXTS,
    Settings,
    Study,
    StudyClip,
    open_study,
    require_different_names,
    table,
)
from vocalgen.rating.texts import parse_texts, shipped_text

LOUDNESS, PEAK_DB = -23.0, -1.0
"""LUFS of the copies and their highest true peak in dB of full scale (EBU R 128)."""

LETTERS = str.maketrans("0123456789abcdef", "bcdfghjklmnpqrst")
"""Hex digits as letters in the same order: spreadsheets take some hex digits for a number, and change them."""


STUDY = FolderKind("a listening study")


@dataclass(frozen=True)
class Source:
    """A clip that a study may take.

    Args:
        file: where it is.
        name: what evaluations call it: EMOTION/FILE, or its id in a manifest.
        emotion: it was made for.
    """

    file: Path
    name: str
    emotion: str


def create_study(
    folder: str | Path,
    source: str | Path,
    settings: Settings,
    per_emotion: int,
    vocabulary: Vocabulary,
    texts: Mapping[str, str] | None = None,
) -> Study:
    """Freeze a study; the folder appears whole or not at all.

    Args:
        source: DIR with clips DIR/EMOTION/FILE, or a manifest, see `read_sources`.
        per_emotion: clips of each that are rated, drawn by the seed.
        vocabulary: of the emotions that clips were made for.
        texts: content of files of texts by code of the language, for those that do not come with the package.

    Raises:
        VocalgenError: the folder exists; too few clips of an emotion; clips that cannot be read or are silent; texts
            that cannot be.
    """
    target, own = Path(folder), texts or {}
    if target.exists():
        raise VocalgenError(f"{target} is there already; a study is not changed once it is made, give another folder")
    if per_emotion < 1:
        raise VocalgenError(f"{per_emotion} clips of an emotion are none; give one at least")
    words = {code: own[code] if code in own else shipped_text(code) for code in settings.languages}
    for code, content in words.items():
        require_different_names(parse_texts(content, f"{code}.yaml"), settings.emotions, f"{code}.yaml")
    chosen = list(_choose(read_sources(source, vocabulary), settings, per_emotion, str(source)))
    with atomic_path(target, kind=STUDY) as part:
        for name in (CLIPS, TEXTS):
            (part / name).mkdir(parents=True)
        clips = [_copy(clip, practice, settings.seed, part / CLIPS) for clip, practice in chosen]
        clips.sort(key=lambda clip: clip.key)
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()}
        written = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        (part / SETTINGS).write_text(_explanation() + written, encoding="utf-8")
        (part / TABLE).write_text(table(clips), encoding="utf-8")
        for code, content in words.items():
            (part / TEXTS / f"{code}.yaml").write_text(content, encoding="utf-8")
        create_ratings(part)
    return open_study(target)


def _explanation() -> str:
    """What the settings mean, as comments of YAML."""
    lines = (inspect.getdoc(Settings) or "").partition("Args:\n")[2].splitlines()
    return "".join(f"# {line.strip()}\n" if line[4:5].strip() else f"#   {line.strip()}\n" for line in lines)


def read_sources(source: str | Path, vocabulary: Vocabulary | None) -> list[Source]:
    """Clips of a folder or a manifest, sorted by name.

    A manifest is that of `vocalgen data prepare`, or a table (JSON lines or CSV) whose rows have `file`, from the
    table's folder, and `emotion`; what `vocalgen generate` writes is one.

    Args:
        vocabulary: clips of other emotions are left out, and emotions get its spelling; None takes all as they are.

    Raises:
        VocalgenError: no folder of clips and no such file; a clip outside the manifest's folder; no text as a name.
    """
    path = Path(source)
    if path.is_dir():
        clips = emotion_folders(path).clips
        found = [Source(file, f"{name}/{file.name}", name) for name, files in clips.items() for file in files]
    elif path.suffix.lower() == ".csv" and is_manifest(path):
        found = _of_manifest(path)
    else:
        found = list(_of_table(path))
    if vocabulary is not None:
        found = [
            replace(clip, emotion=vocabulary.emotions[vocabulary.index(clip.emotion)])
            for clip in found
            if clip.emotion in vocabulary
        ]
    for clip in found:
        try:
            clip.name.encode()
        except UnicodeEncodeError as error:
            raise VocalgenError(f"the name of {str(clip.file)!r} is no UTF-8; rename it") from error
    return sorted(found, key=lambda clip: clip.name)


def level(wave: NDArray[np.float32], sample_rate: int) -> tuple[float, float]:
    """Integrated loudness of a wave (samples,) in LUFS, and the gain in dB to `LOUDNESS`, or as far as its true peak
    allows.

    What is shorter than 400 ms counts as one block, see `integrated_loudness`; what lies below its absolute gate of
    -70 LUFS is measured with its peak at full scale.
    """
    peak = true_peak(wave, sample_rate)
    loudness = integrated_loudness(wave, sample_rate)
    if not np.isfinite(loudness):
        loudness = integrated_loudness(wave * 10 ** (-peak / 20), sample_rate) + peak
    return loudness, float(min(LOUDNESS - loudness, PEAK_DB - peak))


def _of_manifest(path: Path) -> list[Source]:
    """Usable clips of a manifest of `vocalgen data prepare`, each with its strongest emotion, called by their ids."""
    found = []
    manifest = Manifest.load(path)
    emotions = manifest.emotions.emotions
    for clip in manifest.usable():
        known = [(value, -place) for place, value in enumerate(clip.intensities) if value > 0]
        if known:
            found.append(Source(clip.file, clip.id, emotions[-max(known)[1]]))
    return found


def _of_table(path: Path) -> Iterator[Source]:
    folder = Path(os.path.normpath(path.parent))
    for row in read_table(path, ["file", "emotion"], "manifest"):
        file, emotion = row.text("file"), row.text("emotion")
        if not file or not emotion:
            raise VocalgenError(f"{row.where}: file and emotion are needed")
        if Path(file).is_absolute() or ".." in PureWindowsPath(file).parts:
            raise VocalgenError(f"{row.where}: {file!r} must lie in the manifest's folder")
        found = locate(folder, file)
        yield Source(found, found.relative_to(folder).as_posix(), emotion)


def _choose(found: Sequence[Source], settings: Settings, per_emotion: int, where: str) -> Iterator[tuple[Source, bool]]:
    """Clips and whether they are for practice; every emotion gives one in turn to practice."""
    emotions = sorted({clip.emotion for clip in found})
    if not emotions:
        layout = f"; {EXPECTED}" if Path(where).is_dir() else ""
        raise VocalgenError(f"{where} has no clips of the study's emotions ({', '.join(settings.emotions)}){layout}")
    rng = np.random.default_rng(settings.seed)
    order = rng.permutation(len(emotions))
    extra = {int(order[turn % len(emotions)]): 1 + turn // len(emotions) for turn in range(settings.practice)}
    for place, emotion in enumerate(emotions):
        clips = [clip for clip in found if clip.emotion == emotion]
        wanted = per_emotion + extra.get(place, 0)
        if len(clips) < wanted:
            raise VocalgenError(
                f"{where}: {emotion} has {len(clips)} of the {wanted} clips that are needed, {per_emotion} to rate and "
                f"{wanted - per_emotion} for practice; ask for fewer by --per-emotion or --practice, or add clips"
            )
        drawn = [clips[index] for index in rng.permutation(len(clips))[:wanted]]
        yield from ((clip, number >= per_emotion) for number, clip in enumerate(drawn))


def _copy(source: Source, practice: bool, seed: int, folder: Path) -> StudyClip:
    try:
        content = source.file.read_bytes()
    except OSError as error:
        reason = f"{error.strerror or error}{similar_hint(source.file)}"
        raise VocalgenError(f"cannot read {source.file}: {reason}") from error
    wave, rate = audio.decode(content, str(source.file))
    if audio.is_silent(wave):
        raise VocalgenError(f"{source.file} is silent; a rater would hear nothing, leave it out")
    digest = hashlib.sha256(content).hexdigest()
    lufs, gain = level(wave, rate)
    levelled = (wave * 10 ** (gain / 20)).astype(np.float32)
    key = hashlib.sha256(f"{seed}\n{source.name}\n{digest}".encode()).hexdigest()[:16].translate(LETTERS)
    audio.write(folder / f"{key}.wav", levelled, rate)
    copied = hashlib.sha256((folder / f"{key}.wav").read_bytes()).hexdigest()
    peak = true_peak(levelled, rate)
    seconds = len(wave) / rate
    levels = round(lufs, 3), round(gain, 3), round(peak, 3)
    return StudyClip(key, source.name, source.emotion, digest, seconds, *levels, copied, practice)
