"""Sends a request until it is answered or must not be sent again. All API clients use the network only here."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlsplit

import anyio
import anyio.lowlevel
import httpx2
from opentelemetry.trace import Span, SpanKind, StatusCode, get_tracer

from luma_mcp import errors
from luma_mcp.api.protocol import LONGEST_SEGMENT, DeliveryObserver
from luma_mcp.api.retry import NON_IDEMPOTENT, NOT_DELIVERED, DeliveryOutcome, RetryPolicy, backoff
from luma_mcp.settings import LOOPBACK, ProxyVariableError, find_proxy

CONNECT_TIMEOUT = 10.0
# Connections that are kept for later requests: by one client, and by all who share a transport.
KEEPALIVE, SHARED_KEEPALIVE = 5, 50
# Bytes; a larger answer is unreadable. A record has about 2,000.
LARGEST_ANSWER = 2_000_000
LONGEST_CAUSE_CHAIN = 20

# Failures before a connection was made.
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
# Failures that settings of this machine cause.
_NOT_SENDABLE = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.InvalidURL)

# Without an OpenTelemetry SDK (`opentelemetry-instrument luma-ray-mcp` sets one up) the spans go nowhere.
_tracer = get_tracer("luma-ray-mcp")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint of an API.

    Attributes:
        path: its path below the base URL, with the names of its parameters in braces.
        paid: it orders something that costs money. Its delivery is shielded from cancellation, and what may have
            arrived has an unknown outcome.
        required: the field without which a successful answer is unreadable, and its type.
        not_found: what a 404 means.
        timeout: seconds from the connection to the end of the answer.
    """

    method: str
    path: str
    policy: RetryPolicy
    paid: bool = False
    required: tuple[str, type] | None = None
    not_found: errors.Subject = "job"
    timeout: float = 15.0


@dataclass(frozen=True, slots=True)
class RawResponse:
    """An answer as it came: lower-case header names, the body without its content encoding."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(eq=False)
class RequestFailed(Exception):
    """One delivery brought no usable answer. `error` is raised if the request is not sent again."""

    outcome: DeliveryOutcome
    error: errors.LumaError


# Returns the JSON object of a successful answer, else raises `RequestFailed`. The last argument is the secrets that
# were sent: no error may repeat them, even if the API does.
ReadResponse = Callable[[Endpoint, RawResponse, tuple[str, ...]], dict[str, Any]]


# Without a representation, which would show the token.
@dataclass(repr=False, eq=False)
class Transport:
    """Connections to one API with one bearer token.

    `transport` carries the requests; a test passes its own. `jitter` gives random numbers from 0 to 1.
    """

    token: str
    base_url: str
    read_response: ReadResponse
    transport: httpx2.AsyncBaseTransport | None
    jitter: Callable[[], float]
    # The date of the last answer that had one, and its arrival by the event loop's clock, which is never adjusted.
    _answer_time: tuple[datetime, float] | None = None
    _clients: dict[RetryPolicy, httpx2.AsyncClient] = field(default_factory=dict)

    def now(self) -> datetime | None:
        """Get the time of day by the API's clock; None until an answer has shown it."""
        if self._answer_time is None:
            return None
        date, received = self._answer_time
        return date + timedelta(seconds=anyio.current_time() - received)

    async def aclose(self) -> None:
        """Close the connections."""
        while self._clients:
            await self._clients.popitem()[1].aclose()

    async def send(
        self,
        endpoint: Endpoint,
        path_params: Mapping[str, str] | None = None,
        *,
        payload: Mapping[str, Any] | None = None,
        retry_timeout: float,
        slot_timeout: float = 0,
        observer: DeliveryObserver | None = None,
        secrets: tuple[str, ...] = (),
        account: str | None = None,
    ) -> dict[str, Any]:
        """Send a request and return the JSON object that answers it.

        `payload` is its body, as arguments of httpx2: `json`, or `content` with `headers`. It is sent again within
        `retry_timeout` seconds, and where all slots are in use, within `slot_timeout` seconds if that is longer. The
        observer is called before each delivery, and after one that surely failed.
        `secrets` is what no error may repeat. `account` is named in the error about an expired session. In an error,
        `charged` is "no" where a paid request certainly started nothing.

        For a paid endpoint, everything from the first record to the last is one shield. A cancelled caller must not
        separate a delivery from its answer: the job would run and be billed, and nobody would know its jobid. Nor may
        it separate a delivery from its records. Cancellation therefore takes effect only where the records are right:

        1. before `sending()`: the order is still pending, and nothing was sent;
        2. while waiting for the next attempt, after `not_delivered()`: the order is pending again;
        3. in the caller, which has the job.
        """
        path = _build_path(endpoint, path_params or {})
        started = anyio.current_time()
        attempt = 0
        while True:
            attempt += 1
            # A caller that is already cancelled sends nothing (1).
            await anyio.lowlevel.checkpoint_if_cancelled()
            with anyio.CancelScope(shield=endpoint.paid):
                if observer:
                    await observer.sending()
                try:
                    with _request_span(endpoint, self.base_url, attempt) as span:
                        response = await self._exchange(endpoint, path, payload or {})
                        span.set_attribute("http.response.status_code", response.status)
                        return self.read_response(endpoint, response, (self.token, *secrets))
                except RequestFailed as caught:
                    failure, error = caught, caught.error
                if observer and failure.outcome in NOT_DELIVERED:
                    await observer.not_delivered()
            if endpoint.paid and failure.outcome in NOT_DELIVERED and error.charged is None:
                error.charged = "no"
            if isinstance(error, errors.AccountSession):
                error.email = error.email or account
            timeout = retry_timeout
            if failure.outcome is DeliveryOutcome.REJECTED_FOR_NOW:
                timeout = max(retry_timeout, slot_timeout)
            delay = backoff(
                endpoint.policy,
                failure.outcome,
                attempt=attempt,
                remaining=started + timeout - anyio.current_time(),
                retry_after=error.retry_after,
                jitter=self.jitter(),
            )
            if delay is None:
                raise error from failure.__cause__
            await anyio.sleep(delay)

    async def _exchange(self, endpoint: Endpoint, path: str, payload: Mapping[str, Any]) -> RawResponse:
        """Send the request and read the answer, within the endpoint's timeout."""
        client = self._client(endpoint.policy)
        url = self.base_url.rstrip("/") + path
        timeout = httpx2.Timeout(endpoint.timeout, connect=CONNECT_TIMEOUT)
        content = bytearray()
        try:
            # A timeout of its own: httpx2's is for each read, and a slow answer could be drawn out without an end.
            with anyio.fail_after(endpoint.timeout):
                async with client.stream(endpoint.method, url, timeout=timeout, **payload) as response:
                    # Some answers have no readable date.
                    with suppress(ValueError, TypeError, IndexError, OverflowError):
                        date = parsedate_to_datetime(response.headers.get("date", ""))
                        if date.tzinfo:
                            self._answer_time = date, anyio.current_time()
                    async with aclosing(response.aiter_bytes()) as chunks:
                        async for chunk in chunks:
                            content += chunk
                            if len(content) > LARGEST_ANSWER:
                                content.clear()
                                break
        except _NOT_SENDABLE as fault:
            # Without its cause: its text could quote a header, and so the token.
            raise _unsendable(fault) from None
        except (TimeoutError, httpx2.HTTPError) as fault:
            raise _transport_failure(endpoint, fault) from fault
        return RawResponse(response.status_code, dict(response.headers), bytes(content))

    def _client(self, policy: RetryPolicy) -> httpx2.AsyncClient:
        if policy not in self._clients:
            # A request that must not be sent twice gets a connection of its own: if the API closes a kept-alive one at
            # the same moment, nobody can know whether the request arrived.
            keepalive = 0 if policy is NON_IDEMPOTENT else KEEPALIVE
            transport = self.transport or _build_transport(self.base_url, keepalive=keepalive)
            try:
                self._clients[policy] = httpx2.AsyncClient(
                    transport=transport,
                    headers={"Authorization": f"Bearer {self.token}"},
                    follow_redirects=False,
                )
            except (ImportError, ValueError, OSError, httpx2.InvalidURL) as fault:
                # Without its cause: its text could contain the token.
                raise _unsendable(fault) from None
        return self._clients[policy]


class SharedTransport(httpx2.AsyncBaseTransport):
    """Connections to one API that the clients of several credentials share.

    A client that is closed leaves them open; `close_all` closes them.
    """

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._transports: dict[bool, httpx2.AsyncBaseTransport] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; what may change something gets a connection of its own, for the reason given in `_client`."""
        is_read = request.method == "GET"
        if is_read not in self._transports:
            self._transports[is_read] = _build_transport(self._base_url, keepalive=SHARED_KEEPALIVE if is_read else 0)
        return await self._transports[is_read].handle_async_request(request)

    async def aclose(self) -> None:
        """Do nothing."""

    async def close_all(self) -> None:
        """Close the connections."""
        while self._transports:
            await self._transports.popitem()[1].aclose()


def _build_transport(base_url: str, *, keepalive: int) -> httpx2.AsyncBaseTransport:
    """Build what makes the connections to an API. Raises `RequestFailed` if this machine's settings forbid it."""
    try:
        # Requests to this machine never go through a proxy.
        is_local = urlsplit(base_url).hostname in LOOPBACK
        # Not httpx2's own proxies: one variable that it cannot read, of whatever scheme, ends all requests.
        return httpx2.AsyncHTTPTransport(
            proxy=None if is_local else find_proxy(base_url),
            limits=httpx2.Limits(max_keepalive_connections=keepalive),
            trust_env=not is_local,
        )
    except ProxyVariableError as fault:
        network_error = errors.NetworkError("unsendable", detail=str(fault))
        raise RequestFailed(DeliveryOutcome.FINAL, network_error) from None
    except (ImportError, ValueError, OSError, httpx2.InvalidURL) as fault:
        # Without its cause: its text could contain the password of a proxy.
        raise _unsendable(fault) from None


@contextmanager
def _request_span(endpoint: Endpoint, base_url: str, attempt: int) -> Iterator[Span]:
    """Trace one delivery, with the names of the semantic conventions for HTTP clients.

    No span contains a jobid, an account, a prompt, a header or the text of an error.
    """
    attributes: dict[str, str | int] = {"http.request.method": endpoint.method, "url.template": endpoint.path}
    # A base URL that cannot be parsed is the request's own error.
    with suppress(ValueError):
        url = urlsplit(base_url)
        attributes["server.address"] = url.hostname or ""
        attributes["server.port"] = url.port or (80 if url.scheme == "http" else 443)
    if attempt > 1:
        attributes["http.request.resend_count"] = attempt - 1
    with _tracer.start_as_current_span(
        f"{endpoint.method} {endpoint.path}",
        kind=SpanKind.CLIENT,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except BaseException as fault:
            error = fault.error if isinstance(fault, RequestFailed) else fault
            status = (error.status or 0) if isinstance(error, errors.LumaError) else 0
            span.set_attribute("error.type", str(status) if status >= 400 else type(error).__qualname__)
            span.set_status(StatusCode.ERROR)
            raise


def _unsendable(fault: Exception) -> RequestFailed:
    """Build the failure for a request that this machine's settings forbid. The fault is named, never quoted."""
    return RequestFailed(DeliveryOutcome.FINAL, errors.NetworkError("unsendable", detail=type(fault).__name__))


def _transport_failure(endpoint: Endpoint, fault: Exception) -> RequestFailed:
    """Build the failure for a request that was not sent, or not answered."""
    stage: errors.FailureStage
    if isinstance(fault, _NOT_SENT):
        stage = _connect_stage(fault)
        # A certificate does not become valid within seconds.
        outcome = DeliveryOutcome.FINAL if stage == "tls" else DeliveryOutcome.NEVER_ARRIVED
        return RequestFailed(outcome, errors.NetworkError(stage))
    stage, cause = "broken", "the connection broke"
    if isinstance(fault, TimeoutError):
        stage, cause = "timeout", "no complete answer came in time"
    elif isinstance(fault, httpx2.TimeoutException):
        stage, cause = "timeout", "no answer came in time"
    error = errors.OutcomeUnknown(cause) if endpoint.paid else errors.NetworkError(stage)
    return RequestFailed(DeliveryOutcome.LOST, error)


def _connect_stage(fault: Exception) -> errors.FailureStage:
    """Find out where connecting ended, from the chain of causes."""
    cause: BaseException | None = fault
    # The chain can be circular if an exception was raised again.
    for _ in range(LONGEST_CAUSE_CHAIN):
        if isinstance(cause, ssl.SSLError):
            return "tls"
        if isinstance(cause, socket.gaierror):
            return "dns"
        if cause is not None:
            cause = cause.__cause__ or cause.__context__
    if isinstance(fault, httpx2.TimeoutException):
        return "timeout"
    return "proxy" if isinstance(fault, httpx2.ProxyError) else "refused"


def _build_path(endpoint: Endpoint, path_params: Mapping[str, str]) -> str:
    """Fill the path. Each value is one segment, whatever characters are in it; else `InvalidArguments`."""
    segments: dict[str, str] = {}
    for name, value in path_params.items():
        try:
            segment = quote(value, safe="")
        except UnicodeEncodeError:
            segment = ""
        # Dots alone would be taken for a folder.
        if not segment.strip(".") or len(segment) > LONGEST_SEGMENT:
            expected = "the value exactly as it was returned"
            raise errors.InvalidArguments([errors.Problem(name, "wrong_format", expected=expected)])
        segments[name] = segment
    return endpoint.path.format_map(segments)
