"""Train the mel autoencoder: accelerate launch recipes/train_autoencoder.py recipes/emogator/autoencoder.yaml"""

from vocalgen.training.autoencoder import AutoencoderConfig, AutoencoderObjective
from vocalgen.training.entry import main

if __name__ == "__main__":
    main(AutoencoderConfig, AutoencoderObjective)
