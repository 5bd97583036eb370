"""Train a recogniser: accelerate launch recipes/train_recogniser.py recipes/emogator/classifier.yaml"""

from vocalgen.tasks.labels import multitask_objective
from vocalgen.training.classifier import ClassifierConfig, ClassifierObjective, MobileNetConfig, ResidualConfig
from vocalgen.training.emo18 import Emo18Config, Emo18Objective
from vocalgen.training.entry import Kind, main_by_kind
from vocalgen.training.multitask import MultitaskConfig

if __name__ == "__main__":
    kinds: dict[str, Kind] = {
        "mel": (ClassifierConfig, ClassifierObjective),
        "residual": (ResidualConfig, ClassifierObjective),
        "mobilenet": (MobileNetConfig, ClassifierObjective),
        "emo18": (Emo18Config, Emo18Objective),
        "multitask": (MultitaskConfig, multitask_objective),
    }
    main_by_kind(kinds, "mel")
