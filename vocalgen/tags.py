"""Tags of generated clips: how a clip was made, and whether its audio and texts are still what vocalgen wrote.

The comment field of a file holds all values as compact JSON, because it is the one text that every format keeps whole.
Other fields repeat the main values for players and editors: title (emotion), artist (model), software, and the licence
in `license` (Vorbis comments) or `copyright` (RIFF INFO). Importing this module loads neither torch nor numpy.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from vocalgen import __version__
from vocalgen.errors import VocalgenError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LICENCE = "Apache-2.0"
"""Licence of the shipped weights, and so of what they make."""

SOFTWARE = f"vocalgen {__version__}"

LEVEL_TOLERANCE = 0.02
"""Difference in dB between two decoders of one lossy file."""

SEGMENTS = 16
"""Equal parts of a lossy file whose levels are compared: parts that change places are an edit too."""

LOWEST_LEVEL = -70.0
"""dB relative to full scale below which decoders differ by more than the tolerance."""

_LICENCE_FIELDS = {"WAV": "copyright", "FLAC": "license", "OGG": "license"}
_ENCODER_FIELDS = {"MP3": {"software"}}
"""Text fields by container that the encoder fills with its own name."""
_LIBRARY = re.compile(r" \(libsndfile-[^)]*\)$")  # appended to the name of the software
_KEY = "vocalgen"
_T = TypeVar("_T", bound="Tags | Mark")


@dataclass(frozen=True)
class Tags:
    """Origin of a clip: the model, its conditions and its settings.

    Args:
        model: name of the checkpoint.
        emotion: name or mixture that was asked for.
        seed: seed of the clip.
        settings: further settings by name; values that JSON can hold.
        licence: SPDX identifier.
        software: name and version of the program.
    """

    model: str
    emotion: str
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    licence: str = LICENCE
    software: str = SOFTWARE


@dataclass(frozen=True)
class Mark:
    """Measure of decoded audio, by which an edited file is recognised.

    Args:
        frames: number of samples.
        sample_rate: Hz.
        digest: hash of the 16-bit samples for lossless formats, "" for lossy ones, which decoders round differently.
        levels: root mean square of each of `SEGMENTS` parts in dB relative to full scale, for lossy formats.
    """

    frames: int
    sample_rate: int
    digest: str = ""
    levels: tuple[float, ...] = ()

    def fits(self, other: Mark) -> bool:
        """Whether two marks are of the same audio."""
        same = (self.frames, self.sample_rate, self.digest) == (other.frames, other.sample_rate, other.digest)
        if not same or len(self.levels) != len(other.levels):
            return False
        return all(abs(a - b) <= LEVEL_TOLERANCE for a, b in zip(self.levels, other.levels, strict=True))


@dataclass(frozen=True)
class TaggedFile:
    """Tags that were read from a file, and what was edited since vocalgen wrote it.

    Args:
        tags: read from the comment.
        audio_edited: whether the audio differs from what vocalgen wrote.
        tags_edited: whether the text fields do.
    """

    tags: Tags
    audio_edited: bool
    tags_edited: bool

    @property
    def unchanged(self) -> bool:
        """Whether audio and text fields are as vocalgen wrote them."""
        return not (self.audio_edited or self.tags_edited)


def pcm_digest(pcm: NDArray[np.int16], sample_rate: int) -> str:
    """Hash of 16-bit samples (samples,) and their rate."""
    return hashlib.blake2b(pcm.astype("<i2").tobytes(), digest_size=16, person=str(sample_rate).encode()).hexdigest()


def mark_of(source: BinaryIO, lossless: bool) -> Mark:
    """Decode the audio in an open file and measure it.

    Raises:
        VocalgenError: the file cannot be decoded.
    """
    import numpy as np
    import soundfile

    try:
        with soundfile.SoundFile(source) as file:
            samples = file.read(dtype="int16" if lossless else "float32", always_2d=True)
            rate = int(file.samplerate)
    except (soundfile.SoundFileError, OSError, RuntimeError, ValueError, TypeError) as error:
        raise VocalgenError(f"the audio cannot be decoded ({error}); write it again") from error
    if lossless:
        return Mark(len(samples), rate, digest=pcm_digest(samples.reshape(-1), rate))
    parts = np.array_split(np.square(samples, dtype=np.float64), SEGMENTS)
    powers = [float(part.mean()) if part.size else 0.0 for part in parts]
    floor = 10 ** (LOWEST_LEVEL / 10)
    return Mark(len(samples), rate, levels=tuple(round(10 * math.log10(max(power, floor)), 3) for power in powers))


def to_fields(tags: Tags, mark: Mark, container: str) -> dict[str, str]:
    """Text fields of a file, by the names that soundfile gives them.

    Args:
        container: WAV, FLAC, OGG or MP3.
    """
    values = {_KEY: asdict(tags), "audio": asdict(mark)}
    comment = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return {**_repeated(tags, container), "comment": comment}


def _repeated(tags: Tags, container: str) -> dict[str, str]:
    """Text fields besides the comment, which holds all values."""
    texts = {"title": tags.emotion, "artist": tags.model, "software": tags.software}
    if container in _LICENCE_FIELDS:
        texts[_LICENCE_FIELDS[container]] = tags.licence
    return {name: text for name, text in texts.items() if name not in _ENCODER_FIELDS.get(container, ())}


def read(path: str | os.PathLike[str]) -> TaggedFile | None:
    """Read the tags of a clip and compare its audio and its text fields with them.

    Returns:
        The tags; None if the file is readable audio without tags of vocalgen.

    Raises:
        VocalgenError: the file cannot be read as audio.
    """
    import soundfile

    try:
        with open(path, "rb") as opened:
            with soundfile.SoundFile(opened) as file:
                texts, container = file.copy_metadata(), file.format
            stored = _parse(texts.pop("comment", ""))
            if stored is None:
                return None
            tags, mark = stored
            opened.seek(0)
            audio_edited = not mark_of(opened, bool(mark.digest)).fits(mark)
            return TaggedFile(tags, audio_edited, _of_vocalgen(texts, container) != _repeated(tags, container))
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "error_string", None) or error
        raise VocalgenError(f"cannot read {path} as audio ({str(reason).rstrip('.')}); check the path") from error


def written_by_vocalgen(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a clip that vocalgen wrote, with audio and texts unchanged; False if it cannot be read."""
    try:
        found = read(path)
    except VocalgenError:
        return False
    return found is not None and found.unchanged


def _of_vocalgen(texts: Mapping[str, str], container: str) -> dict[str, str]:
    """Text fields of a file that hold something, without what libsndfile and encoders write themselves."""
    encoder = _ENCODER_FIELDS.get(container, ())
    decode = _as_utf_8 if container == "MP3" else str
    stripped = {name: _LIBRARY.sub("", decode(text)) for name, text in texts.items() if name not in encoder}
    return {name: text for name, text in stripped.items() if text}


def _as_utf_8(text: str) -> str:
    """Decode a text again that libsndfile wrote as UTF-8 into an ID3 field which is declared as Latin-1."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _parse(comment: str) -> tuple[Tags, Mark] | None:
    """Tags and mark of a comment; None for a comment that `to_fields` did not make."""
    try:
        values = json.loads(comment)
        return _from(Tags, values[_KEY]), _from(Mark, values["audio"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _from(kind: type[_T], values: Mapping[str, Any]) -> _T:
    """An instance of the dataclass `kind`; values of other names, which a later version may write, are left out."""
    known = {entry.name: values[entry.name] for entry in fields(kind)}  # type: ignore[arg-type]
    types: dict[str, type | tuple[type, ...]] = {
        "frames": int,
        "sample_rate": int,
        "seed": int,
        "levels": list,
        "settings": dict,
    }
    wrong = [name for name, value in known.items() if not isinstance(value, types.get(name, str))]
    if wrong:
        raise TypeError(f"{', '.join(wrong)} of another type")
    if "levels" in known:
        known["levels"] = tuple(float(level) for level in known["levels"])
    return kind(**known)
