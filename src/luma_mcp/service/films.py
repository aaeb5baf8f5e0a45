"""From clips to films: contact sheets, small previews, and several videos joined to one file."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from luma_mcp.api.protocol import Job
from luma_mcp.journal.protocol import Journal
from luma_mcp.media.clips import (
    ClipFacts,
    ContactSheet,
)
from luma_mcp.media.decoder import Decoder
from luma_mcp.service.clip_files import ClipFiles

FEWEST_VIDEOS, MOST_VIDEOS = 2, 50
SHORTEST_CROSSFADE, LONGEST_CROSSFADE = 0.1, 5.0
SHEET_FRAMES = 12
"""How many frames of a film its contact sheet shows."""
NEEDS_PYAV = "needs the Python package PyAV, which is not installed on the server's machine"

FilmStep = Literal["checking", "fetching", "joining"]
FilmProgress = Callable[[FilmStep, float], Awaitable[None]]
"""Receives what is done now, and the share of the whole that is done, from 0 to 1."""

logger = logging.getLogger(__name__)

_EXPECTED = f"a list of {FEWEST_VIDEOS} to {MOST_VIDEOS} videos, in the order of the film"
_SOURCES = "the jobid of a video, or the absolute path of a saved one"
_CONCURRENT_FETCHES = 4
_FETCHED, _JOINED = 0.3, 0.97
"""The share of the whole that is done when all videos are here, and when they are joined."""
_TOLERANCE = 0.05
"""Seconds by which a crossfade may exceed half of a clip: less than two frames."""
_FOLDER_PREFIX = ".luma-film-"
_MOST_SHEETS, _MOST_PREVIEWS = 8, 4
# Journals can be long, and a film is made of what was made lately.
_SEARCHED_ORDERS = 1000


@dataclass(frozen=True, slots=True)
class Film:
    """A film that was saved.

    Attributes:
        path: its absolute path.
        sheet: its contact sheet; None if that could not be made.
        has_lost_sound: whether clips with sound lost it.
        resized, retimed: positions of the clips that had another size or frame rate than the first one.
    """

    path: Path
    facts: ClipFacts
    is_reencoded: bool
    sheet: ContactSheet | None = None
    has_lost_sound: bool = False
    resized: tuple[int, ...] = ()
    retimed: tuple[int, ...] = ()


@dataclass(slots=True)
class Films:
    """Makes contact sheets, previews and films from the videos of jobs, and from saved files.

    Attributes:
        get_folder: gets the output folder.
        folders: other folders whose files may be read; None for the user's home.
        now: the time of day.
    """

    clips: ClipFiles
    journal: Journal
    decoder: Decoder
    get_folder: Callable[[], Path]
    folders: Sequence[Path] | None
    now: Callable[[], datetime]

    async def make_sheet(self, jobs: Sequence[tuple[str, Job]], frames: int) -> ContactSheet:
        """Make a contact sheet of the videos of finished jobs, each with a label, which is empty for a single one.

        Raises:
            ImageError: a clause about the video that cannot be used, with its jobid.
            LumaError: the API could not be asked for a new link.
        """
        raise NotImplementedError

    async def make_preview(self, job: Job) -> bytes:
        """Make a small SDR copy of the video of a finished job, as an MP4. Raises what `make_sheet` does."""
        raise NotImplementedError

    async def join(
        self,
        videos: Sequence[str],
        *,
        crossfades: Sequence[float] | float = 0.0,
        title: str | None = None,
        folder: Path | None = None,
        stem: Path | None = None,
        on_progress: FilmProgress,
    ) -> Film:
        """Join videos to one MP4 and save it, never over another file. If it fails or is cancelled, no file remains.

        Args:
            videos: jobids of finished jobs, or absolute paths of saved files, in order.
            crossfades: the seconds for which each video but the first overlaps the one before it; 0 is a cut.
            title: what the file is named for.
            folder: where it goes; None for the output folder.
            stem: absolute path of the file without its ending, instead of title and folder.
            on_progress: called with what is done now.

        Raises:
            InvalidArguments: with all problems; `retry` is "later" if all that is missing are videos that are not there
                yet, and `jobid` is the first of their jobs.
            DownloadError: the folder cannot be used.
            LumaError: the API could not be asked for a job.
        """
        raise NotImplementedError
