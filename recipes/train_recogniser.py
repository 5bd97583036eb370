"""Train a recogniser: accelerate launch recipes/train_recogniser.py recipes/emogator/classifier.yaml"""

from vocalgen.training.classifier import ClassifierConfig, ClassifierObjective
from vocalgen.training.emo18 import Emo18Config, Emo18Objective
from vocalgen.training.entry import main_by_kind

if __name__ == "__main__":
    main_by_kind({"mel": (ClassifierConfig, ClassifierObjective), "emo18": (Emo18Config, Emo18Objective)}, "mel")
