"""Fixture for chats with the server of a user who has one account."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.server.conversations.chat import Chat

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from mcp import Client


@pytest.fixture
def chat(server: Callable[..., Client]) -> Callable[..., AbstractAsyncContextManager[Chat]]:
    """Starts a server, as another process would, and a chat with it. Takes the transport and settings by name."""

    @asynccontextmanager
    async def start(**settings: Any) -> AsyncIterator[Chat]:
        async with server(**settings) as client:
            yield Chat(client)

    return start
