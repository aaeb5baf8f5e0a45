"""Sends a call until it is answered, or until it must not be sent again. The one place that touches the network."""

from __future__ import annotations

from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlsplit

import anyio
import httpx2

from luma_mcp import errors
from luma_mcp.api.retry import NOT_DELIVERED, ORDER, RetryPolicy, pause
from luma_mcp.api.tracing import request_span
from luma_mcp.api.useapi import responses
from luma_mcp.api.useapi.endpoints import SUBMIT, Call
from luma_mcp.api.useapi.responses import Answer, RequestFailed
from luma_mcp.settings import LOOPBACK, TOKEN_PATTERN

if TYPE_CHECKING:
    from collections.abc import Callable

    from luma_mcp.api.tracing import RequestSpan

CONNECT_SECONDS = 10.0
LARGEST_ANSWER = 2_000_000
LONGEST_SEGMENT = 2_000


class DeliveryObserver(Protocol):
    """Is told what becomes of an order at the very moment, so that it can be written down."""

    def sending(self) -> None:
        """It is about to go out. What is raised here keeps it from going."""

    def not_delivered(self) -> None:
        """It surely did not arrive, or was refused."""


@dataclass(frozen=True, slots=True)
class Content:
    """A body that is not JSON."""

    data: bytes
    media_type: str


class Transport:
    """Connections to the API with a token. `chance` gives random numbers from 0 to 1, to spread retries."""

    def __init__(
        self,
        token: str,
        base_url: str,
        transport: httpx2.AsyncBaseTransport | None,
        chance: Callable[[], float],
        wall_clock: Callable[[], datetime],
    ) -> None:
        if not TOKEN_PATTERN.fullmatch(token):
            raise errors.NotConfigured("The API token must be one word of plain characters, whole (user:…).")
        self._token = token
        self._base_url = base_url.rstrip("/")
        self._transport = transport
        self._chance = chance
        self._wall_clock = wall_clock
        self.clock_ahead: timedelta | None = None
        self._http: dict[RetryPolicy, httpx2.AsyncClient] = {}

    async def aclose(self) -> None:
        """Closes the connections."""
        while self._http:
            await self._http.popitem()[1].aclose()

    async def send(
        self,
        call: Call,
        *names: str,
        body: Any = None,
        patience: float,
        witness: DeliveryObserver | None = None,
        hidden: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        """The JSON object that answers a call.

        Args:
            call: what to call.
            names: fill its path.
            body: a JSON value, or `Content`.
            patience: seconds that bound sending it again.
            witness: is told before each delivery, and after one that was none.
            hidden: what no error may repeat, beside the token.

        Raises:
            LumaError: named for the situation.
        """
        path = call.path.format(*map(_segment, names))
        end = anyio.current_time() + patience
        attempt = 0
        while True:
            attempt += 1
            try:
                if witness:
                    witness.sending()
                with request_span(call, self._base_url, attempt=attempt) as span:
                    return await self._deliver(call, path, body, span, hidden)
            except RequestFailed as rejected:
                if witness and rejected.fate in NOT_DELIVERED:
                    witness.not_delivered()
                seconds = pause(
                    call.effect,
                    rejected.fate,
                    attempt=attempt,
                    left=end - anyio.current_time(),
                    retry_after=rejected.error.retry_after,
                    chance=self._chance(),
                )
                if seconds is None:
                    raise rejected.error from rejected.__cause__
            await anyio.sleep(seconds)

    async def _deliver(
        self, call: Call, path: str, body: Any, span: RequestSpan, hidden: tuple[str, ...]
    ) -> dict[str, Any]:
        ordering = call is SUBMIT
        answer: Answer | None = None
        # A cancelled caller must not tear an order apart between its delivery and its answer: the job would run
        # and be billed, and nobody would know its jobid.
        with anyio.CancelScope(shield=ordering), anyio.move_on_after(call.seconds):
            try:
                answer = await self._exchange(call, path, body)
            except (httpx2.HTTPError, httpx2.InvalidURL) as fault:
                # Without its cause where that could quote a header, and so the token.
                sent = isinstance(fault, httpx2.HTTPError) and not isinstance(fault, httpx2.LocalProtocolError)
                raise responses.transport_failed(call, fault) from (fault if sent else None)
        if answer is None:
            raise responses.no_answer(call, "no whole answer came in time")
        span.answered(answer.status)
        return responses.read_answer(call, answer, self._token, *hidden)

    async def _exchange(self, call: Call, path: str, body: Any) -> Answer:
        headers = {"Authorization": f"Bearer {self._token}"}
        sent: dict[str, Any] = {"json": body}
        if isinstance(body, Content):
            headers["Content-Type"] = body.media_type
            sent = {"content": body.data}
        http = self._connected(call.effect)
        timeout = httpx2.Timeout(call.seconds, connect=CONNECT_SECONDS)
        async with http.stream(
            call.method, self._base_url + path, headers=headers, timeout=timeout, **sent
        ) as response:
            self._note_time(response.headers.get("date", ""))
            content = bytearray()
            async with aclosing(response.aiter_bytes()) as chunks:
                async for chunk in chunks:
                    content += chunk
                    if len(content) > LARGEST_ANSWER:
                        content.clear()
                        break
            return Answer(response.status_code, dict(response.headers), bytes(content))

    def _note_time(self, date: str) -> None:
        """How far the API's time of day is ahead of ours, where an answer tells."""
        with suppress(ValueError, TypeError, IndexError, OverflowError):
            self.clock_ahead = parsedate_to_datetime(date).astimezone(UTC) - self._wall_clock()

    def _connected(self, effect: RetryPolicy) -> httpx2.AsyncClient:
        if effect not in self._http:
            # To this machine, never through a proxy.
            local = urlsplit(self._base_url).hostname in LOOPBACK
            # Each order goes over a connection of its own: on one that was kept, and that the API closes at the
            # same moment, nobody could tell whether the order arrived.
            limits = httpx2.Limits(max_keepalive_connections=0 if effect is ORDER else 5)
            try:
                self._http[effect] = httpx2.AsyncClient(
                    transport=self._transport,
                    limits=limits,
                    trust_env=not local,
                    follow_redirects=False,
                )
            except (ImportError, ValueError, OSError) as fault:
                raise responses.not_sendable(fault, f" {errors.NO_MONEY}" if effect is ORDER else "") from fault
        return self._http[effect]


def _segment(name: str) -> str:
    """A name as one path segment; a jobid contains ":" and "@", and could contain anything.

    Raises:
        InvalidArguments: it cannot be a jobid or an e-mail address.
    """
    try:
        segment = quote(name, safe="")
    except UnicodeEncodeError:
        segment = ""
    if not 0 < len(segment) <= LONGEST_SEGMENT or segment.strip(".") == "":
        raise errors.InvalidArguments("This cannot be a jobid or an account: pass it exactly as it was returned.")
    return segment
