"""Progress of a call: it keeps hosts from cancelling the call, and shows the user that it is working."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import anyio

from luma_mcp.server.messages import USUAL_TIME
from luma_mcp.text import make_encodable

if TYPE_CHECKING:
    from mcp.server.mcpserver import Context

    from luma_mcp.service.films import FilmStep
    from luma_mcp.service.requests import ProgressStep


logger = logging.getLogger(__name__)

# Seconds between two reports.
INTERVAL = 2.0
MAX_MESSAGE = 199
# Upper limit of the estimate before a job has ended.
_HIGHEST_ESTIMATE = 99.0
# Seconds, for a job of which not even the resolution is known.
UNKNOWN_TYPICAL = (30.0, 180.0)
# Percent at which a video is ready that is still to be downloaded.
READY_TO_SAVE = 90.0
_DOWNLOAD_SHARE = 9.0
_FILM_STEPS: dict[FilmStep, str] = {
    "checking": "Checking the videos",
    "fetching": "Fetching the videos",
    "joining": "Joining the videos",
}


@dataclass(slots=True)
class ProgressReporter:
    """Reports the progress of one call, from 0 to 100 and never back, as the protocol requires.

    Run `tick` with a `Ticker` while the call lasts.

    Args:
        ctx: the call; None to report nothing.
        save: whether the video is downloaded once it is ready.
    """

    ctx: Context[Any, Any] | None
    save: bool = False
    _percent: float | None = None
    _reported_at: float = float("-inf")
    _phase: Literal["submitting", "waiting", "downloading", "joining"] = "submitting"
    # Replaced as soon as the service reports its first step.
    _message: str = "Preparing"
    _waiting_since: float = 0.0
    _typical: float = 0.0

    @property
    def percent(self) -> float:
        """How far the call is, as it was last reported."""
        return self._percent or 0.0

    async def report(self, percent: float, message: str) -> None:
        """Report how far the call is."""
        lowest = 0.0
        if self._percent is not None:
            # It never stands still, because a host may take that for a call that hangs.
            limit = 100.0 if self._phase == "downloading" else _HIGHEST_ESTIMATE
            lowest = self._percent + (limit - self._percent) / 1000
        self._percent = max(percent, lowest)
        self._reported_at = anyio.current_time()
        if self.ctx is None:
            return
        try:
            await self.ctx.report_progress(self._percent, 100, make_encodable(message[:MAX_MESSAGE]))
        except Exception as error:  # noqa: BLE001 - a client that has left must not end a paid order
            logger.info("progress could not be reported: %s", error)
            self.ctx = None

    async def on_progress(self, step: ProgressStep, detail: str | None = None) -> None:
        """Note what the service does before and while it orders; `tick` reports it if it takes long."""
        self._phase = "submitting"
        self._message = format_step(step, detail)

    def start_looking_up(self, expected: tuple[float, float] | None, *, age: float = 0.0) -> None:
        """Note that a job is looked up, which is `age` seconds old; `tick` reports it if it takes long."""
        self._set_waiting(expected, age)
        self._message = "Looking up the job"

    async def start_waiting(
        self, jobid: str, resolution: str | None, expected: tuple[float, float] | None, *, age: float | None = 0.0
    ) -> None:
        """Report that the call waits for a job, which is `age` seconds old; None: as old as was noted.

        `expected`: the seconds between which such jobs usually end. The message contains the jobid, so that a user who
        only sees progress can find the job again.
        """
        low, high = self._set_waiting(expected, age)
        self._message = USUAL_TIME.format(resolution or "a video", low, high)
        message = f"Job {jobid}: {self._message}"
        # A jobid that is cut short is of no use.
        await self.report(self._estimate(), message if len(message) <= MAX_MESSAGE else f"Job {jobid}")

    def _set_waiting(self, expected: tuple[float, float] | None, age: float | None) -> tuple[float, float]:
        low, high = expected or UNKNOWN_TYPICAL
        self._typical = (low + high) / 2
        if age is not None or self._phase != "waiting":
            self._waiting_since = anyio.current_time() - (age or 0.0)
        self._phase = "waiting"
        return low, high

    def _estimate(self) -> float:
        percent = estimate_percent(anyio.current_time() - self._waiting_since, self._typical)
        return percent * READY_TO_SAVE / 100 if self.save else percent

    async def on_download(self, name: str, received: int, total: int | None, share: float) -> None:
        """Report a download now and then: the file's name, its bytes, and which share of all files is here."""
        self._phase = "downloading"
        of_total = f" of {_format_size(total)}" if total else ""
        self._message = f"Saving {name}: {_format_size(received)}{of_total}"
        if share == 1 or anyio.current_time() - self._reported_at >= INTERVAL:
            await self.report(READY_TO_SAVE + _DOWNLOAD_SHARE * share, self._message)

    async def on_film(self, step: FilmStep, share: float) -> None:
        """Report now and then how far a film is; `share` from 0 to 1."""
        self._phase = "joining"
        self._message = _FILM_STEPS[step]
        if anyio.current_time() - self._reported_at >= INTERVAL:
            await self.report(_HIGHEST_ESTIMATE * share, self._message)

    async def tick(self, elapsed: float) -> None:
        """Report what is going on. `elapsed`: seconds since the call began."""
        if self._phase == "waiting":
            waited = anyio.current_time() - self._waiting_since
            await self.report(self._estimate(), f"{waited:.0f} s; {self._message}")
        elif self._phase == "submitting":
            await self.report(0, f"{self._message} ({elapsed:.0f} s)")
        elif anyio.current_time() - self._reported_at >= INTERVAL:
            # Nothing was reported for a while.
            await self.report(0, self._message)


def format_step(step: ProgressStep, detail: str | None) -> str:
    """Format a step: `Uploading image_start`, `Waiting for a free slot, 4 of 4 in use`."""
    if step == "waiting for a free slot" and detail is None:
        # Not every API counts in slots.
        return "Waiting for a running job to end"
    separator = ", " if step == "waiting for a free slot" else " "
    return step.capitalize() + (f"{separator}{detail}" if detail else "")


def estimate_percent(elapsed: float, typical: float) -> float:
    """Estimate how far a job is: evenly to 90 at its typical time, then ever slower; never quite 99."""
    if elapsed <= typical:
        return 90 * elapsed / typical
    return _HIGHEST_ESTIMATE - (_HIGHEST_ESTIMATE - 90) * typical / elapsed


def _format_size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1_000_000 else f"{count / 1e3:.0f} kB"
