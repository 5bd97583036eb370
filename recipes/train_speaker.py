"""Train the speaker encoder: accelerate launch recipes/train_speaker.py recipes/emogator/speaker.yaml"""

from vocalgen.training.entry import main
from vocalgen.training.speaker import SpeakerConfig, SpeakerObjective

if __name__ == "__main__":
    main(SpeakerConfig, SpeakerObjective)
