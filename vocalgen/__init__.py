"""vocalgen: make and measure affective vocal bursts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0.dev0"
__all__ = ["VocalBurstPipeline", "VocalgenError", "__version__"]

from vocalgen.errors import VocalgenError

if TYPE_CHECKING:
    from vocalgen.generation.pipeline import VocalBurstPipeline


def __getattr__(name: str) -> Any:
    if name == "VocalBurstPipeline":
        try:
            from vocalgen.generation.pipeline import VocalBurstPipeline
        except Exception as error:
            from vocalgen.libraries import loading_failure

            failure = loading_failure(error)
            if failure is None:
                raise
            raise VocalgenError(failure) from None  # what the libraries raised is long, and the line names its cause
        return VocalBurstPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
