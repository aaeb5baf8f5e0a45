"""Images, videos and downloads: reads images from links, files and data: URIs, reads and joins videos, and saves them.

Only what is needed at start-up is defined here.
"""

from __future__ import annotations

from importlib.util import find_spec

NEEDS_PYAV = "needs the Python package PyAV, which is not installed on the server's machine"


def can_read_clips() -> bool:
    """Whether PyAV is installed."""
    return find_spec("av") is not None
