"""Train a vocoder: accelerate launch recipes/train_vocoder.py recipes/emogator/source_filter.yaml"""

from vocalgen.training.entry import main
from vocalgen.training.vocoder import VocoderConfig, vocoder_objective

if __name__ == "__main__":
    main(VocoderConfig, vocoder_objective)
