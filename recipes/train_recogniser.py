"""Train a recogniser: accelerate launch recipes/train_recogniser.py recipes/emogator/classifier.yaml"""

from vocalgen.training.classifier import ClassifierConfig, ClassifierObjective, MobileNetConfig, ResidualConfig
from vocalgen.training.emo18 import Emo18Config, Emo18Objective
from vocalgen.training.entry import main_by_kind

if __name__ == "__main__":
    kinds = {
        "mel": (ClassifierConfig, ClassifierObjective),
        "residual": (ResidualConfig, ClassifierObjective),
        "mobilenet": (MobileNetConfig, ClassifierObjective),
        "emo18": (Emo18Config, Emo18Objective),
    }
    main_by_kind(kinds, "mel")
