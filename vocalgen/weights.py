"""Networks from folders of config.json and safetensors, strictly.

Libraries fill what a file lacks with random numbers and a warning; here every tensor must be there and fit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from vocalgen.errors import VocalgenError
from vocalgen.float32 import float32_default


@float32_default()
def load_strictly(folder: Path, build: Callable[[dict[str, Any]], nn.Module]) -> Any:
    """The network that `build` makes of config.json with the stored weights: float32, evaluation mode, frozen.

    Raises:
        VocalgenError: files missing, damaged, or of another kind.
    """
    config = read_json(folder / "config.json")
    stored: dict[str, torch.Tensor] = {}
    for file in weights_of(folder):
        try:
            stored |= load_file(file)
        except (SafetensorError, OSError) as error:
            raise _damaged(file, error) from error
    try:
        module = build(config)
    except VocalgenError as error:
        raise VocalgenError(f"{folder / 'config.json'}: {error}") from error
    except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError, RuntimeError, MemoryError) as error:
        raise VocalgenError(f"{folder / 'config.json'} does not describe a network ({error})") from error
    expected = {key: list(value.shape) for key, value in module.state_dict().items()}
    _require_same(folder, {key: list(value.shape) for key, value in stored.items()}, expected)
    broken = next((key for key, value in stored.items() if not torch.isfinite(value).all()), None)
    if broken is not None:
        raise VocalgenError(
            f"{folder}: the weights hold NaN or infinity, first in {broken}; fetch the checkpoint again"
        )
    module.load_state_dict(stored)  # copies into float32 whatever the file's type
    return module.eval().requires_grad_(False)


def require_weights(folder: Path, module: nn.Module) -> None:
    """Raise VocalgenError unless the safetensors in `folder` hold exactly the tensors of `module`."""
    stored: dict[str, list[int]] = {}
    for file in weights_of(folder):
        try:
            with safe_open(file, framework="pt") as opened:
                stored |= {key: opened.get_slice(key).get_shape() for key in opened.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise _damaged(file, error) from error
    _require_same(folder, stored, {key: list(value.shape) for key, value in module.state_dict().items()})


def weights_sha256(network: nn.Module, salt: bytes = b"") -> str:
    """SHA-256 of all tensors of a network, for weights that come in many files.

    Args:
        network: on any device.
        salt: what else tells it from others, such as how its input is normalised.
    """
    digest = hashlib.sha256(salt)
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode() + value.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def weights_of(folder: Path) -> list[Path]:
    """The safetensors files directly in `folder`.

    Raises:
        VocalgenError: there are none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise VocalgenError(f"{folder} holds no safetensors; the checkpoint is incomplete, fetch it again")
    return files


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a checkpoint.

    Raises:
        VocalgenError: it cannot be read or holds something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise VocalgenError(f"cannot read {path} ({error}); not a vocalgen checkpoint, or an incomplete one") from error
    if not isinstance(values, dict):
        raise VocalgenError(f"{path} is no JSON object; not a vocalgen checkpoint")
    return values


def _require_same(folder: Path, stored: dict[str, list[int]], expected: dict[str, list[int]]) -> None:
    wrong = sorted(key for key in stored.keys() | expected.keys() if stored.get(key) != expected.get(key))
    if wrong:
        key = wrong[0]
        raise VocalgenError(
            f"{folder}: the weights belong to another network: {len(wrong)} tensors differ, first {key} (file "
            f"{stored.get(key, 'lacks it')}, config.json {expected.get(key, 'lacks it')}); fetch the checkpoint again"
        )


def _damaged(file: Path, error: Exception) -> VocalgenError:
    return VocalgenError(f"{file} is damaged or not a safetensors file ({error}); fetch the checkpoint again")
