"""What is compared with what, as data: the YAML files of eval/protocols."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vocalgen.config import load_config
from vocalgen.emotions import slug
from vocalgen.errors import VocalgenError


@dataclass(frozen=True)
class Protocol:
    """An evaluation protocol.

    Args:
        vocabulary: registered vocabulary of the emotions; empty: that of the reference.
        emotions: names that are evaluated; empty: all of the vocabulary.
        per_emotion: clips of an emotion that are used, of every system and anchor alike.
        reference: splits of real clips that distances are measured to.
        floor: split of real clips that stand in for generated ones; its speakers are not in the reference.
        draws: disjoint sets of floor clips, each of the size of a generated set; their mean is the floor.
        encoders: names, folders or hub ids for `recognition.encoders.load_encoder`; the first one is the main one.
        shrinkage: of covariances: "none", "ledoit-wolf", or "auto": Ledoit-Wolf where an emotion has too few clips.
        neighbours: k of density and coverage.
        permutations: of the test of KAD.
        memory: whether generated clips are searched for among the clips of the floor split.
        missing_emotion: S_GEN of an emotion a system lacks: "zero" (official), "skip" or "error".
        fid_cap: largest 1 / FID in S_GEN; None is the official rule, no cap.
        published: task of eval/published whose rows the report prints; empty: none.
        seed: of draws, noise, permutations and pictures, from 0.

    Raises:
        VocalgenError: a value that cannot be; names its key.
    """

    vocabulary: str = ""
    emotions: tuple[str, ...] = ()
    per_emotion: int = 100
    reference: tuple[str, ...] = ("test",)
    floor: str = "train"
    draws: int = 4
    encoders: tuple[str, ...] = ("emogator-classifier-24k",)
    shrinkage: str = "auto"
    neighbours: int = 5
    permutations: int = 200
    memory: bool = True
    missing_emotion: str = "zero"
    fid_cap: float | None = None
    published: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("per_emotion", "draws", "neighbours", "permutations"):
            if getattr(self, name) < 1:
                raise VocalgenError(f"protocol: {name} is {getattr(self, name)}; it must be at least 1")
        if self.seed < 0:
            raise VocalgenError(f"protocol: seed is {self.seed}; it must be at least 0")
        if self.fid_cap is not None and not self.fid_cap > 0:
            raise VocalgenError(f"protocol: fid_cap is {self.fid_cap:g}; it must be above 0, or null for no cap")
        if not self.reference or not self.encoders:
            raise VocalgenError("protocol: at least one reference split and one encoder are needed")
        for name in ("emotions", "reference", "encoders"):
            self._require_different(name)
        for name, allowed in (
            ("shrinkage", ("none", "ledoit-wolf", "auto")),
            ("missing_emotion", ("zero", "skip", "error")),
        ):
            if getattr(self, name) not in allowed:
                raise VocalgenError(f"protocol: {name} is {getattr(self, name)!r}; choose {', '.join(allowed)}")

    def _require_different(self, name: str) -> None:
        """A split that is named twice would count its clips twice, and so on."""
        seen: set[str] = set()
        for entry in getattr(self, name):
            key = slug(entry) if name == "emotions" else entry
            if key in seen:
                raise VocalgenError(f"protocol: {name} has {entry!r} twice; name it once")
            seen.add(key)


def shipped_folder(name: str) -> Path | None:
    """A folder of eval/ that ships: `vocalgen/_eval/NAME` in a wheel, `eval/NAME` in a source tree."""
    package = Path(__file__).resolve().parents[1]
    candidates = (package / "_eval" / name, package.parent / "eval" / name)
    return next((folder for folder in candidates if folder.is_dir()), None)


def load_protocol(name: str) -> Protocol:
    """A shipped protocol by name, or one from a YAML file.

    Raises:
        VocalgenError: neither, or the file holds unknown keys or values.
    """
    root = shipped_folder("protocols")
    shipped = {path.stem: path for path in sorted(root.glob("*.yaml"))} if root else {}
    path = shipped.get(name, Path(name))
    if not path.is_file():
        raise VocalgenError(f"no protocol {name!r}; choose {', '.join(shipped) or 'a YAML file'}, or give a YAML file")
    return load_config(Protocol, path)
