"""The settings, from environment variables only: no `.env` and no file of the current folder is read.

Hosts start servers inside other people's projects, and pass on placeholders that they could not expand. So an empty
value, or one that still contains `${…}`, counts as unset.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr

from luma_mcp.providers import BY_VARIABLE, PROVIDERS, Provider

BASE_URL = PROVIDERS["useapi"].base_url
LOOPBACK = ("localhost", "127.0.0.1", "::1")
TOKEN_PATTERN = re.compile(r"[!-~]+")
"""One word that an HTTP header can carry."""
SHORTEST_HTTP_TOKEN, FEWEST_CHARACTERS = 32, 8
"""Minimum length of an HTTP token, and minimum number of different characters in it, against guessing."""
HIGHEST_PORT = 65_535
LONGEST_DRAIN = 3600
LOG_FORMATS = ("text", "json")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
SCHEMAS = ("portable", "exact")
# What people copy along with a credential, at the beginning of a value or of an item of a list.
_PREFIX = r"""(?:^|[:;])\s*["'`]?(?:(?:export|set)\s+)?(?:[\w-]+\s*[=:]\s*)?["'`]?(?:Bearer\s+)?"""
_TOKEN_LIKE = {
    name: re.compile(_PREFIX + re.escape(provider.begins), re.IGNORECASE) for name, provider in PROVIDERS.items()
}
CONFIRM = ("never", "expensive", "always")
LONGEST_WAIT = 600
LARGEST_BUDGET = 1e9

_YES, _NO = ("1", "yes", "on", "true"), ("0", "no", "off", "false")
PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
DEFAULT_PORTS = {"http": 80, "https": 443}
_UNEXPANDED = re.compile(r"\$\{.*\}|\$\w+$|%\w+%$")
_HOST_NAME = re.compile(r"[\w-]+(\.[\w-]+)*\.?")


class SettingsError(Exception):
    """Values that cannot be used; one line each, naming the variable and never repeating a secret."""


class ProxyVariableError(ValueError):
    """A variable that names no usable proxy. Its text is the variable's name: the value may contain a password."""


def parse_credential(api: str, text: str) -> SecretStr:
    """Parse the credential of an API. Raises `ValueError`, whose text does not repeat it, if it cannot be one."""
    provider = PROVIDERS[api]
    token = re.sub(r"^Bearer(\s+|$)", "", text)
    if not TOKEN_PATTERN.fullmatch(token):
        raise ValueError(
            f"must be the complete {provider.short_noun} as {provider.console} shows it "
            f"({provider.example}), without spaces"
        )
    return SecretStr(token)


def find_other_api(api: str, text: str) -> Provider | None:
    """Find another API whose credential a text looks like."""
    for name, pattern in _TOKEN_LIKE.items():
        if name != api and pattern.search(text):
            return PROVIDERS[name]
    return None


def _credential(api: str) -> Callable[[str], SecretStr]:
    return partial(parse_credential, api)


def parse_http_token(text: str) -> SecretStr:
    """Parse the token for `serve --http`. Raises `ValueError` if it could be guessed or no header can carry it."""
    token = re.sub(r"^Bearer(\s+|$)", "", text)
    # A text that repeats a shorter one occurs in its double before the second copy.
    is_repetitive = len(set(token)) < FEWEST_CHARACTERS or (token + token).find(token, 1) < len(token)
    if len(token) < SHORTEST_HTTP_TOKEN or is_repetitive or not TOKEN_PATTERN.fullmatch(token):
        raise ValueError(
            f"must be at least {SHORTEST_HTTP_TOKEN} random characters without spaces, such as this prints: "
            "python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return SecretStr(token)


def _base_url(text: str) -> str:
    try:
        url = urlsplit(text)
        plain = url.port != 0 and not (url.username or url.password or url.query or url.fragment or " " in text)
        if plain and url.hostname and (url.scheme == "https" or (url.scheme == "http" and url.hostname in LOOPBACK)):
            return text.rstrip("/")
    except ValueError:
        pass
    # Not repeated: it could hold a password.
    raise ValueError("must be an https:// URL with only a host and a path (http:// only for this machine)")


def _public_url(text: str) -> str:
    return _base_url(text).removesuffix("/mcp")


def _email(text: str) -> str:
    if not re.fullmatch(r"\S+@\S+", text):
        raise ValueError(f'must be an e-mail address, not "{text}"')
    return text


def _whole_number(lowest: int, highest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isdecimal() and lowest <= int(text) <= highest):
            raise ValueError(f'must be a whole number from {lowest} to {highest}, not "{text}"')
        return int(text)

    return parse


def _amount(text: str) -> float:
    amount = float(text) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) else 0.0
    if not 0 < amount <= LARGEST_BUDGET:
        raise ValueError(f'must be a positive number without a currency, such as 5 or 2.50, not "{text}"')
    return amount


def _folder(text: str) -> Path:
    folder = Path(os.path.expanduser(text))  # noqa: PTH111 - leaves what cannot be expanded as it is
    if "\0" in text or not folder.is_absolute():
        raise ValueError(f'must be an absolute path (~ works), not "{text}"')
    return folder


def _folders(text: str) -> tuple[Path, ...]:
    return tuple(_folder(part.strip()) for part in text.split(os.pathsep) if part.strip())


def is_database(text: str) -> bool:
    """Whether a value of LUMA_MCP_JOURNAL is the address of a database, which may contain a password."""
    return re.match(r"\s*postgres(ql)?://", text, re.IGNORECASE) is not None


def _journal(text: str) -> str | SecretStr:
    if text.casefold() in _NO:
        return "off"
    if is_database(text) and not re.search(r"\s", text):
        return SecretStr(text)
    if is_database(text) or re.search(r"://|=|^postgres", text):
        # Not repeated: it could hold a password.
        raise ValueError("must be off, an absolute path, or postgresql://… without spaces")
    return str(_folder(text))


def _switch(text: str) -> bool:
    if text.casefold() not in (*_YES, *_NO):
        raise ValueError(f'must be 1 or 0, not "{text}"')
    return text.casefold() in _YES


def _plain_text(text: str) -> str:
    if re.search(r"\s", text):
        raise ValueError("must be one text without spaces")
    return text


def _issuer(text: str) -> str:
    # Kept as it is written: tokens are compared with it character by character.
    _base_url(text)
    return text


def _scopes(text: str) -> tuple[str, ...]:
    if re.search(r'["\\]', text):
        raise ValueError("must be names of scopes, separated by spaces")
    return tuple(re.split(r"[\s,]+", text.strip(", ")))


def _secret_keys(text: str) -> tuple[SecretStr, ...]:
    keys = tuple(part.strip() for part in text.split(","))
    for key in keys:
        if len(key) < SHORTEST_HTTP_TOKEN or len(set(key)) < FEWEST_CHARACTERS:
            raise ValueError(f"must be random keys of at least {SHORTEST_HTTP_TOKEN} characters, separated by commas")
    return tuple(SecretStr(key) for key in keys)


def _database(text: str) -> SecretStr:
    if not is_database(text) or re.search(r"\s", text):
        # Not repeated: it could hold a password.
        raise ValueError("must be postgresql://… without spaces")
    return SecretStr(text)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not (host and port.isdecimal() and 0 <= int(port) <= HIGHEST_PORT):
        raise ValueError(f'must be an address and a port, such as 127.0.0.1:9464, not "{text}"')
    return host.strip("[]"), int(port)


def _store(text: str) -> str:
    if not re.match(r"[a-z][a-z0-9+]*://\S", text) or re.search(r"\s", text) or "@" in text:
        # Not repeated: it could hold a password.
        raise ValueError("must be a URL such as s3://bucket/prefix, without credentials")
    return text.rstrip("/")


def _one_of(values: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        for value in values:
            if value.casefold() == text.casefold():
                return value
        raise ValueError(f'must be {", ".join(values[:-1])} or {values[-1]}, not "{text}"')

    return parse


def _variable(name: str, parse: Callable[[str], Any], default: Any, about: str, *, hosting: bool = False) -> Any:
    """Describe a setting. `hosting`: it is only for servers of many people, and is documented with them."""
    return field(default=default, metadata={"name": name, "parse": parse, "about": about, "hosting": hosting})


_hosting_variable = partial(_variable, hosting=True)


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of the server. Each field's metadata has its variable and the text for the documentation."""

    token: SecretStr | None = _variable(
        "USEAPI_TOKEN",
        _credential("useapi"),
        None,
        "Your API token from useapi.net (`user:…`). Without a credential only `list_options` works.",
    )
    """The credential of the API in use, whichever variable it comes from."""
    agents_key: SecretStr | None = _variable(
        "LUMA_AGENTS_API_KEY",
        _credential("agents"),
        None,
        "Your API key from platform.lumalabs.ai (`luma-api-…`), for Luma's own Agents API.",
    )
    api: str = _variable(
        "LUMA_MCP_API",
        _one_of(tuple(PROVIDERS)),
        "useapi",
        "Which API makes the videos: `useapi` or `agents`. If unset: the one whose credential is set, `useapi` first.",
    )
    http_token: SecretStr | None = _variable(
        "LUMA_MCP_HTTP_TOKEN",
        parse_http_token,
        None,
        "What clients of `serve --http` must send: 32 random characters or more. If unset: generated and kept.",
    )
    base_url: str = _variable(
        "LUMA_MCP_BASE_URL", _base_url, BASE_URL, "Another URL for the API in use, such as that of a simulator."
    )
    email: str | None = _variable(
        "LUMA_MCP_EMAIL", _email, None, "Luma account for orders that name none and use no assetRefs of another one."
    )
    max_wait_seconds: int = _variable(
        "LUMA_MCP_MAX_WAIT_SECONDS",
        _whole_number(0, LONGEST_WAIT),
        LONGEST_WAIT,
        "Longest time that one call waits for its job, in seconds.",
    )
    output_dir: Path | None = _variable(
        "LUMA_MCP_OUTPUT_DIR", _folder, None, "Where `save` puts files. If unset: `Luma` in your videos folder."
    )
    input_dirs: tuple[Path, ...] | None = _variable(
        "LUMA_MCP_INPUT_DIRS",
        _folders,
        None,
        "Folders whose files may be used as images, separated as in `PATH`. If unset: your home, no hidden folders.",
    )
    allow_private_urls: bool = _variable(
        "LUMA_MCP_ALLOW_PRIVATE_URLS", _switch, False, "`1`: image links may lead into your own network."
    )
    thumbnails: bool = _variable(
        "LUMA_MCP_THUMBNAILS", _switch, True, "`0`: results carry no picture of the finished video."
    )
    journal: str | SecretStr | None = _variable(
        "LUMA_MCP_JOURNAL",
        _journal,
        None,
        "`off`, another file for the journal of what was ordered, or `postgresql://…` for a database that several "
        "machines share. If unset: in your state folder.",
    )
    journal_migrate: bool = _variable(
        "LUMA_MCP_JOURNAL_MIGRATE",
        _switch,
        True,
        "`0`: only check the tables of a database; `luma-ray-mcp migrate` creates and updates them.",
    )
    journal_required: bool = _variable(
        "LUMA_MCP_JOURNAL_REQUIRED",
        _switch,
        False,
        "`1`: order nothing while the journal cannot be used, instead of ordering without its protection.",
    )
    repeat_window_seconds: int = _variable(
        "LUMA_MCP_REPEAT_WINDOW_SECONDS",
        _whole_number(0, 86_400),
        600,
        "How long an identical order returns the finished job whose result nobody got, in seconds; `0`: not at all.",
    )
    confirm: str = _variable(
        "LUMA_MCP_CONFIRM",
        _one_of(CONFIRM),
        "never",
        "`always`, or `expensive` (costly options such as 1080p, 10s and HDR): ask before ordering, if the host can.",
    )
    max_jobs_per_hour: int | None = _variable(
        "LUMA_MCP_MAX_JOBS_PER_HOUR", _whole_number(1, 10_000), None, "Maximum hourly orders, per token and machine."
    )
    budget_per_day: float | None = _variable(
        "LUMA_MCP_BUDGET_PER_DAY",
        _amount,
        None,
        "The most that the orders of 24 hours may cost: dollars with `agents`, credits with `useapi`.",
    )
    schema: str = _variable(
        "LUMA_MCP_SCHEMA",
        _one_of(SCHEMAS),
        "portable",
        "`portable`: an input schema that every host accepts. `exact`: one that holds every rule.",
    )
    log_level: str = _variable("LUMA_MCP_LOG_LEVEL", _one_of(LOG_LEVELS), "WARNING", "How much goes to stderr.")
    log_format: str = _hosting_variable(
        "LUMA_MCP_LOG_FORMAT", _one_of(LOG_FORMATS), "text", "`json`: one object per line, with request ids."
    )
    public_url: str | None = _hosting_variable(
        "LUMA_MCP_PUBLIC_URL",
        _public_url,
        None,
        "The URL under which clients reach the server, without `/mcp`, such as `https://video.example.com`.",
    )
    oauth_issuer: str | None = _hosting_variable(
        "LUMA_MCP_OAUTH_ISSUER",
        _issuer,
        None,
        "The issuer of the access tokens that callers must have, exactly as their `iss` claim names it.",
    )
    oauth_audience: str | None = _hosting_variable(
        "LUMA_MCP_OAUTH_AUDIENCE",
        _plain_text,
        None,
        "What must be in the tokens' `aud` claim. If unset: the public URL with `/mcp`.",
    )
    oauth_required_scopes: tuple[str, ...] = _hosting_variable(
        "LUMA_MCP_OAUTH_REQUIRED_SCOPES",
        _scopes,
        (),
        "Scopes that every token must have, besides those of each tool (`luma:read`, `luma:generate`).",
    )
    oauth_advertised_scopes: tuple[str, ...] = _hosting_variable(
        "LUMA_MCP_OAUTH_ADVERTISED_SCOPES",
        _scopes,
        (),
        "The scopes as clients must request them, in the same order as `luma:read luma:generate`, where the identity "
        "provider names them differently.",
    )
    tenants_file: Path | None = _hosting_variable(
        "LUMA_MCP_TENANTS_FILE",
        _folder,
        None,
        "A file that gives credentials and limits to users and groups. It is read again when it changes.",
    )
    max_waits: int = _hosting_variable(
        "LUMA_MCP_MAX_WAITS",
        _whole_number(1, 10_000),
        20,
        "How many calls of one tenant may wait at one server at the same time; one more returns the job as it is.",
    )
    max_body_bytes: int | None = _hosting_variable(
        "LUMA_MCP_MAX_BODY_BYTES",
        _whole_number(10_000, 1_000_000_000),
        None,
        "The longest request, in bytes. If unset: 4,194,304.",
    )
    secret_keys: tuple[SecretStr, ...] = _hosting_variable(
        "LUMA_MCP_SECRET_KEYS",
        _secret_keys,
        (),
        "Keys that all replicas share, separated by commas, each of 32 random characters or more. The first one signs, "
        "and all are accepted.",
    )
    journal_listen: SecretStr | None = _hosting_variable(
        "LUMA_MCP_JOURNAL_LISTEN",
        _database,
        None,
        "The database's direct address for LISTEN, where LUMA_MCP_JOURNAL leads to a pooler.",
    )
    store: str | None = _hosting_variable(
        "LUMA_MCP_STORE",
        _store,
        None,
        "Where finished videos are kept: `s3://bucket/prefix`, or `gs`, `az`, `file`. If unset: results have the API's "
        "own links.",
    )
    metrics_address: tuple[str, int] | None = _hosting_variable(
        "LUMA_MCP_METRICS_ADDRESS",
        _address,
        None,
        "Where `/metrics`, `/livez` and `/readyz` are served, such as `127.0.0.1:9464`.",
    )
    drain_seconds: int = _hosting_variable(
        "LUMA_MCP_DRAIN_SECONDS",
        _whole_number(0, LONGEST_DRAIN),
        60,
        "How long, in seconds, a server for others finishes its calls when it is being stopped. None waits that long.",
    )
    has_local_files: bool = True
    """Whether callers may use files of this machine: paths as images, `save`, films."""
    is_api_stated: bool = False
    """Whether LUMA_MCP_API says which API to use."""
    unused: str | None = None
    """The variable of another API's credential that is set, unless LUMA_MCP_API says why it is not used."""
    simulated: bool = False
    speed: float = 1.0
    """How many times faster than Luma a simulation is."""

    @property
    def provider(self) -> Provider:
        """The API in use."""
        return PROVIDERS[self.api]

    def list_secrets(self) -> list[str]:
        """List what is secret in the settings, with the passwords in the addresses of databases."""
        found: list[str] = []
        for name in VARIABLES:
            value = getattr(self, name)
            values = value if isinstance(value, tuple) else (value,)
            found += [each.get_secret_value() for each in values if isinstance(each, SecretStr)]
        for address in filter(is_database, found.copy()):
            found += _find_passwords(address)
        return found

    def derive_keys(self, purpose: str) -> tuple[bytes, ...]:
        """Derive a key for one purpose from each of the secret keys, the first of which signs; empty without any."""
        # Most servers have none.
        import hmac

        label = f"luma-ray-mcp {purpose}".encode()
        derived = [hmac.digest(key.get_secret_value().encode(), label, "sha256") for key in self.secret_keys]
        # One that is repeated by mistake counts once.
        return tuple(dict.fromkeys(derived))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Parse the variables.

        Raises:
            SettingsError: with every value that cannot be used.
        """
        values: dict[str, Any] = {}
        problems: list[str] = []
        for name, row in VARIABLES.items():
            variable = row.metadata["name"]
            text = environment.get(variable, "").strip()
            if not text or re.search(r"\$\{.*\}", text):
                continue
            if found := _find_misplaced(variable, text):
                problems.append(found)
                continue
            try:
                values[name] = row.metadata["parse"](text)
            except ValueError as error:
                problems.append(f"{variable} {error}")
        if values.get("journal") == "off" and values.get("journal_required"):
            problems.append("LUMA_MCP_JOURNAL_REQUIRED cannot be combined with LUMA_MCP_JOURNAL=off")
        if problems:
            raise SettingsError("\n".join(problems))
        return cls(**_choose_api(values))


def _find_passwords(address: str) -> list[str]:
    try:
        url = urlsplit(address)
        stated = [url.password or "", *parse_qs(url.query).get("password", ())]
    except ValueError:
        return []
    return [password for password in stated if password]


def _find_misplaced(variable: str, text: str) -> str | None:
    """Describe a credential in a variable that is not for it."""
    own = BY_VARIABLE.get(variable)
    provider = find_other_api(own.name if own else "", text)
    if provider is None:
        return None
    # Not repeated, since values of variables that are not secret are shown.
    return f"{variable} looks like an {provider.noun} for {provider.title}; set {provider.variable} instead"


def _choose_api(values: dict[str, Any]) -> dict[str, Any]:
    """Complete the values with the API in use, its credential and its URL."""
    credentials = {"useapi": values.get("token"), "agents": values.get("agents_key")}
    values["is_api_stated"] = "api" in values
    present = [name for name, credential in credentials.items() if credential]
    api = values.setdefault("api", (*present, "useapi")[0])
    others = [name for name in present if name != api]
    # If the API is stated, another credential matters only if that of the stated API is missing.
    if others and not (values["is_api_stated"] and credentials[api]):
        values["unused"] = PROVIDERS[others[0]].variable
    values.setdefault("base_url", PROVIDERS[api].base_url)
    values["token"] = credentials[api]
    return values


VARIABLES = {f.name: f for f in fields(Settings) if f.metadata}
"""The fields that an environment variable sets."""
HOSTING_VARIABLES = {name: row for name, row in VARIABLES.items() if row.metadata["hosting"]}
"""Those that are only for servers of many people."""


def find_proxy(url: str) -> str | None:
    """Get the URL of the proxy for a valid http or https URL; None if requests to it use none.

    It is named by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY (also in lower case) or the system's settings. A value may lack
    its scheme or be in quotes, and a placeholder that was not expanded counts as unset. The variables of other schemes
    are not looked at, so a proxy that cannot be used affects only what would go through it.

    Raises:
        ProxyVariableError: the variable does not name a proxy.
    """
    # Importing it takes long, and only requests need it.
    from urllib.request import getproxies

    target, proxies = urlsplit(url), getproxies()
    host, port = target.hostname or "", target.port or DEFAULT_PORTS.get(target.scheme)
    if any(_is_exempt(host, port, entry) for entry in re.split(r"[,\s]+", proxies.get("no", ""))):
        return None
    for scheme in (target.scheme, "all"):
        text = proxies.get(scheme, "").strip().strip("\"'").strip()
        if text and not _UNEXPANDED.match(text):
            if text.casefold() in (*_NO, "none", "direct"):
                return None
            try:
                return _proxy_url(text)
            except ValueError:
                raise ProxyVariableError(f"{scheme.upper()}_PROXY") from None
    return None


def _proxy_url(text: str) -> str:
    """Complete the URL of a proxy. Raise `ValueError` if it has no usable scheme, host or port."""
    if "://" not in text:
        text = f"http://{text.removeprefix('//')}"
    # Desktop environments write it like this and mean version 5.
    text = re.sub("^socks://", "socks5://", text, flags=re.IGNORECASE)
    proxy = urlsplit(text)
    host = proxy.hostname or ""
    # A path would be that of a configuration script, which is not supported.
    if proxy.scheme not in PROXY_SCHEMES or proxy.port == 0 or proxy.path not in ("", "/") or re.search(r"\s", text):
        raise ValueError
    if ":" in host:
        ipaddress.ip_address(host)
    elif not _HOST_NAME.fullmatch(host):
        raise ValueError
    return text


def _is_exempt(host: str, port: int | None, entry: str) -> bool:
    """Whether an entry of NO_PROXY applies: "*", an address, a network, or a name, which includes its subdomains."""
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        name, _, stated_port = entry.casefold().lstrip("*.").partition(":")
        if stated_port and stated_port != str(port):
            return False
        return entry == "*" or (name != "" and f".{host}".endswith(f".{name}"))
