"""Luma Ray 3 video for agents (an MCP server) and for Python programs (`LumaClient`, `AgentsClient`)."""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "AccessDenied",
    "Account",
    "AccountSession",
    "AgentsClient",
    "Alternative",
    "BudgetReached",
    "Capacity",
    "Conflict",
    "DownloadError",
    "Forbidden",
    "InvalidArguments",
    "Job",
    "JobFailed",
    "JobFiles",
    "JournalUnavailable",
    "LimitReached",
    "LumaClient",
    "LumaError",
    "Media",
    "Moderated",
    "NetworkError",
    "NotConfigured",
    "NotFound",
    "OutcomeUnknown",
    "PaymentRequired",
    "Problem",
    "RunningJob",
    "Unauthorized",
    "Upstream",
    "VideoRequest",
    "__version__",
]

if TYPE_CHECKING:
    from luma_mcp.api.agents.client import AgentsClient
    from luma_mcp.api.protocol import Account, Job, JobFiles, Media, RunningJob, VideoRequest
    from luma_mcp.api.useapi.client import LumaClient
    from luma_mcp.errors import (
        AccessDenied,
        AccountSession,
        Alternative,
        BudgetReached,
        Capacity,
        Conflict,
        DownloadError,
        Forbidden,
        InvalidArguments,
        JobFailed,
        JournalUnavailable,
        LimitReached,
        LumaError,
        Moderated,
        NetworkError,
        NotConfigured,
        NotFound,
        OutcomeUnknown,
        PaymentRequired,
        Problem,
        Unauthorized,
        Upstream,
    )
else:
    _CLIENTS = {"AgentsClient": "api.agents.client", "LumaClient": "api.useapi.client"}

    def __getattr__(name: str) -> object:
        """Import an exported name at its first use: every start of a server imports this module."""
        from importlib import import_module

        if name in __all__:
            for module in (f"luma_mcp.{_CLIENTS.get(name, 'errors')}", "luma_mcp.api.protocol"):
                value = getattr(import_module(module), name, None)
                if value is not None:
                    return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
