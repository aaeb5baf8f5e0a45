"""Chats in which an agent handles a user's request with the tools alone.

A host may pass only the text of a result to the model, or only the structured content. So each of them has to contain
everything that the agent needs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcp import Client

# Hosts truncate long results.
MAX_BYTES = 6_000
# A video in 1080p takes three minutes; each call waits for 45 seconds.
MAX_STEPS = 6


@dataclass(frozen=True)
class Reply:
    """The result of one call: its text, its structured content, and whether it is an error."""

    text: str
    content: dict[str, Any]
    is_error: bool

    @property
    def data(self) -> str:
        """The structured content as JSON, as a model reads it."""
        return json.dumps(self.content, ensure_ascii=False)

    @property
    def error(self) -> dict[str, Any]:
        """The error of a call that failed."""
        assert self.is_error, self.text
        return dict(self.content["error"])

    @property
    def jobid(self) -> str:
        """The jobid of a call that succeeded."""
        assert not self.is_error, self.text
        return str(self.content["jobid"])

    def assert_has(self, *facts: object) -> Reply:
        """Assert that the text and the structured content contain each fact, ignoring case."""
        for fact in map(str, facts):
            for channel in (self.text, self.data):
                # JSON escapes some characters of the text.
                escaped = json.dumps(fact, ensure_ascii=False)[1:-1]
                assert fact.casefold() in channel.casefold() or escaped.casefold() in channel.casefold(), (
                    fact,
                    channel,
                )
        return self

    def assert_lacks(self, *claims: str) -> Reply:
        """Assert that neither the text nor the structured content contains any of the claims."""
        for claim in claims:
            for channel in (self.text, self.data):
                assert claim.casefold() not in channel.casefold(), (claim, channel)
        return self


class Chat:
    """Calls tools as an agent would, and checks the size of each reply."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def call(self, tool: str, **arguments: Any) -> Reply:
        """Call a tool."""
        result = await self._client.call_tool(tool, arguments)
        texts = [block.text for block in result.content if block.type == "text"]
        assert result.structured_content is not None
        reply = Reply("\n".join(texts), dict(result.structured_content), bool(result.is_error))
        for channel in (reply.text, reply.data):
            assert len(channel.encode()) <= MAX_BYTES, channel
        return reply

    async def order(self, prompt: str, **arguments: Any) -> Reply:
        """Order a video, and wait for it unless the arguments say otherwise."""
        return await self.call("generate_video", prompt=prompt, **arguments)

    async def describe(self) -> dict[str, str]:
        """Get the descriptions of the tools by name, which an agent knows before its first call."""
        tools = await self._client.list_tools()
        return {tool.name: tool.description or "" for tool in tools.tools}

    async def make(self, prompt: str, **arguments: Any) -> Reply:
        """Order a video, and follow the next step of each reply until there is none."""
        reply = await self.order(prompt, **arguments)
        for _ in range(MAX_STEPS):
            if reply.is_error or reply.content["next_action"] != "get_job":
                return reply
            reply = await self.get(reply.jobid)
        raise AssertionError(reply.text)

    async def get(self, jobid: str, **arguments: Any) -> Reply:
        """Wait for a job."""
        return await self.call("get_job", jobid=jobid, **arguments)
