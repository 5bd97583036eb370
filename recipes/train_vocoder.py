"""Train the HiFi-GAN vocoder: accelerate launch recipes/train_vocoder.py recipes/emogator/hifigan.yaml"""

from vocalgen.training.entry import main
from vocalgen.training.vocoder import VocoderConfig, VocoderObjective

if __name__ == "__main__":
    main(VocoderConfig, VocoderObjective)
