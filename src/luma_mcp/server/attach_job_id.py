"""From the moment of an order on: whatever goes wrong, its jobid reaches somebody."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

from luma_mcp.errors import LumaError, NotFound, Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

CANCELLED = "The call was cancelled; its job goes on, ask for it with get_job: %s"
LATER = "Ask for it with get_job in a while; do not order it again."
NOT_LOST = "The job goes on and is not lost: ask for it with get_job; do not order it again."


@contextmanager
def paid(jobid: str) -> Iterator[None]:
    """Whatever goes wrong in the block, the job is paid for: its jobid must reach the agent, or else the log."""
    try:
        yield
    except anyio.get_cancelled_exc_class():
        # Nobody gets this call's result any more: the log is where the jobid can still be found.
        logger.warning(CANCELLED, jobid)
        raise
    except NotFound as error:
        message = f"The video was ordered, but the API does not list its job (yet, or any more). {LATER}"
        raise Upstream(message, status=error.status, api_message=error.api_message, jobid=jobid) from error
    except LumaError as error:
        error.jobid = jobid
        error.message = f"The video was ordered, but following it failed. {error.message} {NOT_LOST}"
        raise
    except Exception as error:
        logger.exception("following a job failed")
        raise Upstream(f"The video was ordered, but following it failed here. {NOT_LOST}", jobid=jobid) from error
