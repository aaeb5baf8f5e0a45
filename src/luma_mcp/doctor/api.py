"""The API, the token, and the accounts behind it: one round of questions, and what the answers mean."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio

from luma_mcp import errors
from luma_mcp.api.useapi.client import LumaClient
from luma_mcp.doctor.accounts import of_accounts
from luma_mcp.doctor.check_result import Finding, failed, note, passed
from luma_mcp.settings import BASE_URL, LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from luma_mcp.api.protocol import Account
    from luma_mcp.doctor.environment import Environment
    from luma_mcp.errors import LumaError

PATIENCE = 1.0
"""Seconds within which a passing fault is looked at again."""
NO_TOKEN = "none"  # noqa: S105 - what is sent where there is none: the answer tells that the API is there
NEW_TOKEN = "Set USEAPI_TOKEN to the API token, whole, as https://useapi.net shows it (user:…)."  # noqa: S105 - words


async def api(here: Environment) -> Iterable[Finding]:
    """The API can be reached, it accepts the token, and there are accounts that can make videos."""
    token = here.settings.token.get_secret_value() if here.settings.token else NO_TOKEN
    answer: tuple[Account, ...] | LumaError = timed_out(here.seconds)
    live: dict[str, Account | LumaError] = {}
    async with LumaClient(token, base_url=here.settings.base_url, transport=here.transport) as luma:

        async def look(email: str) -> None:
            try:
                live[email] = await luma.account(email, patience=PATIENCE)
            except errors.LumaError as error:
                live[email] = error

        with anyio.move_on_after(here.seconds):
            try:
                answer = await luma.accounts(patience=PATIENCE)
            except errors.LumaError as error:
                answer = error
            else:
                async with anyio.create_task_group() as tasks:
                    for account in answer:
                        tasks.start_soon(look, account.email)
    if isinstance(answer, errors.LumaError):
        return [of_way(here, answer), of_token(here, answer)]
    return [of_way(here, None), of_token(here, None), *of_accounts(here, answer, live)]


def timed_out(seconds: float) -> errors.NetworkError:
    """No answer within the time of a check."""
    error = errors.NetworkError(f"The API did not answer within {seconds:g} s.")
    error.way = "timeout"
    return error


def of_way(here: Environment, error: LumaError | None) -> Finding:
    """Whether the API itself answers."""
    url = here.settings.base_url
    proxy = proxy_of(url, here.environment)
    if isinstance(error, errors.NetworkError):
        return failed("api", error.message, _mend(here, error.way, proxy))
    if isinstance(error, errors.Upstream):
        own = error.status is not None and error.status >= 500
        wait = "Wait a while, and run luma-ray-mcp doctor again: the fault is the API's own."
        other = f"Something else answers for it: sign in to this network, or {_other_address(url)}."
        return failed("api", error.message, wait if own else other)
    return passed("api", f"{url} answers" + (f", through the proxy {proxy}" if proxy else ""))


def _mend(here: Environment, way: errors.FailureStage, proxy: str | None) -> str:
    url = here.settings.base_url
    host = urlsplit(url).hostname
    through = f"Set HTTPS_PROXY to a proxy that works ({proxy} does not), or unset it."
    elsewhere = url != BASE_URL
    mends: dict[errors.FailureStage, str] = {
        "dns": through if proxy else f"Connect this machine to a network whose DNS knows {proxy or host}.",
        "tls": "Set SSL_CERT_FILE to the PEM file of the authority that your network's certificates come from.",
        "proxy": through,
        "refused": f"Let this machine connect to {host} (a firewall, or no network?).",
        "timeout": "Give it more time: luma-ray-mcp doctor --seconds 30",
        "broken": f"Let whatever stands between this machine and {host} pass HTTPS on, or {_other_address(url)}.",
        "unsendable": "Unset those of SSL_CERT_FILE, SSL_CERT_DIR, HTTPS_PROXY and ALL_PROXY that are not right.",
    }
    if way == "refused" and (proxy or elsewhere):
        return through if proxy else f"Start what is to answer at {url}, or {_other_address(url)}."
    if way == "dns" and elsewhere and not proxy:
        return f"Correct LUMA_MCP_BASE_URL ({host} is not known), or unset it."
    return mends[way]


def _other_address(url: str) -> str:
    return "run it again elsewhere" if url == BASE_URL else "unset LUMA_MCP_BASE_URL"


def of_token(here: Environment, error: LumaError | None) -> Finding:
    """Whether there is a token, and the API accepts it."""
    if "USEAPI_TOKEN" in here.faults or here.settings.token is None:
        simulate = "To try without one: luma-ray-mcp doctor --simulate."
        return failed("token", "USEAPI_TOKEN is not set here, nor in the entry of a host", f"{NEW_TOKEN} {simulate}")
    source = f"of {here.token_of.host.name}'s entry" if here.token_of else "of the simulation"
    if not here.token_of and not here.settings.simulated:
        source = "of the environment"
    if isinstance(error, errors.Unauthorized):
        mend = f"luma-ray-mcp install {here.token_of.host.id}" if here.token_of else NEW_TOKEN
        return failed("token", f"the API does not accept the one {source}", mend)
    if isinstance(error, errors.PaymentRequired):
        return failed("token", error.message, "Renew the subscription at https://useapi.net.")
    if error:
        return note("token", f"the one {source} is set; whether the API accepts it is not known")
    return passed("token", f"the one {source} is accepted (not shown)")


def proxy_of(url: str, environment: Mapping[str, str]) -> str | None:
    """Host and port of the proxy that requests go through, without what it is told to let us in."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    names = (f"{parts.scheme}_proxy", f"{parts.scheme}_proxy".upper(), "all_proxy", "ALL_PROXY")
    proxy = next((value for name in names if (value := environment.get(name, "").strip())), "")
    excepted = (environment.get("no_proxy") or environment.get("NO_PROXY") or "").split(",")
    direct = any(name in ("*", host) or host.endswith(f".{name}") for name in (n.strip().lstrip(".") for n in excepted))
    if not proxy or direct or host in LOOPBACK:
        return None
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}").netloc.rpartition("@")[2]
