"""The table of checks, and those checks that nothing on a machine can make fail while it runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import anyio
from mcp.server.mcpserver import MCPServer

from luma_mcp.doctor.check_result import Finding, passed
from luma_mcp.doctor.checks import CHECKS, Check, examine

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.doctor.conftest import Machine

    from luma_mcp.doctor.environment import Environment
    from luma_mcp.settings import Settings


async def test_checks_run_side_by_side_and_one_that_hangs_is_told_with_its_mend_in_time(machine: Machine) -> None:
    async def hang(_: Environment) -> Iterable[Finding]:
        await anyio.sleep_forever()
        raise AssertionError

    async def slow(_: Environment) -> Iterable[Finding]:
        await anyio.sleep(7)
        return [passed("slow", "it took its time")]

    checks = [Check("hang", hang, "Unplug it."), Check("slow", slow), Check("slower", slow)]
    begun = anyio.current_time()
    findings = await examine(machine.around(seconds=8.0), checks)
    assert anyio.current_time() - begun < 10
    assert findings[0] == Finding("hang", "failed", "no answer within 8 s", "Unplug it.")
    assert [finding.status for finding in findings[1:]] == ["passed", "passed"]


async def test_a_check_that_needs_more_time_gets_it_from_the_command_that_is_named(machine: Machine) -> None:
    async def slow(_: Environment) -> Iterable[Finding]:
        await anyio.sleep(50)
        return [passed("slow", "it took its time")]

    [finding] = await examine(machine.around(seconds=8.0), [Check("slow", slow)])
    assert finding.mend == "luma-ray-mcp doctor --seconds 60"
    [finding] = await examine(machine.around(seconds=60.0), [Check("slow", slow)])
    assert finding.status == "passed"


def test_an_old_python_is_to_be_replaced(machine: Machine) -> None:
    failure = machine.diagnose(python=(3, 10, 4)).failure("python")
    assert failure.mend == "Install Python 3.11 or later, and luma-ray-mcp anew with it."
    assert machine.diagnose(python=(3, 11, 0)).failures == []


def test_a_package_that_is_missing_is_named_with_the_versions_that_go(machine: Machine) -> None:
    failure = machine.diagnose(version_of=lambda name: None if name == "pillow" else "99").failures[-1]
    assert "pillow is missing; luma-ray-mcp needs pillow>=12.1" in failure.detail
    assert failure.mend.endswith("install 'pillow>=12.1'")


def test_the_oldest_versions_that_go_pass_and_the_first_that_does_not_fails(machine: Machine) -> None:
    versions = {"mcp": "2.3"}
    for version, fails in (("2.3", False), ("2.99.1", False), ("2.2.9", True), ("3.0.0b1", True)):
        versions["mcp"] = version
        diagnosis = machine.diagnose(version_of=lambda name: versions.get(name, "99"))
        assert (diagnosis.failures != []) == fails, version


def test_a_server_that_does_not_answer_is_told_for_each_era_and_one_that_does_passes(machine: Machine) -> None:
    def broken(_: Settings) -> NoReturn:
        raise ImportError("no module named fox")

    failures = machine.diagnose(new_server=broken).failures
    assert [failure.name for failure in failures] == ["server 2026-07-28", "server legacy"]
    assert all("no module named fox" in failure.detail for failure in failures)
    assert all(failure.mend.startswith("Install luma-ray-mcp anew") for failure in failures)
    toolless = MCPServer[Any]("luma-ray-mcp")
    assert len(machine.diagnose(new_server=lambda _: toolless).failures) == 2
    assert machine.diagnose().failures == []


def test_every_check_of_the_table_tells_something(machine: Machine) -> None:
    here = machine.around()
    for check in CHECKS:
        assert anyio.run(examine, here, [check]), check.name
