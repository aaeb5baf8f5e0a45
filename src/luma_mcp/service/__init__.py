"""Orders, tracks and downloads videos for one token; here, where its files are on this machine.

This module imports little, because the server and the commands need it before they need the rest.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from luma_mcp.settings import Settings


def output_folder(settings: Settings) -> Path:
    """Get the folder where videos are saved."""
    if settings.output_dir:
        return settings.output_dir
    from platformdirs import user_videos_path

    return user_videos_path() / "Luma"


def journal_path(settings: Settings) -> Path | None:
    """Get the journal's file; None if the journal is kept in memory only."""
    if settings.simulated or settings.journal == "off":
        return None
    if settings.journal:
        return Path(settings.journal)
    return state_folder() / "journal.db"


def state_folder() -> Path:
    """Get the folder for what is kept from one run to the next."""
    from platformdirs import user_state_path

    return user_state_path("luma-ray-mcp", appauthor=False)


def has_journal(settings: Settings) -> bool:
    """Whether the journal's file exists: whether there may be orders of earlier processes."""
    path = journal_path(settings)
    return path is not None and os.path.exists(path)  # noqa: PTH110 - Path.exists raises in an unreadable folder


def existing_files(paths: Iterable[str]) -> tuple[str, ...]:
    """Get those paths that are files. One in a folder that cannot be read counts as missing."""
    # Not Path.is_file, which raises PermissionError up to Python 3.13.
    return tuple(path for path in paths if os.path.isfile(path))  # noqa: PTH113


def api_id(base_url: str, token: str) -> str:
    """Get an id that distinguishes APIs and tokens without revealing either."""
    return hashlib.sha256(f"{base_url}\n{token}".encode()).hexdigest()[:16]
