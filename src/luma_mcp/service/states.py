"""The states of a listed job, and how many are listed at most. Apart, because the tools' schemas need no more."""

from __future__ import annotations

from typing import Literal

ListedState = Literal["running", "completed", "failed", "unknown"]
"""`unknown`: an order whose answer was lost, and of which no job was found."""
MOST = 100
