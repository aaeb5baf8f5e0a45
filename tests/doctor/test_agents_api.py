"""The checks for Luma's Agents API: each test causes a failure and applies its fix."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from tests.conftest import TOKEN
from tests.doctor.conftest import Machine
from tests.doctor.test_hosts import OUR_ENTRY, write

from luma_mcp.simulator.app import Fault, Simulator, new_simulator, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "luma-api-4711-very-secret-key"


@pytest.fixture
def simulator() -> Simulator:
    simulator = new_simulator(api="agents", speed=1000)
    simulator.token = KEY
    return simulator


@pytest.fixture
def machine(simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    machine = Machine(tmp_path, monkeypatch)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_VIDEOS_DIR"):
        monkeypatch.delenv(name, raising=False)
    with running(simulator) as url:
        machine.set(HOME=tmp_path, USERPROFILE=tmp_path, LUMA_AGENTS_API_KEY=KEY, LUMA_MCP_BASE_URL=url)
        yield machine


def test_check_of_the_key_is_free(machine: Machine, simulator: Simulator) -> None:
    report = machine.check()
    assert report.failures == []
    assert report.get("key").detail == "the key of the environment is accepted (not shown)"
    assert "$0.06 to $3.60 a video" in report.get("prices").detail
    assert report.get("hdr").status == "note"
    assert simulator.requests == {"GET /files": 1}
    assert [text for text in (KEY, "useapi") if text in repr(report.results)] == []
    assert "account" not in {result.name.split()[0] for result in report.results}


@pytest.mark.parametrize(
    ("status", "fix"),
    [
        (401, "Set LUMA_AGENTS_API_KEY to the complete API key that https://platform.lumalabs.ai shows (luma-api-…)."),
        (402, "Add credits at https://platform.lumalabs.ai."),
        (403, "Check the state of your account at https://platform.lumalabs.ai."),
    ],
)
def test_unusable_key_is_a_failure(machine: Machine, simulator: Simulator, status: int, fix: str) -> None:
    refusal = Fault("GET", "/files", status, b'{"detail": "No."}', times=9)
    simulator.faults.append(refusal)
    assert machine.check().failure("key").fix == fix
    simulator.faults.remove(refusal)
    assert machine.check().failures == []


def test_wrong_address_is_a_failure(machine: Machine) -> None:
    url = os.environ["LUMA_MCP_BASE_URL"]
    machine.set(LUMA_MCP_BASE_URL=url.removesuffix("/v1"))
    failure = machine.check().failure("key")
    assert "is not the address of Luma's Agents API" in failure.detail
    machine.set(LUMA_MCP_BASE_URL=url)
    assert machine.check().failures == []


def test_missing_credential_names_both_apis(machine: Machine) -> None:
    machine.unset("LUMA_AGENTS_API_KEY")
    [failure] = [result for result in machine.check().failures if result.name == "token"]
    for provider in ("Set USEAPI_TOKEN to ", "Set LUMA_AGENTS_API_KEY to ", "doctor --simulate"):
        assert provider in failure.fix
    machine.set(LUMA_MCP_API="agents", USEAPI_TOKEN=TOKEN)
    failure = machine.check().failure("key")
    assert "USEAPI_TOKEN is set, but LUMA_MCP_API selects Luma's Agents API" in failure.detail
    assert "Or unset LUMA_MCP_API." in failure.fix
    machine.set(LUMA_AGENTS_API_KEY=KEY)
    assert machine.check().failures == []


def test_note_on_two_credentials_names_the_one_in_use(machine: Machine) -> None:
    machine.set(USEAPI_TOKEN=TOKEN)
    notes = [result for result in machine.check().results if "are both set" in result.detail]
    assert [note.detail for note in notes] == ["USEAPI_TOKEN and LUMA_AGENTS_API_KEY are both set: useapi.net is used"]
    assert notes[0].fix == "Set LUMA_MCP_API to useapi or to agents."
    machine.set(LUMA_MCP_API="agents", LUMA_MCP_EMAIL="me@example.com")
    report = machine.check()
    assert report.failures == []
    assert "are both set" not in repr(report)
    assert "LUMA_MCP_EMAIL has no effect" in repr(report)


def test_credential_in_the_wrong_variable_is_a_failure(machine: Machine) -> None:
    machine.set(USEAPI_TOKEN=KEY)
    failure = machine.check().failure("settings")
    assert failure.detail == (
        "USEAPI_TOKEN looks like an API key for Luma's Agents API; set LUMA_AGENTS_API_KEY instead"
    )
    assert "USEAPI_TOKEN" in failure.fix
    machine.unset("USEAPI_TOKEN")
    assert machine.check().failures == []


def test_key_of_an_entry_is_used_and_must_be_private(machine: Machine) -> None:
    env = machine.environment().variables
    ours = {name: env[name] for name in ("LUMA_AGENTS_API_KEY", "LUMA_MCP_BASE_URL")}
    path = write(machine, json.dumps({"mcpServers": {"luma": {**OUR_ENTRY, "env": ours | {"USEAPI_TOKEN": TOKEN}}}}))
    machine.unset("LUMA_AGENTS_API_KEY")
    machine.unset("LUMA_MCP_BASE_URL")
    machine.set(LUMA_MCP_API="agents")
    path.chmod(0o644)
    report = machine.check()
    assert "its entry has USEAPI_TOKEN and LUMA_AGENTS_API_KEY: useapi.net is used" in repr(report)
    assert KEY not in repr(report)
    path.write_text(json.dumps({"mcpServers": {"luma": {**OUR_ENTRY, "env": ours}}}))
    report = machine.check()
    assert report.failures == []
    assert report.get("key").detail == "the key of Cursor's entry is accepted (not shown)"
    [readable] = [result for result in report.results if "can read it" in result.detail]
    assert "contains the key" in readable.detail
