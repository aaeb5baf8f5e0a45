"""Environment variables to `Settings`. Nothing else is read: no `.env`, no file of the current folder.

Hosts start servers inside other people's projects and pass placeholders on that they could not expand;
so an empty value, and one that is still `${…}`, counts as unset.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BASE_URL = "https://api.useapi.net/v1/luma"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
TOKEN_PATTERN = re.compile(r"[!-~]+")
"""What an HTTP header can carry, in one word."""
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
SCHEMAS = ("portable", "exact")
_TOKEN_LIKE = re.compile(r"[\"']?(\w+\s*=\s*)?[\"']?(Bearer\s+)?user:", re.IGNORECASE)
TOKEN_ELSEWHERE = "must be something else: what it is looks like an API token, which belongs into USEAPI_TOKEN"  # noqa: S105 - words
CONFIRM = ("never", "expensive", "always")
LONGEST_WAIT = 600

_T = TypeVar("_T")


class SettingsError(Exception):
    """Values that cannot be used; one line each, naming the variable and never repeating a secret."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))


def _token(text: str) -> SecretStr:
    token = re.sub(r"^Bearer(\s+|$)", "", text)
    if not TOKEN_PATTERN.fullmatch(token):
        raise ValueError("must be one word of plain characters, whole, as useapi.net shows it (user:…)")
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
    raise ValueError("must be an https:// URL with host and path only (http:// only to this machine)")


def _email(text: str) -> str:
    if not re.fullmatch(r"\S+@\S+", text):
        raise ValueError(f'must be an e-mail address, not "{text}"')
    return text


def _seconds(text: str) -> int:
    if not (text.isdecimal() and int(text) <= LONGEST_WAIT):
        raise ValueError(f'must be a whole number from 0 to {LONGEST_WAIT}, not "{text}"')
    return int(text)


def _count(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 10_000):
        raise ValueError(f'must be a whole number from 1 to 10000, not "{text}"')
    return int(text)


def _folder(text: str) -> Path:
    folder = Path(os.path.expanduser(text))  # noqa: PTH111 - leaves what cannot be expanded as it is
    if "\0" in text or not folder.is_absolute():
        raise ValueError(f'must be a whole path, not "{text}"')
    return folder


def _folders(text: str) -> tuple[Path, ...]:
    return tuple(_folder(part.strip()) for part in text.split(os.pathsep) if part.strip())


def _journal(text: str) -> str:
    return "off" if text.casefold() in _NO else str(_folder(text))


_YES, _NO = ("1", "yes", "on", "true"), ("0", "no", "off", "false")


def _switch(text: str) -> bool:
    if text.casefold() not in (*_YES, *_NO):
        raise ValueError(f'must be 1 or 0, not "{text}"')
    return text.casefold() in _YES


def _one_of(values: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        for value in values:
            if value.casefold() == text.casefold():
                return value
        raise ValueError(f'must be {", ".join(values[:-1])} or {values[-1]}, not "{text}"')

    return parse


def _variable(name: str, parse: Callable[[str], _T], default: _T, about: str) -> Any:
    return field(default=default, metadata={"name": name, "parse": parse, "about": about})


@dataclass(frozen=True, slots=True)
class Settings:
    """What the server can be told; each field's metadata names its variable (the README's table is made of it)."""

    token: SecretStr | None = _variable(
        "USEAPI_TOKEN", _token, None, "Your API token from useapi.net (`user:…`). Without it only `list_options` works."
    )
    base_url: str = _variable("LUMA_MCP_BASE_URL", _base_url, BASE_URL, "Where the API is.")
    email: str | None = _variable(
        "LUMA_MCP_EMAIL",
        _email,
        None,
        "Luma account for jobs that name none, unless all their images are assetRefs of another.",
    )
    max_wait_seconds: int = _variable(
        "LUMA_MCP_MAX_WAIT_SECONDS", _seconds, LONGEST_WAIT, "Longest time that one call waits for its job, in seconds."
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
    journal: str | None = _variable(
        "LUMA_MCP_JOURNAL",
        _journal,
        None,
        "`off`, or another file for the journal of what was ordered. If unset: in your state folder.",
    )
    confirm: str = _variable(
        "LUMA_MCP_CONFIRM",
        _one_of(CONFIRM),
        "never",
        "`always`, or `expensive` (1080p, 10s, HDR): ask before ordering, in hosts that can show a question.",
    )
    max_jobs_per_hour: int | None = _variable(
        "LUMA_MCP_MAX_JOBS_PER_HOUR",
        _count,
        None,
        "Videos that may be ordered with this token from this machine within an hour.",
    )
    schema: str = _variable(
        "LUMA_MCP_SCHEMA",
        _one_of(SCHEMAS),
        "portable",
        "`portable`: an input schema that every host accepts. `exact`: one that holds every rule.",
    )
    log_level: str = _variable("LUMA_MCP_LOG_LEVEL", _one_of(LOG_LEVELS), "WARNING", "How much goes to stderr.")
    simulated: bool = False
    speed: float = 1.0
    """How many times faster than Luma a simulation is."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Reads the variables.

        Raises:
            SettingsError: all that cannot be used, one line each.
        """
        values: dict[str, Any] = {}
        faults: list[str] = []
        for name, row in VARIABLES.items():
            text = environment.get(row.metadata["name"], "").strip()
            if not text or re.search(r"\$\{.*\}", text):
                continue
            if name != "token" and _TOKEN_LIKE.match(text):
                # Neither taken nor repeated: what is set in a variable that is not secret gets shown.
                faults.append(f"{row.metadata['name']} {TOKEN_ELSEWHERE}")
                continue
            try:
                values[name] = row.metadata["parse"](text)
            except ValueError as fault:
                faults.append(f"{row.metadata['name']} {fault}")
        if faults:
            raise SettingsError(faults)
        return cls(**values)


VARIABLES = {f.name: f for f in fields(Settings) if f.metadata}
"""The fields that an environment variable sets."""
