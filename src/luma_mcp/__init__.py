"""Luma Ray 3 video for agents (an MCP server) and for Python programs (`LumaClient`)."""

__version__ = "0.1.0"

from luma_mcp.luma.client import LumaClient
from luma_mcp.luma.records import Account, ExecutingJob, Job, Media, VideoRequest

__all__ = ["Account", "ExecutingJob", "Job", "LumaClient", "Media", "VideoRequest", "__version__"]
