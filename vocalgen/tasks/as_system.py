"""What `vocalgen classify` takes: saved systems, and classifiers of emotions as if they were some."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scipy.special import softmax

from vocalgen.data import prepared
from vocalgen.emotions import Vocabulary
from vocalgen.errors import VocalgenError
from vocalgen.recognition.encoders import OWN, Encoder
from vocalgen.shipped import shipped_models
from vocalgen.tasks.registry import load_system
from vocalgen.tasks.runs import MODEL, model_of
from vocalgen.tasks.system import DESCRIPTION, Recogniser, Wave
from vocalgen.tasks.task import Array, Target, Task
from vocalgen.weights import read_json

LISTED = 5
"""Folders that a message names."""


class ClassifierRecogniser:
    """A classifier of log-mels or waveforms that was trained on emotions alone; it predicts their probabilities."""

    def __init__(self, classifier: Encoder, emotions: Vocabulary) -> None:
        self.classifier = classifier
        self.task = Task(classifier.name, "", (Target("emotion", "UAR", emotions.emotions),))

    def score(self, clips: Sequence[tuple[Wave, int]]) -> dict[str, Array]:
        """As `Recogniser.score`."""
        waves = [prepared(wave, rate, self.classifier.prepare) for wave, rate in clips]
        return {"emotion": softmax(self.classifier.score(waves).logits, axis=1)}


def load_recogniser(name: str, device: str = "cpu") -> Recogniser:
    """A system by the folder of its benchmark or its own, a classifier by its folder or by the name of a shipped one.

    Raises:
        VocalgenError: none of these, without classes, or damaged.
    """
    shipped = shipped_models()
    folder = shipped.get(name, Path(name))
    saved = model_of(folder)
    if (saved / DESCRIPTION).is_file():
        return load_system(saved, device)
    if _is_classifier(folder):
        classifier = OWN[read_json(folder / "config.json")["_class_name"]](folder, device)
        if classifier.emotions is None:
            raise VocalgenError(f"{name} is an encoder without classes; give a classifier of emotions")
        return ClassifierRecogniser(classifier, classifier.emotions)
    known = ", ".join(key for key, path in shipped.items() if _is_classifier(path))
    if not folder.is_dir():
        raise VocalgenError(
            f"{name}: no such folder; train a system with `vocalgen benchmark`, or give a shipped classifier ({known})"
        )
    inside = sorted(
        {path.parent for path in (*folder.glob(f"*/{DESCRIPTION}"), *folder.glob(f"*/{MODEL}/{DESCRIPTION}"))}
    )
    if inside:
        listed = ", ".join(str(path.parent if path.name == MODEL else path) for path in inside[:LISTED])
        more = f", or one of {len(inside) - LISTED} more" if len(inside) > LISTED else ""
        raise VocalgenError(f"{name} holds several systems; give one of them: {listed}{more}")
    raise VocalgenError(
        f"{name} holds no system; give --out of `vocalgen benchmark`, or a classifier, such as a shipped one ({known})"
    )


def _is_classifier(folder: Path) -> bool:
    return (folder / "config.json").is_file() and read_json(folder / "config.json").get("_class_name") in OWN
