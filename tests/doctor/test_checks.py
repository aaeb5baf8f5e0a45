"""How checks run, and the checks of the installation itself."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from tests.doctor.conftest import QUICK_SERVER

from luma_mcp.doctor.checks import CHECKS, CheckResult, Row, passed, run_checks
from luma_mcp.install.command import OBSTORE, PSYCOPG, PYAV, Command, invocation, package_command

if TYPE_CHECKING:
    from tests.doctor.conftest import Machine

    from luma_mcp.doctor.checks import Environment


async def test_checks_run_concurrently_and_a_hanging_one_is_reported(machine: Machine) -> None:
    async def hang(_: Environment) -> list[CheckResult]:
        await anyio.sleep_forever()
        raise AssertionError

    async def slow(_: Environment) -> list[CheckResult]:
        await anyio.sleep(7)
        return [passed("slow", "done")]

    checks = [Row("hang", hang, "Restart it."), Row("slow", slow), Row("slower", slow)]
    started = anyio.current_time()
    results = await run_checks(machine.environment(seconds=8.0), checks)
    assert anyio.current_time() - started < 10
    assert results[0] == CheckResult("hang", "failed", "no answer within 8 s", "Restart it.")
    assert [result.status for result in results[1:]] == ["passed", "passed"]


async def test_slow_check_passes_with_more_time(machine: Machine) -> None:
    async def slow(_: Environment) -> list[CheckResult]:
        await anyio.sleep(50)
        return [passed("slow", "done")]

    [result] = await run_checks(machine.environment(seconds=8.0), [Row("slow", slow)])
    assert result.fix == f"{invocation()} doctor --seconds 60"
    [result] = await run_checks(machine.environment(seconds=60.0), [Row("slow", slow)])
    assert result.status == "passed"


def test_old_python_is_a_failure(machine: Machine) -> None:
    failure = machine.check(python=(3, 10, 4)).failure("python")
    assert failure.fix == "Install Python 3.11 or later, then luma-ray-mcp."
    assert machine.check(python=(3, 11, 0)).failures == []


def test_missing_package_is_named_with_its_range(machine: Machine) -> None:
    failure = machine.check(version_of=lambda name: "" if name == "pillow" else "99").failures[-1]
    assert "pillow is missing: luma-ray-mcp needs pillow>=13" in failure.detail
    assert failure.fix.startswith("Reinstall luma-ray-mcp")


@pytest.mark.parametrize(("version", "state"), [("", "not installed"), ("17.0.1", "17.0.1 is too old")])
def test_note_on_missing_pyav_has_the_install_command(machine: Machine, version: str, state: str) -> None:
    report = machine.check(version_of=lambda name: {"av": version, "mcp": "2.9"}.get(name, "99"))
    [result] = [result for result in report.results if "PyAV" in result.detail]
    assert (result.status, report.failures) == ("note", [])
    assert state in result.detail
    assert "no contact sheets, no films" in result.detail
    assert result.fix == package_command("av>=18")
    report = machine.check(version_of=lambda name: {"mcp": "2.9"}.get(name, "99"))
    assert "PyAV" not in repr(report)


def test_install_commands_match_the_extras() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    assert extras["film"] == [PYAV]
    assert {PSYCOPG, OBSTORE} <= set(extras["server"])


def test_versions_within_their_range_pass(machine: Machine) -> None:
    versions = {"mcp": "2.3"}
    for version, fails in (("2.3", False), ("2.99.1", False), ("2.2.9", True), ("3.0.0b1", True)):
        versions["mcp"] = version
        report = machine.check(version_of=lambda name: versions.get(name, "99"))
        assert (report.failures != []) == fails, version


def test_this_installation_supports_both_protocol_versions(machine: Machine) -> None:
    server = machine.check(server=True).get("server")
    assert server.status == "passed"
    assert server.detail.startswith("speaks 2026-07-28 and 2025-11-25: generate_video, ")


@pytest.mark.parametrize(
    ("args", "detail"),
    [
        (
            ("-c", "import sys; sys.exit('no module named fox')"),
            'ends with exit code 1; it says: "no module named fox"',
        ),
        (("-c", "print('hello')"), "ends with exit code 0"),
        ((*QUICK_SERVER, "luma-ray-mcp", ""), "lists no tools"),
    ],
    ids=["fails", "exits", "has no tools"],
)
def test_installation_that_does_not_start_is_a_failure(machine: Machine, args: tuple[str, ...], detail: str) -> None:
    failure = machine.check(server=True, command=Command(sys.executable, args)).failure("server")
    assert failure.detail.startswith(detail)
    assert failure.fix.startswith("Reinstall luma-ray-mcp")


def test_missing_program_of_the_installation_is_a_failure(machine: Machine) -> None:
    failure = machine.check(server=True, command=Command(str(machine.home / "gone"))).failure("server")
    assert failure.detail == "cannot be started: No such file or directory"


def test_every_check_has_a_result(machine: Machine) -> None:
    environment = machine.environment(
        command=Command(sys.executable, (*QUICK_SERVER, "luma-ray-mcp", "generate_video"))
    )
    for check in CHECKS:
        assert anyio.run(run_checks, environment, [check]), check.name
