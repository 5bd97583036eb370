"""A study on disk: its settings, and copies of the clips of one loudness under names that tell nothing.

`study.yaml` holds the settings, `clips.csv` what the copies in `clips/` are, `ratings.sqlite` what raters say.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from vocalgen import audio
from vocalgen.atomic import atomic_path
from vocalgen.config import load_config
from vocalgen.emotions import Vocabulary
from vocalgen.errors import VocalgenError

SETTINGS, TABLE, CLIPS, RATINGS = "study.yaml", "clips.csv", "clips", "ratings.sqlite"

LEVEL_DB, PEAK_DB, GATE_DB = -23.0, -1.0, -40.0
"""Mean power of the sounding part of a copy and its highest peak, dB of full scale; what counts as sounding, dB below
the loudest block."""

BLOCK = 0.02
"""Seconds over which the level is taken to tell sound from silence."""


@dataclass(frozen=True)
class Settings:
    """What a study asks.

    Args:
        title, consent, instructions: texts of the page.
        emotions: that every clip is rated for.
        low, high: ends of the scale; whole numbers are given.
        raters_per_clip: ratings wanted of each clip.
        clips_per_rater: how many clips a rater hears; None: all.
        repeats: clips that a rater hears a second time at the end, for how well they agree with themselves.
        practice: clips at the beginning that do not count.
        seed: of the choice of clips and of all orders.
    """

    title: str = "Sounds of emotion"
    consent: str = (
        "You will hear short vocal sounds and say how strongly you hear each emotion. No name is asked for. You can "
        "stop at any time and withdraw what you have said."
    )
    instructions: str = "Listen to the whole sound. Then say for every emotion how strongly you hear it."
    emotions: tuple[str, ...] = ()
    low: int = 1
    high: int = 100
    raters_per_clip: int = 10
    clips_per_rater: int | None = None
    repeats: int = 3
    practice: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.emotions or len(set(self.emotions)) < len(self.emotions):
            raise VocalgenError("emotions: a study needs one at least, each once")
        if not self.low < self.high:
            raise VocalgenError(f"the scale from {self.low} to {self.high} has no room; give low below high")
        for name, least in (("raters_per_clip", 1), ("repeats", 0), ("practice", 0)):
            if getattr(self, name) < least:
                raise VocalgenError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if self.clips_per_rater is not None and self.clips_per_rater < 1:
            raise VocalgenError(f"clips_per_rater is {self.clips_per_rater}; it must be at least 1")


@dataclass(frozen=True)
class StudyClip:
    """A clip of a study.

    Args:
        key: sixteen hex digits, the name of its copy.
        clip: EMOTION/FILE, what evaluations call it.
        emotion: it was made for.
        sha256: of the original file.
        seconds: duration.
        gain_db: of the copy.
        practice: whether it is heard for practice only.
    """

    key: str
    clip: str
    emotion: str
    sha256: str
    seconds: float
    gain_db: float
    practice: bool


@dataclass(frozen=True)
class Study:
    """A study that was opened."""

    folder: Path
    settings: Settings
    clips: tuple[StudyClip, ...]

    @property
    def rated(self) -> tuple[StudyClip, ...]:
        """The clips that count."""
        return tuple(clip for clip in self.clips if not clip.practice)

    @property
    def practice(self) -> tuple[StudyClip, ...]:
        """Those heard first, for practice."""
        return tuple(clip for clip in self.clips if clip.practice)


def create_study(
    folder: str | Path, source: str | Path, settings: Settings, per_emotion: int, vocabulary: Vocabulary
) -> Study:
    """Freeze a study of clips DIR/<emotion>/*.wav; the folder appears whole or not at all.

    Args:
        source: DIR; folder names are emotions of `vocabulary`, which the clips were made for.
        per_emotion: clips of each that are rated, drawn by the seed.

    Raises:
        VocalgenError: the folder exists; too few clips of an emotion; clips that cannot be read or are silent.
    """
    target = Path(folder)
    if target.exists():
        raise VocalgenError(f"{target} is there already; a study is not changed once it is made, give another folder")
    if per_emotion < 1:
        raise VocalgenError(f"{per_emotion} clips of an emotion are none; give one at least")
    chosen = list(_choose(Path(source), settings, per_emotion, vocabulary))
    with atomic_path(target) as part:
        (part / CLIPS).mkdir(parents=True)
        clips = [_copy(file, emotion, practice, settings.seed, part / CLIPS) for file, emotion, practice in chosen]
        clips.sort(key=lambda clip: clip.key)
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()}
        (part / SETTINGS).write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")
        (part / TABLE).write_text(_table(clips), encoding="utf-8")
    return open_study(target)


def open_study(folder: str | Path) -> Study:
    """A study that was made before.

    Raises:
        VocalgenError: no study, settings that cannot be, or copies that are missing.
    """
    folder = Path(folder)
    if not (folder / SETTINGS).is_file() or not (folder / TABLE).is_file():
        raise VocalgenError(f"{folder} is no study; make one with `vocalgen rate new`")
    settings: Settings = load_config(Settings, folder / SETTINGS, [])
    try:
        with open(folder / TABLE, newline="", encoding="utf-8") as file:
            clips = tuple(_of_row(row) for row in csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise VocalgenError(f"cannot read {folder / TABLE} ({error}); restore it") from error
    missing = [clip.key for clip in clips if not (folder / CLIPS / f"{clip.key}.wav").is_file()]
    if missing:
        raise VocalgenError(f"{folder}: {len(missing)} clips are missing, first {missing[0]}.wav; restore them")
    return Study(folder, settings, clips)


def normalise_level(wave: NDArray[np.float32], sample_rate: int) -> tuple[NDArray[np.float32], float]:
    """A wave (samples,) at `LEVEL_DB`, or as near as its peak allows, and the gain in dB.

    The level is that of the blocks within `GATE_DB` of the loudest, so that silence around a burst does not count.
    """
    size = max(1, int(BLOCK * sample_rate))
    padded = np.pad(wave.astype(np.float64), (0, -len(wave) % size)).reshape(-1, size)
    power = np.square(padded).mean(axis=1)
    sounding = power[power > power.max() * 10 ** (GATE_DB / 10)]
    level = 10 * np.log10(sounding.mean())
    peak = 20 * np.log10(np.abs(wave).max())
    gain = float(min(LEVEL_DB - level, PEAK_DB - peak))
    return (wave * 10 ** (gain / 20)).astype(np.float32), gain


def _choose(
    source: Path, settings: Settings, per_emotion: int, vocabulary: Vocabulary
) -> Iterator[tuple[Path, str, bool]]:
    """Files with their emotion and whether they are for practice; every emotion gives one in turn to practice."""
    if not source.is_dir():
        raise VocalgenError(f"{source} is no folder of clips")
    folders = sorted(path for path in source.iterdir() if path.is_dir() and path.name in vocabulary)
    if not folders:
        raise VocalgenError(f"{source} has no folders of emotions; the layout is DIR/<emotion>/*.wav")
    rng = np.random.default_rng(settings.seed)
    order = rng.permutation(len(folders))
    extra = {int(order[turn % len(folders)]): 1 + turn // len(folders) for turn in range(settings.practice)}
    for place, folder in enumerate(folders):
        files = sorted(file for file in folder.iterdir() if file.suffix.lower().lstrip(".") in audio.FORMATS)
        wanted = per_emotion + extra.get(place, 0)
        if len(files) < wanted:
            raise VocalgenError(f"{folder} has {len(files)} clips, {wanted} are needed; ask for fewer")
        drawn = [files[index] for index in rng.permutation(len(files))[:wanted]]
        emotion = vocabulary.emotions[vocabulary.index(folder.name)]
        yield from ((file, emotion, number >= per_emotion) for number, file in enumerate(drawn))


def _copy(file: Path, emotion: str, practice: bool, seed: int, folder: Path) -> StudyClip:
    content = file.read_bytes()
    clip, digest = f"{file.parent.name}/{file.name}", hashlib.sha256(content).hexdigest()
    wave, rate = audio.read(file)
    if np.abs(wave).max() < audio.SILENT_PEAK:
        raise VocalgenError(f"{file} is silent; a rater would hear nothing, leave it out")
    levelled, gain = normalise_level(wave, rate)
    key = hashlib.sha256(f"{seed}\n{clip}\n{digest}".encode()).hexdigest()[:16]
    audio.write(folder / f"{key}.wav", levelled, rate)
    return StudyClip(key, clip, emotion, digest, len(wave) / rate, gain, practice)


def _table(clips: Sequence[StudyClip]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(StudyClip.__dataclass_fields__)
    for clip in clips:
        writer.writerow([*list(asdict(clip).values())[:-1], int(clip.practice)])
    return text.getvalue()


def _of_row(row: dict[str, str]) -> StudyClip:
    return StudyClip(
        row["key"],
        row["clip"],
        row["emotion"],
        row["sha256"],
        float(row["seconds"]),
        float(row["gain_db"]),
        row["practice"] == "1",
    )
