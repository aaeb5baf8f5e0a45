"""A chat in which an agent that has only the tools serves a user's request.

A host may hand the model only the text of a result, or only its structured content. So a reply has to contain what the
agent needs for its user in each of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcp import Client

# Hosts cut long results.
MAX_BYTES = 6_000
# A video in 1080p takes three minutes, of which a call waits 45 seconds.
MAX_STEPS = 6


@dataclass(frozen=True)
class Reply:
    """The result of one call: its text, its structured content, and whether it is an error."""

    text: str
    content: dict[str, Any]
    is_error: bool

    @property
    def data(self) -> str:
        """The structured content as a model reads it."""
        return json.dumps(self.content, ensure_ascii=False)

    @property
    def error(self) -> dict[str, Any]:
        """The facts of a call that failed."""
        assert self.is_error, self.text
        return dict(self.content["error"])

    @property
    def jobid(self) -> str:
        """The jobid of a call that did not fail."""
        assert not self.is_error, self.text
        return str(self.content["jobid"])

    def says(self, *facts: object) -> Reply:
        """Both channels contain each fact, in whatever case."""
        for fact in map(str, facts):
            for channel in (self.text, self.data):
                # JSON escapes what a text has as it is.
                escaped = json.dumps(fact, ensure_ascii=False)[1:-1]
                assert fact.casefold() in channel.casefold() or escaped.casefold() in channel.casefold(), (
                    fact,
                    channel,
                )
        return self

    def avoids(self, *claims: str) -> Reply:
        """Neither channel contains any of the claims."""
        for claim in claims:
            for channel in (self.text, self.data):
                assert claim.casefold() not in channel.casefold(), (claim, channel)
        return self


class Chat:
    """Calls tools as an agent would, and keeps the replies."""

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
        """The descriptions of the tools, by name: what an agent knows before its first call."""
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
