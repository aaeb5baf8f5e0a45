"""The operator's file of the users of a server with sign-in, with their credentials and limits.

    allow = "listed"                # optional: only users and groups of this file; else everybody who can sign in
    groups_claim = "groups"         # optional: the claim of a token with the names of groups
    user_claim = "upn"              # optional: the claim that names a user, besides `sub`; else a verified `email`

    [users."anna@example.com"]      # all of these are optional
    credential = "user:…"
    max_jobs_per_hour = 10
    budget_per_day = 5
    max_waits = 4

    [groups.film]
    budget_per_day = 50

What a user's own table does not state is taken from the first group of the file that the user is in and that states it,
and then from the settings. Numbers are as in the settings of these names.

The file may have credentials, so it must not be readable for everybody; its group may read it, since that is how
secrets are mounted into containers. Everything that is said about an unusable file names lines, never a value.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from luma_mcp.hosting.authentication import get_user_name
from luma_mcp.service.tenants import Tenant
from luma_mcp.settings import VARIABLES, Settings, SettingsError, find_other_api, parse_credential

logger = logging.getLogger(__name__)

LARGEST_FILE = 4_000_000
"""Bytes."""
_ALLOW = ("everybody", "listed")
_LIMITS = ("max_jobs_per_hour", "budget_per_day", "max_waits")
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the file states about a user or a group."""

    credential: SecretStr | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Content:
    users: Mapping[str, _Entry]
    groups: Mapping[str, _Entry]
    groups_claim: str
    user_claim: str | None
    is_listed_only: bool


class _Problem(Exception):
    """Why a file cannot be used; the arguments are the number of its line, or 0, and the reason."""


class TenantsFile:
    """The file, read again whenever it has changed."""

    def __init__(self, path: Path, settings: Settings) -> None:
        """Read the file. Raises `SettingsError`."""
        self._path = path
        self._settings = settings
        self._version: tuple[int, ...] | None = None
        try:
            self._content = self._read()
        except (OSError, _Problem) as error:
            raise SettingsError(f"LUMA_MCP_TENANTS_FILE {_describe(error)}") from None

    def find(self, identity: str, claims: Mapping[str, Any], scopes: frozenset[str]) -> Tenant | None:
        """Get the tenant that a verified token is about; None if they may not use the server, or have no credential.

        `identity`: the tenant's id.
        """
        self._refresh()
        content = self._content
        user = content.users.get(claims["sub"])
        if user is None and (name := _get_name(claims, content.user_claim)):
            user = content.users.get(name)
        groups = claims.get(content.groups_claim)
        if not isinstance(groups, list):
            groups = [groups]
        entries = [entry for name, entry in content.groups.items() if name in groups]
        if user is not None:
            entries.insert(0, user)
        if content.is_listed_only and not entries:
            return None
        credential: SecretStr | None = None
        limits: dict[str, Any] = {}
        # The first one that states a value decides.
        for entry in reversed(entries):
            credential = entry.credential or credential
            limits.update(entry.limits)
        if credential is None and self._settings.token is None:
            return None
        # The operator pays for it, so nobody may see what else is in its account.
        return Tenant(identity, credential, owns_credential=False, name=get_user_name(claims), scopes=scopes, **limits)

    def list_credentials(self) -> list[SecretStr]:
        """List all credentials of the file, each once."""
        self._refresh()
        found: dict[str, SecretStr] = {}
        for entry in (*self._content.users.values(), *self._content.groups.values()):
            if entry.credential:
                found[entry.credential.get_secret_value()] = entry.credential
        return list(found.values())

    def _refresh(self) -> None:
        """Read the file again if it has changed. What cannot be used is reported once, and the last content stays."""
        try:
            # Not in a thread: the check takes microseconds, and the file is rarely read.
            if _get_version(self._path.stat()) == self._version:
                return
            self._content = self._read()
        except _Problem as error:
            problem = _describe(error)
        except OSError as error:
            # There is no version that could be remembered.
            if self._version is None:
                return
            self._version = None
            problem = _describe(error)
        else:
            logger.warning("LUMA_MCP_TENANTS_FILE was read again")
            return
        logger.error("LUMA_MCP_TENANTS_FILE %s; what was read before stays in use", problem)

    def _read(self) -> _Content:
        """Read and parse the file, and remember its version. Raises `OSError` or `_Problem`."""
        with self._path.open("rb") as file:
            status = os.fstat(file.fileno())
            self._version = _get_version(status)
            if os.name != "nt" and status.st_mode & _WRITABLE_BY_OTHERS:
                raise _Problem(0, "must not be readable for everybody, nor writable for its group: chmod 640")
            data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise _Problem(0, f"must not have more than {LARGEST_FILE} bytes")
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise _Problem(data.count(b"\n", 0, error.start) + 1, "is not UTF-8") from None
        return _Parser(text, self._settings.api).parse()


def _get_version(status: os.stat_result) -> tuple[int, ...]:
    """Get what changes with a file's content, also if it is replaced as a whole."""
    return (status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev, status.st_mode)


def _describe(error: OSError | _Problem) -> str:
    """Describe why the file cannot be used, without anything that is in it."""
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or type(error).__name__}"
    line, reason = error.args
    return f"line {line}: {reason}" if line else str(reason)


def _get_name(claims: Mapping[str, Any], user_claim: str | None) -> str | None:
    """Get the name of a user, besides `sub`, that a token proves."""
    # Unverified, it may be the address of another person. A claim that the operator names is trusted.
    if user_claim is None and claims.get("email_verified") is not True:
        return None
    name = claims.get(user_claim or "email")
    return name if isinstance(name, str) else None


class _Parser:
    """Parses the text of a file."""

    def __init__(self, text: str, api: str) -> None:
        self._text = text
        self._parsers: dict[str, Callable[[str], Any]] = {name: VARIABLES[name].metadata["parse"] for name in _LIMITS}
        self._api = api

    def parse(self) -> _Content:
        """Parse it. Raises `_Problem`."""
        try:
            document = tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            # Its text can quote what is in the file. Before Python 3.14, only the text has the line.
            place = re.search(r"at line (\d+)", str(error))
            raise _Problem(int(place[1]) if place else 0, "is not valid TOML") from None
        if unknown := document.keys() - {"allow", "groups_claim", "user_claim", "users", "groups"}:
            raise self._problem((min(unknown),), "is unknown")
        allow = document.get("allow", _ALLOW[0])
        if allow not in _ALLOW:
            raise self._problem(("allow",), f"must be {' or '.join(_ALLOW)}")
        claims = {name: document.get(name) for name in ("groups_claim", "user_claim")}
        for name, claim in claims.items():
            if not (claim is None or (isinstance(claim, str) and claim)):
                raise self._problem((name,), "must be the name of a claim")
        return _Content(
            self._parse_entries(document, "users"),
            self._parse_entries(document, "groups"),
            claims["groups_claim"] or "groups",
            claims["user_claim"],
            allow == "listed",
        )

    def _parse_entries(self, document: Mapping[str, Any], kind: str) -> dict[str, _Entry]:
        tables = document.get(kind, {})
        if not isinstance(tables, dict):
            raise self._problem((kind,), "must be a table of tables")
        entries: dict[str, _Entry] = {}
        for name, table in tables.items():
            if not isinstance(table, dict):
                raise self._problem((kind, name), "must be a table of tables")
            entries[name] = self._parse_entry((kind, name), table)
        return entries

    def _parse_entry(self, path: tuple[str, str], table: Mapping[str, Any]) -> _Entry:
        credential: SecretStr | None = None
        limits: dict[str, Any] = {}
        for key, value in table.items():
            try:
                if key == "credential":
                    credential = self._parse_credential(value)
                elif key in self._parsers:
                    is_number = isinstance(value, int | float) and not isinstance(value, bool)
                    limits[key] = self._parsers[key](str(value) if is_number else "")
                else:
                    raise ValueError("is unknown")  # noqa: TRY301 - as the other problems
            except ValueError as error:
                raise self._problem((*path, key), str(error)) from None
        return _Entry(credential, limits)

    def _parse_credential(self, value: Any) -> SecretStr:
        text = value if isinstance(value, str) else ""
        if other := find_other_api(self._api, text):
            raise ValueError(f"looks like an {other.noun} for {other.title}, which this server does not use")
        return parse_credential(self._api, text)

    def _problem(self, path: tuple[str, ...], reason: str) -> _Problem:
        """Build a problem of a key or a table. Names of users are no part of it, because it can end up in a log."""
        is_name = len(path) == 2
        return _Problem(self._find_line(path), f"{path[0] if is_name else path[-1]} {reason}")

    def _find_line(self, path: tuple[str, ...]) -> int:
        """Find the line of a key or a table; 0 if it is written in a way that a look at single lines does not find."""
        table: tuple[str, ...] = ()
        for number, line in enumerate(self._text.splitlines(), 1):
            if line.lstrip().startswith("["):
                table = _parse_header(line)
                if table == path:
                    return number
            elif table == path[:-1] and line.partition("=")[0].strip(" \t\"'") == path[-1]:
                return number
        return 0


def _parse_header(line: str) -> tuple[str, ...]:
    """Parse the line with which a table begins."""
    try:
        table = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return ()
    names: list[str] = []
    while table:
        [(name, table)] = table.items()
        names.append(name)
    return tuple(names)
