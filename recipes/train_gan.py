"""Train a generative adversarial network: accelerate launch recipes/train_gan.py recipes/emogator/stylegan2.yaml"""

from vocalgen.training.entry import main
from vocalgen.training.gan import GANConfig, GANObjective

if __name__ == "__main__":
    main(GANConfig, GANObjective)
