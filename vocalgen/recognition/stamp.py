"""What tells one version of an encoder from another without loading it."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from vocalgen import __version__
from vocalgen.data import CacheConfig
from vocalgen.errors import VocalgenError
from vocalgen.mel import MEL_24K
from vocalgen.recognition.bundles import PREFIX, weights_file
from vocalgen.recognition.encoders import layer_of
from vocalgen.recognition.hub import fetched
from vocalgen.recognition.log_mel import LOG_MEL
from vocalgen.recognition.opensmile import FEATURE_SETS
from vocalgen.shipped import file_sha256, shipped_models


def stamp_of(name: str) -> str | None:
    """Changes with an encoder: of openSMILE its version, of others the names and bytes of their files; and with how
    clips are prepared, and the version of this package.

    Of a hub id the files that were fetched count, whatever the hub has by now. A folder may be moved. What an encoder
    does to clips before it hears them is among all this: of transformers it stands in preprocessor_config.json, of
    classifiers in config.json, and the rest is code of this package.

    Args:
        name: as `encoders.load_encoder` takes it.

    Returns:
        None where there is nothing to go by: the package or the files are not here.
    """
    own = _own(name)
    return None if own is None else f"{own} {CacheConfig()!r} {__version__}"


def _own(name: str) -> str | None:
    if name in FEATURE_SETS:
        try:
            return f"openSMILE {version('opensmile')} {name}"
        except PackageNotFoundError:
            return None
    if name == LOG_MEL:
        return f"{LOG_MEL} {MEL_24K.fingerprint}"
    base, layer = layer_of(name)
    if base.startswith(PREFIX):
        try:
            weights = weights_file(base.removeprefix(PREFIX))
        except VocalgenError:
            return None
        return f"{name} {file_sha256(weights)}" if weights.is_file() else None
    source = shipped_models().get(base, Path(base))
    try:
        if not source.exists():
            source = fetched(base) or source
        files = [source] if source.is_file() else sorted(path for path in source.iterdir() if path.is_file())
        found = [(file.name, file_sha256(file)) for file in files]
    except OSError:
        return None
    return hashlib.sha256(json.dumps([Path(base).name, layer, found]).encode()).hexdigest()
