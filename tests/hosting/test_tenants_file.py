"""LUMA_MCP_TENANTS_FILE: who may use a server with sign-in, with which credential, and how much."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import KEY, TOKEN

from luma_mcp.hosting.tenants_file import LARGEST_FILE, TenantsFile
from luma_mcp.settings import Settings, SettingsError

if TYPE_CHECKING:
    from luma_mcp.service.tenants import Tenant

unix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file modes")
SCOPES = frozenset({"luma:read"})
TEAM = """
groups_claim = "roles"

[users."anna@example.com"]
credential = "user:1-anna"
max_jobs_per_hour = 10

[users.sub-of-bob]
budget_per_day = 2.5

[groups.film]
credential = "user:2-film"
max_jobs_per_hour = 50
budget_per_day = 100
max_waits = 4

[groups."Post Production"]
max_jobs_per_hour = 5
max_waits = 1
"""


def write(path: Path, text: str | bytes) -> Path:
    """Replace the file atomically, as operators and clusters do."""
    new = path.with_name("new")
    new.write_bytes(text.encode() if isinstance(text, str) else text)
    new.chmod(0o640)
    new.replace(path)
    return path


def load_file(path: Path, **environment: str) -> TenantsFile:
    return TenantsFile(path, Settings.from_environment({"USEAPI_TOKEN": TOKEN} | environment))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "tenants.toml", TEAM)


def find(file: TenantsFile, sub: str = "someone", **claims: Any) -> Tenant | None:
    return file.find("digest", {"sub": sub, **claims}, SCOPES)


def limits(tenant: Tenant | None) -> tuple[str | None, int | None, float | None, int | None]:
    """The credential and the limits of a tenant."""
    assert tenant
    credential = tenant.credential.get_secret_value() if tenant.credential else None
    return credential, tenant.max_jobs_per_hour, tenant.budget_per_day, tenant.max_waits


USERS: dict[str, tuple[dict[str, Any], tuple[str | None, int | None, float | None, int | None]]] = {
    "nobody of the file": ({}, (None, None, None, None)),
    "by a verified address": (
        {"email": "anna@example.com", "email_verified": True},
        ("user:1-anna", 10, None, None),
    ),
    "by an address that is not verified": (
        {"email": "anna@example.com", "email_verified": False},
        (None, None, None, None),
    ),
    "by an address of which nothing is known": ({"email": "anna@example.com"}, (None, None, None, None)),
    "by an address in other claims": ({"preferred_username": "anna@example.com"}, (None, None, None, None)),
    "by sub": ({"sub": "sub-of-bob"}, (None, None, 2.5, None)),
    "by a group": ({"roles": ["film"]}, ("user:2-film", 50, 100.0, 4)),
    "by a group that is not in a list": ({"roles": "film"}, ("user:2-film", 50, 100.0, 4)),
    "by a group in another claim": ({"groups": ["film"]}, (None, None, None, None)),
    "by unknown groups": ({"roles": ["FILM", "film ", 7, None]}, (None, None, None, None)),
    "by two groups, the first of the file first": (
        {"roles": ["Post Production", "film"]},
        ("user:2-film", 50, 100.0, 4),
    ),
    "by a user, then a group": ({"sub": "sub-of-bob", "roles": ["Post Production"]}, (None, 5, 2.5, 1)),
    "by a claim that is no list": ({"roles": 7}, (None, None, None, None)),
}


@pytest.mark.parametrize(("claims", "expected"), USERS.values(), ids=USERS)
def test_users_and_groups_have_credentials_and_limits(path: Path, claims: dict[str, Any], expected: Any) -> None:
    assert limits(find(load_file(path), **claims)) == expected


def test_tenant_id_is_the_identity_and_not_the_credential(path: Path) -> None:
    tenant = find(load_file(path), email="anna@example.com", email_verified=True)
    assert tenant
    assert (tenant.id, tenant.owns_credential, tenant.scopes) == ("digest", False, SCOPES)
    assert "user:1-anna" not in repr(tenant)


def test_only_listed_users_are_tenants(path: Path) -> None:
    write(path, f'allow = "listed"\n{TEAM}')
    file = load_file(path)
    assert find(file) is None
    assert find(file, roles=["others"]) is None
    assert find(file, roles=["film"])
    assert find(file, "sub-of-bob")


def test_without_a_credential_of_the_server_only_those_with_one(path: Path) -> None:
    file = TenantsFile(path, Settings())
    assert find(file) is None
    assert find(file, "sub-of-bob") is None
    assert find(file, "sub-of-bob", roles=["film"])


def test_a_claim_that_the_operator_names_is_trusted(path: Path) -> None:
    write(path, f'user_claim = "upn"\n{TEAM}')
    file = load_file(path)
    assert limits(find(file, upn="anna@example.com"))[1] == 10
    assert limits(find(file, email="anna@example.com", email_verified=True))[1] is None
    assert limits(find(file, upn=["anna@example.com"]))[1] is None


# Unusable files

SECRET = "user:9-a-very-secret-credential"
INVALID: dict[str, tuple[str | bytes, str, str]] = {
    "no TOML": (f'allow = "listed"\n[users.a]\ncredential = {SECRET}\n', "line 3", "TOML"),
    "an unclosed text": (f'[users.a]\ncredential = "{SECRET}\n\n', "line 2", "TOML"),
    "a repeated key": (f'[users.a]\ncredential = "{SECRET}"\ncredential = "{SECRET}"\n', "line 3", "TOML"),
    "no UTF-8": (b'\n[users.a]\ncredential = "\xff"\n', "line 3", "UTF-8"),
    "an unknown setting": ('allow = "listed"\n\nallowed = true\n', "line 3", "allowed is unknown"),
    "an unknown limit": ("[users.a]\nmax_jobs = 1\n", "line 2", "max_jobs is unknown"),
    "an unknown choice": ('allow = "none"\n', "line 1", "allow"),
    "a claim that is no text": ("groups_claim = 7\n", "line 1", "groups_claim"),
    "a limit of nothing": ("[users.a]\nmax_jobs_per_hour = 0\n", "line 2", "max_jobs_per_hour"),
    "a limit that is a text": (f'[users.a]\nmax_waits = "{SECRET}"\n', "line 2", "max_waits"),
    "a limit that is true": ("[groups.a]\nmax_waits = true\n", "line 2", "max_waits"),
    "a budget below nothing": ("[groups.a]\n\nbudget_per_day = -1\n", "line 3", "budget_per_day"),
    "a credential of two parts": (f'[users.a]\ncredential = "{SECRET} x"\n', "line 2", "credential"),
    "a credential that is a number": ("[users.a]\ncredential = 7\n", "line 2", "credential"),
    "a credential of the other API": (f'[users.a]\ncredential = "{KEY}"\n', "line 2", "credential"),
    "the second of two users": ('[users.a]\nmax_waits = 1\n\n[users."b c"]\nmax_waits = 0\n', "line 5", "max_waits"),
    "a user that is no table": ("[users]\na = 7\n", "line 2", "users"),
    "users that are a list": ("users = [1]\n", "line 1", "users"),
    "a user in one line": ("[users]\na = { max_waits = 0 }\n", "", "max_waits"),
    "too long": (b"#" * (LARGEST_FILE + 1), "", "bytes"),
}


@pytest.mark.parametrize(("text", "line", "named"), INVALID.values(), ids=INVALID)
def test_an_invalid_file_names_the_line_and_no_secret(path: Path, text: str | bytes, line: str, named: str) -> None:
    write(path, text)
    with pytest.raises(SettingsError) as raised:
        load_file(path)
    reason = str(raised.value)
    assert reason.startswith(f"LUMA_MCP_TENANTS_FILE {line}")
    assert named in reason
    assert SECRET not in reason
    assert KEY not in reason
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_file_that_is_not_there(path: Path, *, is_folder: bool) -> None:
    path.unlink()
    if is_folder:
        path.mkdir()
    with pytest.raises(SettingsError, match="LUMA_MCP_TENANTS_FILE cannot be read"):
        load_file(path)


@unix_only
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440, 0o640])
def test_a_file_that_its_group_may_read_is_used(path: Path, mode: int) -> None:
    path.chmod(mode)
    assert find(load_file(path))


@unix_only
@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o602, 0o601, 0o666])
def test_a_file_that_others_can_read_or_change_is_not_used(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(SettingsError, match="chmod 640"):
        load_file(path)


# Changes


def test_a_changed_file_is_read_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = load_file(path)
    write(path, TEAM.replace("max_jobs_per_hour = 10", "max_jobs_per_hour = 11"))
    anna: dict[str, Any] = {"email": "anna@example.com", "email_verified": True}
    assert limits(find(file, **anna))[1] == 11
    assert "read again" in caplog.text


def test_a_mounted_secret_that_is_swapped_is_read_again(tmp_path: Path) -> None:
    """Kubernetes replaces a link to a folder."""
    for name, number in (("first", 1), ("second", 2)):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "tenants.toml", f"[users.a]\nmax_waits = {number}\n")
    (tmp_path / "data").symlink_to("first")
    (tmp_path / "tenants.toml").symlink_to("data/tenants.toml")
    file = load_file(tmp_path / "tenants.toml")
    assert limits(find(file, "a"))[3] == 1
    (tmp_path / "new").symlink_to("second")
    (tmp_path / "new").replace(tmp_path / "data")
    assert limits(find(file, "a"))[3] == 2


def test_an_unchanged_file_is_not_read_again(path: Path) -> None:
    file = load_file(path)
    before = path.stat()
    # The same length, and the same times: what no content shows.
    path.write_text(TEAM.replace("max_jobs_per_hour = 10", "max_jobs_per_hour = 99"), encoding="utf-8")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert limits(find(file, email="anna@example.com", email_verified=True))[1] == 10


BROKEN: dict[str, Any] = {
    "invalid": lambda path: write(path, f'[users.a]\ncredential = {SECRET} "anna@example.com"\n'),
    "an unknown key of a person": lambda path: write(path, '[users."anna@example.com"]\nmax = 1\n'),
    "gone": lambda path: path.unlink(),
    "readable for everybody": lambda path: path.chmod(0o644),
}


@unix_only
@pytest.mark.parametrize("spoil", BROKEN.values(), ids=BROKEN)
def test_a_file_that_became_unusable_changes_nothing(path: Path, caplog: pytest.LogCaptureFixture, spoil: Any) -> None:
    file = load_file(path)
    spoil(path)
    for _ in range(3):
        assert limits(find(file, "sub-of-bob"))[2] == 2.5
    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert "stays in use" in record.getMessage()
    for text in (SECRET, "anna@example.com"):
        assert text not in caplog.text
    write(path, TEAM.replace("2.5", "3.5"))
    assert limits(find(file, "sub-of-bob"))[2] == 3.5
