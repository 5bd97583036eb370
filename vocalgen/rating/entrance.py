"""Entrance of a study: one link for all participants of a crowd platform, and the way back to it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from urllib.parse import quote, urlsplit

from vocalgen.errors import VocalgenError
from vocalgen.rating.address import HOST

PLATFORMS = {
    "prolific": ("PROLIFIC_PID", "{{%PROLIFIC_PID%}}"),
    "sona": ("survey_code", "%SURVEY_CODE%"),
    "mturk": ("workerId", "WORKER_ID"),
}
"""By platform: the parameter with a participant's id, and what the platform replaces by the id."""

PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
"""Names of parameters."""

PARTICIPANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@:-]{0,127}")
"""Ids: no separators or quotes, no formula of a spreadsheet, no unfilled placeholder of a platform."""

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
UNSAFE = re.compile(r"[^\x21-\x7e]|[\"'<>\\^`|]")
MAX_LINK = 2000
"""Characters of a completion link."""


def parameter_of(entrance: str) -> str:
    """Parameter that holds a participant's id: that of a known platform, or the name itself.

    Raises:
        VocalgenError: it is neither a platform nor a name.
    """
    known = PLATFORMS.get(entrance.lower())
    if known is None and not PARAMETER.fullmatch(entrance):
        raise VocalgenError(
            f"entrance: {entrance!r} is not a platform ({', '.join(PLATFORMS)}) or the name of a "
            f"parameter; give one such as PROLIFIC_PID"
        )
    return entrance if known is None else known[0]


def entrance_path(entrance: str) -> str:
    """Path and query of the link for all participants, as a platform wants it."""
    name = parameter_of(entrance)
    filled = {parameter: placeholder for parameter, placeholder in PLATFORMS.values()}
    return f"/join?{name}={filled.get(name, 'ID')}"


def participant_of(entrance: str, given: Sequence[str]) -> str:
    """Participant's id among the values of the entrance's parameter in a link.

    Raises:
        VocalgenError: it is missing, there are several, or it is not an id; the message is for the participant.
    """
    ids = {value.strip() for value in given}
    if len(ids) != 1 or not PARTICIPANT.fullmatch(next(iter(ids))):
        raise VocalgenError(
            f"This link does not hold your participant id ({parameter_of(entrance)}). Please open it "
            f"from the platform that sent you, after you have accepted the study there."
        )
    return ids.pop()


def participant_token(secret: bytes, participant: str) -> str:
    """Token of a participant: the same for the same id, and unknown without the study's secret."""
    digest = hmac.digest(secret, participant.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest[:16]).rstrip(b"=").decode()


def require_completion_link(link: str) -> None:
    """Refuse a completion link that is not https, or has other words in braces than `completion_link` fills.

    Raises:
        VocalgenError: it is such a link.
    """
    try:
        parts = urlsplit(link)
        host = parts.hostname or ""
        fits = parts.scheme == "https" and HOST.fullmatch(host) and parts.username is None and parts.port != 0
    except ValueError:
        fits = False
    if not fits or UNSAFE.search(link) or len(link) > MAX_LINK:
        raise VocalgenError(
            f"completion_link: {link!r} is not an https address; give the whole address that the platform names"
        )
    unknown = [name for name in PLACEHOLDER.findall(link) if name not in ("participant", "code")]
    if unknown:
        raise VocalgenError(f"completion_link: {{{unknown[0]}}} is unknown; it may hold {{participant}} and {{code}}")


def completion_link(link: str, participant: str, code: str) -> str:
    """Completion link of one participant."""
    values = {"participant": participant, "code": code}
    return PLACEHOLDER.sub(lambda found: quote(values[found[1]], safe=""), link)
