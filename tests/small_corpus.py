"""A corpus of synthetic bursts at 8 kHz and a tiny classifier trained on it, for tests of measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bursts import burst

from vocalgen import audio
from vocalgen.corpora.manifest import Clip, Manifest
from vocalgen.emotions import Vocabulary, one_hot
from vocalgen.mel import MelConfig

RATE = 8000
MEL = MelConfig(sample_rate=RATE, n_fft=256, hop_length=128, n_mels=24, f_max=4000.0)
EMOTIONS = Vocabulary("three", ("Amusement", "Awe", "Surprise (Positive)"))
SPEAKERS = {"train": range(0, 8), "validation": range(8, 11), "test": range(11, 14)}
TAKES = 4
PREPARE = {"sample_rate": RATE}


def write_corpus(folder: Path) -> Path:
    """Bursts of three emotions by fourteen speakers, four takes each; returns the manifest."""
    clips = []
    for split, speakers in SPEAKERS.items():
        for speaker in speakers:
            for emotion, name in enumerate(EMOTIONS.emotions):
                for take in range(TAKES):
                    file = folder / f"{speaker:02d}-{emotion}-{take}.wav"
                    wave = burst(emotion, 0.3 + 0.05 * take, RATE, seed=speaker * 10 + take)
                    audio.write(file, wave, RATE)
                    intensities = one_hot(name, EMOTIONS)
                    clips.append(Clip(file.stem, file, split, f"s{speaker}", len(wave) / RATE, (), intensities))
    Manifest(EMOTIONS, tuple(clips)).save(folder / "manifest.csv")
    return folder / "manifest.csv"


def classifier_values(corpus: Path, run: Path, steps: int) -> dict[str, Any]:
    """Configuration of `training.classifier` for this corpus."""
    return {
        "data": {
            "manifest": str(corpus / "manifest.csv"),
            "cache": str(corpus / "cache"),
            "frames": 32,
            "max_shift": 0.05,
            "prepare": PREPARE,
        },
        "loop": {"run": str(run), "steps": steps, "batch_size": 24, "warmup": 2, "log_every": 1, "save_every": 3,
                 "preview_every": 5, "ema_decay": 0.9},
        "mel": {key: value for key, value in MEL.to_dict().items() if key != "fingerprint"},
        "model": {"embedding_dim": 4, "stem": [4, 6], "widths": [16, 24], "depths": [1, 1], "expansion": 2},
        "augmentation": {"band_shift": 1, "masks": 1, "mask_bands": 4, "mask_frames": 4},
        "learning_rate": 5e-3,
    }  # fmt: skip
