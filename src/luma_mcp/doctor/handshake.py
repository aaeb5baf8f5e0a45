"""Handshakes: with the server in this process, and with a command as a host starts it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING

from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from luma_mcp.doctor.check_result import Finding, failed, passed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from luma_mcp.doctor.environment import Environment

ERAS = ("2026-07-28", "legacy")
"""How clients begin, as the SDK calls it."""
OUR_NAME = "luma-ray-mcp"
ANEW = "Install luma-ray-mcp anew, in a new environment: make clean install (in its folder)."


class NoHandshake(Exception):
    """The command did not become a server that answers; the text says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """What answered."""

    name: str
    version: str
    tools: int


async def eras(here: Environment) -> Iterable[Finding]:
    """The server answers clients of both eras of the protocol, and lists its tools."""
    return [await _era(here, mode) for mode in ERAS]


async def _era(here: Environment, mode: str) -> Finding:
    name = f"server {mode}"
    # It begins no journal, and does not go on with what is in one.
    settings = replace(here.settings, journal="off")
    try:
        async with Client(here.new_server(settings), mode=mode) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            version = client.protocol_version
    except Exception as fault:  # noqa: BLE001 - whatever it is, it is the finding
        return failed(name, f"it does not answer: {_words(fault)}", ANEW)
    if not tools:
        return failed(name, "it lists no tools", ANEW)
    return passed(name, f"speaks {version}: {', '.join(tools)}")


async def start(
    command: str, arguments: Sequence[str], environment: Mapping[str, str], path: str, *, secrets: Iterable[str] = ()
) -> Server:
    """Starts a server as a host does, with only these variables and that `PATH`, and ends it again.

    Raises:
        NoHandshake: why it is none; the last line that it wrote to stderr, without the secrets.
    """
    # Nothing is to be found again or written down by a server that lives for a moment.
    env = {"PATH": path, **environment, "LUMA_MCP_JOURNAL": "off"}
    server = StdioServerParameters(command=command, args=list(arguments), env=env)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        try:
            async with Client(stdio_client(server, errlog=log), mode="legacy") as client:
                tools = (await client.list_tools()).tools
                told = client.server_info
                return Server(told.name if told else "", told.version if told else "", len(tools))
        except Exception as fault:  # noqa: BLE001 - whatever it is, the server is none
            said = _last_line(log, secrets)
            raise NoHandshake(f"{_words(fault)}{said}") from None


def _words(fault: BaseException) -> str:
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror
    return f"{type(fault).__name__}: {fault}" if str(fault) else type(fault).__name__


def _last_line(log: IO[str], secrets: Iterable[str]) -> str:
    log.seek(0)
    lines = [line.strip() for line in log.read()[-4000:].splitlines() if line.strip()]
    text = lines[-1] if lines else ""
    for secret in secrets:
        text = text.replace(secret, "***")
    return f'; it says: "{text[:300]}"' if text else ""
