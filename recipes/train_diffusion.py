"""Train a diffusion transformer: accelerate launch recipes/train_diffusion.py recipes/emogator/diffusion.yaml"""

from vocalgen.training.burst_diffusion import BurstDiffusionConfig, BurstDiffusionObjective
from vocalgen.training.diffusion import DiffusionConfig, DiffusionObjective
from vocalgen.training.entry import main_by_kind

if __name__ == "__main__":
    kinds = {"mel": (DiffusionConfig, DiffusionObjective), "burst": (BurstDiffusionConfig, BurstDiffusionObjective)}
    main_by_kind(kinds, "mel")
