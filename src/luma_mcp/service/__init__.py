"""Orders, tracks and downloads videos for one token. This module has the file locations and limits that others share.

It imports little, because the server and the commands need it before they need the rest.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import SecretStr

from luma_mcp.settings import Settings

MAX_LISTED = 100
"""Jobs in a list, at most."""
MAX_TAKES = 4
"""Videos of one request that are ordered together, at most."""
MAX_JOBIDS = 8
"""Jobs that are waited for together, at most."""
MOST_FRAMES = 12
"""Frames of a video in a contact sheet, at most."""
FEWEST_VIDEOS, MOST_VIDEOS = 2, 50
"""How many videos a film is joined from."""
SHORTEST_CROSSFADE, LONGEST_CROSSFADE = 0.1, 5.0
"""Seconds that a crossfade between two videos can take."""
UNKNOWN_FOR = timedelta(minutes=15)
"""How long an order of unknown outcome blocks the same order: longer than any job runs."""

_MOMENTS = {"today": 0, "yesterday": 1}
"""Names of days, by how many days before today they began."""
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_UNIT_NAMES = {
    "sec": "s",
    "second": "s",
    "m": "min",
    "minute": "min",
    "hr": "h",
    "hour": "h",
    "day": "d",
    "week": "w",
    **{unit: unit for unit in _UNITS},
}


def output_folder(settings: Settings) -> Path:
    """Get the folder where videos are saved."""
    if settings.output_dir:
        return settings.output_dir
    from platformdirs import user_videos_path

    return user_videos_path() / "Luma"


def journal_place(settings: Settings) -> Path | SecretStr | None:
    """Get the journal's file, or the address of its database; None if the journal is kept in memory only."""
    if settings.simulated or settings.journal == "off":
        return None
    if isinstance(settings.journal, SecretStr):
        return settings.journal
    if settings.journal:
        return Path(settings.journal)
    return state_folder() / "journal.db"


def journal_path(settings: Settings) -> Path | None:
    """Get the local file of the journal; None if the journal is kept in memory only.

    For a journal in a database, it is only the path beside which lock files are kept.
    """
    place = journal_place(settings)
    return state_folder() / "journal.db" if isinstance(place, SecretStr) else place


def state_folder() -> Path:
    """Get the folder for files that persist between runs."""
    from platformdirs import user_state_path

    return user_state_path("luma-ray-mcp", appauthor=False)


def has_journal(settings: Settings) -> bool:
    """Whether there may be orders of earlier processes: the journal is a database, or its file exists."""
    place = journal_place(settings)
    if place is None or isinstance(place, SecretStr):
        return place is not None
    return os.path.exists(place)  # noqa: PTH110 - Path.exists raises in an unreadable folder


def existing_files(paths: Iterable[str]) -> tuple[str, ...]:
    """Get those paths that are files. One in a folder that cannot be read counts as missing."""
    # Not Path.is_file, which raises PermissionError up to Python 3.13.
    return tuple(path for path in paths if os.path.isfile(path))  # noqa: PTH113


def api_id(base_url: str, token: str) -> str:
    """Get an id that distinguishes APIs and tokens without revealing either."""
    return hashlib.sha256(f"{base_url}\n{token}".encode()).hexdigest()[:16]


def parse_moment(text: str, now: datetime) -> datetime | None:
    """Parse a date or a date and time (ISO 8601), an age such as `2h` or `3 days`, or `yesterday`; return it in UTC.

    None if it is none of these. A date means its beginning. Days are those of the time zone of `now`.
    """
    spelling = text.strip().casefold()
    with suppress(ValueError, OverflowError):
        if spelling in _MOMENTS:
            midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
            return (midnight - timedelta(days=_MOMENTS[spelling])).astimezone(UTC)
        age = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+?)s?(?:\s+ago)?", spelling)
        if age and age[2] in _UNIT_NAMES:
            return now.astimezone(UTC) - timedelta(seconds=float(age[1]) * _UNITS[_UNIT_NAMES[age[2]]])
        moment = datetime.fromisoformat(text.strip().upper().replace(" UTC", "Z"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)).astimezone(UTC)
    return None
