"""A study on disk: its settings, its texts, and copies of the clips of one loudness under names that tell nothing.

`study.yaml` holds the settings, `texts/` the words of the page by language, `clips.csv` what the copies in `clips/`
are, `ratings.sqlite` what raters say.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from vocalgen.config import load_config
from vocalgen.corpora.table import Row, read_table
from vocalgen.errors import VocalgenError
from vocalgen.rating.entrance import parameter_of, require_completion_link
from vocalgen.rating.texts import CODE, Texts, read_texts

SETTINGS, TEXTS, TABLE, CLIPS, RATINGS = "study.yaml", "texts", "clips.csv", "clips", "ratings.sqlite"


@dataclass(frozen=True)
class Settings:
    """What a study asks.

    Args:
        emotions: that every clip is rated for.
        languages: codes of the files in `texts/`; the first is taken where a browser asks for none of them.
        low, high: ends of the scale; whole numbers are given.
        raters_per_clip: ratings wanted of each clip.
        clips_per_rater: how many clips a rater hears; None: all.
        practice: clips at the beginning that do not count.
        repeats: clips that a rater hears a second time, for how well they agree with themselves; half of those that a
            rater hears at most.
        instructed: pages among the others that ask for a certain answer, to see who reads and listens.
        misses_allowed: of these answered otherwise before a rater is flagged.
        quickest: seconds that an answer for one emotion takes at least; a page answered in less time than its clip and
            this for every emotion last is too fast.
        fast_allowed: share of a rater's pages that may be too fast before the rater is flagged.
        block: pages after which a break is offered; 0: none.
        withdrawal: whether the answers of raters who withdraw are kept unused, or removed.
        seed: of the choice of clips and of all orders.
        entrance: Crowd platform whose participants all come by one link: prolific, sona, mturk, or the name of the
            link's parameter that holds a participant's id. null: every rater needs a link of their own.
        entrance_raters: Largest number of raters who come by that link, including those who leave. null: twice as many
            as the study needs.
        completion_link: https address that takes them back when they are done; {participant} and {code} in it are
            replaced by the participant's id and completion code. null: the code alone is shown.
    """

    emotions: tuple[str, ...] = ()
    languages: tuple[str, ...] = ("en",)
    low: int = 1
    high: int = 100
    raters_per_clip: int = 10
    clips_per_rater: int | None = None
    practice: int = 2
    repeats: int = 3
    instructed: int = 2
    misses_allowed: int = 1
    quickest: float = 0.2
    fast_allowed: float = 0.2
    block: int = 25
    withdrawal: Literal["unused", "removed"] = "unused"
    seed: int = 0
    entrance: str | None = None
    entrance_raters: int | None = None
    completion_link: str | None = None

    def __post_init__(self) -> None:
        if not self.emotions or len(set(self.emotions)) < len(self.emotions):
            raise VocalgenError("emotions: a study needs one at least, each once")
        if not self.languages or len(set(self.languages)) < len(self.languages):
            raise VocalgenError("languages: a study needs one at least, each once")
        for code in self.languages:
            if not CODE.fullmatch(code):
                raise VocalgenError(f"languages: {code!r} is no code of a language, such as en or pt-BR")
        if not self.low < self.high:
            raise VocalgenError(f"the scale from {self.low} to {self.high} has no room; give low below high")
        least = {"raters_per_clip": 1, "repeats": 0, "practice": 0, "instructed": 0, "misses_allowed": 0, "block": 0,
                 "quickest": 0, "fast_allowed": 0}  # fmt: skip
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                raise VocalgenError(f"{name} is {getattr(self, name)}; it must be at least {bound}")
        for name in ("clips_per_rater", "entrance_raters"):
            given = getattr(self, name)
            if given is not None and given < 1:
                raise VocalgenError(f"{name} is {given}; it must be at least 1")
        if self.entrance is not None:
            parameter_of(self.entrance)
        if self.completion_link is not None:
            require_completion_link(self.completion_link)


@dataclass(frozen=True)
class StudyClip:
    """A clip of a study.

    Args:
        key: Name of its copy, sixteen letters; hex digits in studies of older versions.
        copy_sha256: of the copy; "" in studies that were made before copies were checked.
        clip: EMOTION/FILE, what evaluations call it.
        emotion: it was made for.
        sha256: of the original file.
        seconds: duration.
        lufs: integrated loudness of the original (ITU-R BS.1770-4).
        gain_db: of the copy.
        peak_db: true peak of the copy, dB of full scale.
        practice: whether it is heard for practice only.
    """

    key: str
    clip: str
    emotion: str
    sha256: str
    seconds: float
    lufs: float
    gain_db: float
    peak_db: float
    copy_sha256: str
    practice: bool


@dataclass(frozen=True)
class Study:
    """A study that was opened.

    Args:
        texts: by code of the language, in the order of the settings.
        texts_sha256: of their files.
    """

    folder: Path
    settings: Settings
    clips: tuple[StudyClip, ...]
    texts: Mapping[str, Texts]
    texts_sha256: Mapping[str, str]

    @property
    def rated(self) -> tuple[StudyClip, ...]:
        """The clips that count."""
        return tuple(clip for clip in self.clips if not clip.practice)

    @property
    def practice(self) -> tuple[StudyClip, ...]:
        """Those heard first, for practice."""
        return tuple(clip for clip in self.clips if clip.practice)

    @property
    def raters_needed(self) -> int:
        """How many raters it takes until every clip has its number of ratings."""
        return self.raters_for(len(self.rated) * self.settings.raters_per_clip)

    @property
    def entrance_limit(self) -> int:
        """How many raters the entrance admits; some of them leave before they have finished."""
        given = self.settings.entrance_raters
        return 2 * self.raters_needed if given is None else given

    def raters_for(self, ratings: int) -> int:
        """How many raters it takes for so many ratings of clips."""
        clips = len(self.rated)
        return math.ceil(ratings / min(clips, self.settings.clips_per_rater or clips))

    @cached_property
    def by_key(self) -> Mapping[str, StudyClip]:
        """The clips by the names of their copies."""
        return {clip.key: clip for clip in self.clips}

    @property
    def fingerprint(self) -> str:
        """Of what must stay once somebody has rated: emotions, scale, clips, and what withdrawing does."""
        return _sha256(json.dumps([self.settings.withdrawal, self.fingerprint_without_withdrawal]).encode())

    @property
    def fingerprint_without_withdrawal(self) -> str:
        """As databases of the second version hold it."""
        settings = self.settings
        kept = [settings.emotions, settings.low, settings.high, [(clip.key, clip.practice) for clip in self.clips]]
        return _sha256(json.dumps(kept).encode())


def open_study(folder: str | Path) -> Study:
    """A study that was made before.

    Raises:
        VocalgenError: no study, settings or texts that cannot be, or copies that are missing or were changed.
    """
    folder = Path(folder)
    if not (folder / SETTINGS).is_file() or not (folder / TABLE).is_file():
        raise VocalgenError(f"{folder} is no study; make one with `vocalgen rate new`")
    settings: Settings = load_config(Settings, folder / SETTINGS, [])
    try:
        columns = [name for name in StudyClip.__dataclass_fields__ if name != "copy_sha256"]
        clips = tuple(map(_of_row, read_table(folder / TABLE, columns, blanks=("",))))
    except VocalgenError as error:
        raise VocalgenError(
            f"cannot read {folder / TABLE} ({error}); restore it, or use the version that made it"
        ) from error
    missing = [clip.key for clip in clips if not (folder / CLIPS / f"{clip.key}.wav").is_file()]
    if missing:
        raise VocalgenError(f"{folder}: {len(missing)} clips are missing, first {missing[0]}.wav; restore them")
    changed = [
        clip.key
        for clip in clips
        if clip.copy_sha256 not in ("", _sha256((folder / CLIPS / f"{clip.key}.wav").read_bytes()))
    ]
    if changed:
        raise VocalgenError(
            f"{folder}: {len(changed)} clips are not those that were frozen, first {changed[0]}.wav; restore them"
        )
    texts = {code: read_texts(folder / TEXTS / f"{code}.yaml") for code in settings.languages}
    for code, entry in texts.items():
        require_different_names(entry, settings.emotions, f"{folder / TEXTS / code}.yaml")
    hashes = {code: _sha256((folder / TEXTS / f"{code}.yaml").read_bytes()) for code in texts}
    return Study(folder, settings, clips, texts, hashes)


def require_different_names(texts: Texts, emotions: Sequence[str], where: str) -> None:
    """Refuse texts that call two emotions of a study alike.

    Raises:
        VocalgenError: they do.
    """
    called: dict[str, str] = {}
    for name, shown in texts.named(emotions).items():
        if shown in called:
            raise VocalgenError(f"{where}: {called[shown]} and {name} are both called {shown!r}; raters need two names")
        called[shown] = name


def table(clips: Sequence[StudyClip]) -> str:
    """The text of `clips.csv`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(StudyClip.__dataclass_fields__)
    for clip in clips:
        writer.writerow([*list(asdict(clip).values())[:-1], int(clip.practice)])
    return text.getvalue()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _of_row(row: Row) -> StudyClip:
    seconds, lufs, gain, peak = (row.number_of(name) for name in ("seconds", "lufs", "gain_db", "peak_db"))
    key, clip, emotion, sha256 = (row.text(name) for name in ("key", "clip", "emotion", "sha256"))
    return StudyClip(
        key, clip, emotion, sha256, seconds, lufs, gain, peak, row.text("copy_sha256"), row.text("practice") == "1"
    )
