"""Where things are on this machine, and what tells one token's things from another's."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luma_mcp.settings import Settings


def output_folder(settings: Settings) -> Path:
    """Where files are saved."""
    if settings.output_dir:
        return settings.output_dir
    from platformdirs import user_videos_path

    return user_videos_path() / "Luma"


def journal_path(settings: Settings) -> Path | None:
    """The journal's file; None where there is to be none."""
    if settings.simulated or settings.journal == "off":
        return None
    if settings.journal:
        return Path(settings.journal)
    from platformdirs import user_state_path

    return user_state_path("luma-ray-mcp", appauthor=False) / "journal.db"


def has_journal(settings: Settings) -> bool:
    """Whether anything was written down here before."""
    path = journal_path(settings)
    return path is not None and path.exists()


def api_of(base_url: str, token: str) -> str:
    """Tells tokens and APIs apart, and gives neither away."""
    return hashlib.sha256(f"{base_url}\n{token}".encode()).hexdigest()[:16]
