"""Train a generative adversarial network: accelerate launch recipes/train_gan.py recipes/emogator/stylegan2.yaml"""

from vocalgen.training.entry import main_by_kind
from vocalgen.training.msggan import MSGGANConfig, MSGGANObjective
from vocalgen.training.stylegan2 import StyleGAN2Config, StyleGAN2Objective

if __name__ == "__main__":
    kinds = {"stylegan2": (StyleGAN2Config, StyleGAN2Objective), "msggan": (MSGGANConfig, MSGGANObjective)}
    main_by_kind(kinds, "stylegan2")
