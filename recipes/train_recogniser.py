"""Train a classifier: accelerate launch recipes/train_recogniser.py recipes/emogator/classifier.yaml"""

from vocalgen.training.classifier import ClassifierConfig, ClassifierObjective
from vocalgen.training.entry import main

if __name__ == "__main__":
    main(ClassifierConfig, ClassifierObjective)
