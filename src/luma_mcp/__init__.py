"""Luma Ray 3 video for agents (an MCP server) and for Python programs (`LumaClient`)."""

__version__ = "0.1.0"

from luma_mcp.api.protocol import Account, ExecutingJob, Job, Media, VideoRequest
from luma_mcp.api.useapi.client import LumaClient

__all__ = ["Account", "ExecutingJob", "Job", "LumaClient", "Media", "VideoRequest", "__version__"]
