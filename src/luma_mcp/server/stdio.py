"""Serve on stdin and stdout, so that every line gets an answer and every answer is sent.

The SDK's transport drops a line that is no message, so that its host waits for an answer that never comes. It also ends
when an answer cannot be encoded.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import anyio
from anyio import to_thread
from mcp.shared.message import SessionMessage
from mcp.types import INVALID_REQUEST, PARSE_ERROR, ErrorData, JSONRPCError, JSONRPCNotification
from mcp.types import JSONRPCMessage as Message
from mcp_types import jsonrpc_message_adapter
from pydantic import ValidationError
from pydantic_core import from_json

from luma_mcp.server import messages
from luma_mcp.text import make_encodable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
    from mcp.server.mcpserver import MCPServer

MAX_LINE = 64 * 1024 * 1024
"""Bytes. A picture of the largest size that is accepted takes a third more as base64, and still fits."""
BOM = b"\xef\xbb\xbf"
SCANNED = 1024 * 1024
"""Bytes of a line that is no JSON in which its id is looked for."""
_PIECE = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[{}\[\],:]|[^\s"{}\[\],:]+', re.DOTALL)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InvalidLine:
    """A line that is no message, and its answer. None if the client could take it for that to another request."""

    answer: JSONRPCError | None


async def serve_stdio(server: MCPServer[Any]) -> None:
    """Serve until stdin ends."""
    send_in, receive_in = anyio.create_memory_object_stream[SessionMessage | Exception]()
    send_out, receive_out = anyio.create_memory_object_stream[SessionMessage]()
    # The SDK offers no other way to run a server of its upper layer on streams.
    lower = server._lowlevel_server  # noqa: SLF001
    with _standard_streams() as (stdin, stdout):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_read, stdin, send_in, send_out.clone())
            tasks.start_soon(_write, stdout, receive_out)
            await lower.run(receive_in, send_out, lower.create_initialization_options())


async def _read(
    stdin: BinaryIO,
    inbound: MemoryObjectSendStream[SessionMessage | Exception],
    outbound: MemoryObjectSendStream[SessionMessage],
) -> None:
    async with inbound, outbound:
        while message := await to_thread.run_sync(_read_message, stdin):
            if not isinstance(message, InvalidLine):
                await inbound.send(SessionMessage(message))
                continue
            logger.warning("a line on stdin is not a JSON-RPC message")
            if message.answer:
                await outbound.send(SessionMessage(message.answer))


async def _write(stdout: BinaryIO, outbound: MemoryObjectReceiveStream[SessionMessage]) -> None:
    def write(message: Message) -> None:
        stdout.write(format_message(message))
        stdout.flush()

    async with outbound:
        async for item in outbound:
            await to_thread.run_sync(write, item.message)


def _read_message(stdin: BinaryIO) -> Message | InvalidLine | None:
    """Read the next message; None at the end. Blank lines are skipped."""
    # Parsed in the thread that has read it: a line with a picture takes a while.
    while line := stdin.readline(MAX_LINE):
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = stdin.readline(MAX_LINE)
            return _reject(INVALID_REQUEST, messages.LINE_TOO_LONG, _scan(line))
        if line := line.removeprefix(BOM).strip():
            return parse_message(line)
    return None


def parse_message(line: bytes) -> Message | InvalidLine:
    """Parse a line of JSON-RPC."""
    message, content = None, {}
    with suppress(ValidationError):
        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
    # Any member that it does not expect is ignored, so a request whose id cannot be one would pass as a notification.
    is_doubtful = isinstance(message, JSONRPCNotification) and b'"id"' in line
    # That parser accepts NaN and Infinity as well, which are not JSON.
    if message is None or is_doubtful or b"NaN" in line or b"Infinity" in line:
        try:
            content = from_json(line, allow_inf_nan=False)
        except ValueError:
            return _reject(PARSE_ERROR, messages.LINE_NOT_JSON, _scan(line))
    if message is None or (is_doubtful and "id" in content):
        return _reject(INVALID_REQUEST, messages.LINE_NO_REQUEST, content)
    return message


def format_message(message: Message) -> bytes:
    """Format a message as a line. What UTF-8 cannot express is replaced: the client waits for the answer."""
    try:
        text = message.model_dump_json(by_alias=True, exclude_unset=True, warnings=False)
    except (ValueError, RecursionError):
        content = make_encodable(message.model_dump(by_alias=True, exclude_unset=True, warnings=False))
        text = json.dumps(content, ensure_ascii=False)
    return text.encode() + b"\n"


def _reject(code: int, text: str, content: Any) -> InvalidLine:
    """The answer to a line with that content, as far as it could be read."""
    fields = content if isinstance(content, dict) else {}
    # An error with the id of a response could be taken for the answer to a request that the client sent under that id.
    if "method" not in fields and fields.keys() & {"result", "error"}:
        return InvalidLine(None)
    request_id = fields.get("id")
    if isinstance(request_id, bool) or not isinstance(request_id, str | int | float):
        request_id = None
    error = ErrorData(code=code, message=text)
    return InvalidLine(JSONRPCError.model_construct(jsonrpc="2.0", id=request_id, error=error))


def _scan(line: bytes) -> dict[str, Any]:
    """The members of the outermost object that are text or numbers, of a line that is no JSON; None for the others.

    It may be nested too deeply, have half characters, or end too early.
    """
    fields: dict[str, Any] = {}
    depth, before, name = 0, "", None
    for found in _PIECE.finditer(line[:SCANNED].decode(errors="replace")):
        piece = found[0]
        if not depth and piece != "{":
            break
        if depth == 1 and piece == ":":
            name = _parse_scalar(before)
        elif depth == 1 and before == ":" and isinstance(name, str):
            # Of two members of the same name it is not known which one was meant.
            fields[name] = None if name in fields else _parse_scalar(piece)
        depth += (piece in "{[") - (piece in "}]")
        before = piece
    return fields


def _parse_scalar(piece: str) -> Any:
    """The text or the number that a piece stands for; None for anything else."""
    try:
        value = from_json(piece, allow_inf_nan=False)
    except ValueError:
        return None
    return value if isinstance(value, str | int | float) else None


@contextmanager
def _standard_streams() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The streams of the host. Meanwhile stdin is empty, and stdout is stderr, for everything else in this process.

    What a library prints, or a program that it starts, would otherwise end up between the messages.
    """
    private = [_duplicate(0), _duplicate(1)]
    nothing = os.open(os.devnull, os.O_RDWR)
    _redirect(0, nothing)
    # Without a stderr, what is printed goes nowhere.
    _redirect(1, nothing if sys.stderr is None else 2)
    os.close(nothing)
    try:
        # Not closed at the end: a thread may still wait for a line.
        yield os.fdopen(private[0], "rb", closefd=False), os.fdopen(private[1], "wb", closefd=False)
    finally:
        sys.stdout.flush()
        for number in (0, 1):
            _redirect(number, private[number])


def _duplicate(number: int) -> int:
    """Duplicate a standard stream, not as another one of them that happens to be closed."""
    unusable = []
    while (copy := os.dup(number)) <= 2:
        unusable.append(copy)
    for copy in unusable:
        os.close(copy)
    return copy


def _redirect(number: int, target: int) -> None:
    os.dup2(target, number)
    if sys.platform == "win32":
        from mcp.os.win32.utilities import rebind_std_handle_to_fd

        # Programs that are started take the stream from the system, not from the C library.
        rebind_std_handle_to_fd(number)
