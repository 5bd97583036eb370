"""Whether an encoder of transformers is here or can be fetched, asked once and before anything slow begins."""

from __future__ import annotations

from pathlib import Path

from vocalgen.errors import VocalgenError

CONFIG = "config.json"


def fetched(name: str) -> Path | None:
    """The folder of what was fetched of a hub id; None: nothing was, or it is none."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, CONFIG)
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def require_available(name: str) -> None:
    """Ask the hub for a model that is neither a folder nor fetched already; once, as libraries ask for a minute.

    Raises:
        VocalgenError: no such folder, no such model, or the hub cannot be reached.
    """
    if Path(name).is_dir() or fetched(name) is not None:
        return
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    try:
        get_hf_file_metadata(hf_hub_url(name, CONFIG))
    except HFValidationError as error:
        raise VocalgenError(f"{name}: no such folder, and no hub id; give the folder of an encoder") from error
    except OfflineModeIsEnabled as error:
        raise VocalgenError(
            f"{name} is no folder and was not fetched before, and HF_HUB_OFFLINE forbids to fetch it; "
            f"give the folder of a copy"
        ) from error
    except Exception as error:  # network, permissions, no such model: many kinds
        reason = " ".join(str(error).split())[:160]
        raise VocalgenError(
            f"{name} is no folder and was not fetched before, and the hub does not give it ({reason}); "
            f"give the folder of a copy"
        ) from error
