"""Train the diffusion transformer: accelerate launch recipes/train_diffusion.py recipes/emogator/diffusion.yaml"""

from vocalgen.training.diffusion import DiffusionConfig, DiffusionObjective
from vocalgen.training.entry import main

if __name__ == "__main__":
    main(DiffusionConfig, DiffusionObjective)
