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

    from luma_mcp.service.requests import ProgressStep


logger = logging.getLogger(__name__)

# Seconds between two reports.
INTERVAL = 2.0
MAX_MESSAGE = 199
# Seconds, for a job of which not even the resolution is known.
UNKNOWN_TYPICAL = (30.0, 180.0)
# Percent at which a video is ready that is still to be downloaded.
READY_TO_SAVE = 90.0
_DOWNLOAD_SHARE = 9.0


@dataclass(slots=True)
class ProgressReporter:
    """Reports the progress of one call, from 0 to 100 and never back, as the protocol requires.

    Run `tick` with `periodic` while the call lasts.

    Args:
        ctx: the call; None if nobody listens.
        save: whether the video is downloaded once it is ready.
    """

    ctx: Context[Any, Any] | None
    save: bool = False
    _percent: float | None = None
    _reported_at: float = float("-inf")
    _phase: Literal["submitting", "waiting", "downloading"] = "submitting"
    # Nothing is being ordered until the service says so.
    _message: str = "Preparing"
    _waiting_since: float = 0.0
    _typical: float = 0.0

    async def report(self, percent: float, message: str) -> None:
        """Report how far the call is."""
        lowest = 0.0
        if self._percent is not None:
            # It never stands still, because a host may take that for a call that hangs.
            lowest = self._percent + (100 - self._percent) / 1000
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

    async def start_waiting(self, jobid: str, resolution: str | None, expected: tuple[float, float] | None) -> None:
        """Report that the call waits for a job. `expected`: the seconds between which such jobs usually end.

        The message contains the jobid, so that a user who only sees progress can find the job again.
        """
        low, high = expected or UNKNOWN_TYPICAL
        self._typical = (low + high) / 2
        self._message = USUAL_TIME.format(resolution or "a video", low, high)
        self._waiting_since = anyio.current_time()
        self._phase = "waiting"
        message = f"Job {jobid}: {self._message}"
        # A jobid that is cut short is of no use.
        await self.report(0, message if len(message) <= MAX_MESSAGE else f"Job {jobid}")

    async def on_download(self, name: str, received: int, total: int | None, share: float) -> None:
        """Report a download now and then: the file's name, its bytes, and which share of all files is here."""
        self._phase = "downloading"
        of_total = f" of {_format_size(total)}" if total else ""
        self._message = f"Saving {name}: {_format_size(received)}{of_total}"
        if share == 1 or anyio.current_time() - self._reported_at >= INTERVAL:
            await self.report(READY_TO_SAVE + _DOWNLOAD_SHARE * share, self._message)

    async def tick(self, elapsed: float) -> None:
        """Report what is going on. `elapsed`: seconds since the call began."""
        if self._phase == "waiting":
            waited = anyio.current_time() - self._waiting_since
            percent = estimate_percent(waited, self._typical)
            if self.save:
                percent *= READY_TO_SAVE / 100
            await self.report(percent, f"{waited:.0f} s; {self._message}")
        elif self._phase == "submitting":
            await self.report(0, f"{self._message} ({elapsed:.0f} s)")
        elif anyio.current_time() - self._reported_at >= INTERVAL:
            # No byte has arrived for a while.
            await self.report(0, self._message)


def format_step(step: ProgressStep, detail: str | None) -> str:
    """Word a step: `Uploading image_start`, `Waiting for a free slot, 4 of 4 in use`."""
    separator = ", " if step == "waiting for a free slot" else " "
    return step.capitalize() + (f"{separator}{detail}" if detail else "")


def estimate_percent(elapsed: float, typical: float) -> float:
    """Estimate how far a job is: evenly to 90 at its typical time, then ever slower; never quite 100."""
    return 90 * elapsed / typical if elapsed <= typical else 100 - 10 * typical / elapsed


def _format_size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1_000_000 else f"{count / 1e3:.0f} kB"
