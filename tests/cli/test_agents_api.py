"""The commands with Luma's Agents API, and which API they use with several credentials."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from tests.cli.commands import run_process
from tests.conftest import TOKEN

from luma_mcp.simulator.app import Simulator, new_simulator, running

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.commands import Run

KEY = "luma-api-4711-very-secret-key"
BOTH = {"USEAPI_TOKEN": TOKEN, "LUMA_AGENTS_API_KEY": KEY}
OTHER_API_TERMS = ("useapi", "USEAPI", "credits", "account")
"""Terms of the other API."""


@pytest.fixture
def simulator() -> Simulator:
    simulator = new_simulator(api="agents", speed=1000)
    simulator.token = KEY
    return simulator


@pytest.fixture
def api(simulator: Simulator, environment: dict[str, str], home: Path) -> Iterator[str]:
    """Serve the simulated API, and set its key and URL in the environment."""
    Image.new("RGB", (640, 360), "orange").save(home / "photo.jpg")
    with running(simulator) as url:
        environment |= {"LUMA_MCP_BASE_URL": url, "LUMA_AGENTS_API_KEY": KEY, "LUMA_MCP_JOURNAL": str(home / "j.db")}
        yield url


def get_output(done: subprocess.CompletedProcess[str]) -> str:
    """Get all that a command has printed, and check that it has no secret."""
    text = done.stdout + done.stderr
    assert KEY not in text
    return text


@pytest.mark.usefixtures("api")
def test_a_video_has_a_price(run: Run, simulator: Simulator) -> None:
    done = run("generate", "A fox in the snow", "--loop", "--resolution", "draft", "--json")
    facts = json.loads(done.stdout)
    assert (facts["state"], facts["charged"], facts["price"]) == ("completed", "yes", 0.06)
    assert facts["request"] == {
        "prompt": "A fox in the snow",
        "model": "ray-3.2",
        "resolution": "360p",
        "aspect_ratio": "16:9",
        "duration": "5s",
        "dynamic_range": "sdr",
        "loop": True,
    }
    [order] = simulator.orders
    assert (order["type"], order["video"]["loop"]) == ("video", True)
    assert [name for name in OTHER_API_TERMS if name in get_output(done)] == []


@pytest.mark.usefixtures("api")
def test_several_videos_are_added_up(run: Run) -> None:
    done = run("generate", "A red fox", "A white fox", "A sad fox simulate:fail", "--duration", "10s")
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 2)
    assert "1. A red fox ($0.18)" in done.stderr
    assert "According to Luma's documentation, such a failure is not charged." in done.stderr
    assert "2 of 3 videos made. $0.36 by Luma's price list." in done.stderr
    assert [name for name in OTHER_API_TERMS if name in get_output(done)] == []


@pytest.mark.usefixtures("api")
def test_keyframes_are_pictures_with_times(run: Run, simulator: Simulator) -> None:
    done = run("generate", "A fox", "--keyframe", "photo.jpg@0", "--keyframe", "./photo.jpg@2.5s")
    assert done.returncode == 0, done.stderr
    [order] = simulator.orders
    assert order["video"]["keyframe_indexes"] == [0, 60]


@pytest.mark.usefixtures("api")
def test_earlier_videos_and_uploaded_files_can_be_continued(run: Run, simulator: Simulator) -> None:
    jobid = run("generate", "A fox", "--resolution", "540p", "--no-wait", "--image-start", "photo.jpg").stdout.strip()
    # Jobs take some time, even in a fast simulation.
    run("get", jobid)
    first = simulator.orders[0]["video"]["start_frame"]
    for option in (["--extend", jobid], ["--image-end", first["file_id"]]):
        done = run("generate", "It runs away", *option)
        assert done.returncode == 0, done.stderr
    assert simulator.orders[1]["video"]["start_frame"] == {"generation_id": jobid}
    assert simulator.orders[2]["video"]["end_frame"] == first


@pytest.mark.usefixtures("api")
def test_list_shows_what_was_charged(run: Run) -> None:
    run("generate", "A fox", "A sad fox simulate:fail", "A poor fox simulate:exhausted", "A lost fox simulate:lost")
    done = run("jobs")
    listed = done.stdout
    assert "running jobs" not in done.stderr
    for ending in ("sdr $0.06", "sdr not charged", "sdr $0.06, whether it was charged is not known"):
        assert f"{ending}\n" in listed
    assert listed.count("whether it was charged is not known") == 2
    # They were ordered concurrently, so their order varies.
    facts = map(json.loads, run("jobs", "--json").stdout.splitlines())
    assert {fact["prompt"]: fact.get("charged") for fact in facts} == {
        "A fox": None,
        "A sad fox simulate:fail": "no",
        "A poor fox simulate:exhausted": "unknown",
        "A lost fox simulate:lost": "unknown",
    }


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["--keyframe", "photo.jpg"], ["IMAGE@SECONDS"]),
        (["--keyframe", "@2"], ["IMAGE@SECONDS"]),
        (["--keyframe", "photo.jpg@soon"], ["IMAGE@SECONDS"]),
        (["--keyframe", "photo.jpg@nan"], ["IMAGE@SECONDS"]),
        (["--keyframe", "photo.jpg@12"], ["keyframes"]),
        (["--keyframe", "gone.jpg@1"], ["gone.jpg", "does not exist"]),
        (["--image-end", "user:1-luma:2-asset:3"], ["useapi.net"]),
        (["--loop", "--duration", "10s"], ["This would work:", "--loop"]),
        (["--model", "ray-v3"], ["ray-3.2"]),
        (["--email", "me@example.com"], ["--email is an option of useapi.net", "Luma's Agents API", "LUMA_MCP_API"]),
        (["--image-character", "photo.jpg"], ["--image-character is an option of useapi.net"]),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("api")
def test_an_invalid_request_is_not_ordered(
    run: Run, simulator: Simulator, arguments: list[str], texts: list[str]
) -> None:
    done = run("generate", "A fox", *arguments)
    assert (done.returncode, done.stdout, simulator.orders) == (2, "", [])
    assert [text for text in texts if text not in get_output(done)] == []


@pytest.mark.parametrize("option", [["--loop"], ["--keyframe", "x.jpg@1"], ["--extend", "x"]], ids=str)
def test_an_option_of_the_other_api_is_refused(run: Run, option: list[str]) -> None:
    done = run("generate", "A fox", *option, USEAPI_TOKEN=TOKEN)
    expected = f"{option[0]} is an option of Luma's Agents API, but useapi.net is used. LUMA_MCP_API=agents changes"
    assert (done.returncode, expected in done.stderr) == (2, True)


@pytest.mark.parametrize("loss", ["lost", "dropped"])
@pytest.mark.usefixtures("api")
def test_lost_order_is_not_repeated_and_names_the_console(run: Run, simulator: Simulator, loss: str) -> None:
    for _ in range(2):
        done = run("generate", f"A fox simulate:{loss}")
        assert (done.returncode, done.stdout) == (1, "")
        assert "Whether anything was charged is not known." in done.stderr
        assert "See at https://platform.lumalabs.ai whether it was ordered; --new-take" in get_output(done)
        assert len(simulator.orders) == 1


@pytest.mark.usefixtures("api")
def test_jobs_are_listed_and_fetched_again(run: Run) -> None:
    jobid = run("generate", "A fox in the snow", "--no-wait").stdout.strip()
    assert run("get", jobid).stdout.startswith("http://127.0.0.1:")
    listed = run("jobs")
    assert [text for text in ("A fox in the snow", jobid, "ray-3.2", "$0.06") if text not in listed.stdout] == []
    assert json.loads(run("jobs", "--json").stdout)["price"] == 0.06
    assert [name for name in OTHER_API_TERMS if name in get_output(listed)] == []


@pytest.mark.parametrize(
    "command", [("delete", "x", "--yes"), ("accounts",), ("accounts", "add"), ("accounts", "remove", "x")]
)
@pytest.mark.usefixtures("api")
def test_what_the_api_does_not_offer_is_refused(run: Run, simulator: Simulator, command: tuple[str, ...]) -> None:
    done = run(*command, typed="cookie")
    assert (done.returncode, done.stdout, simulator.requests.total()) == (1, "", 0)
    assert "Luma's Agents API" in get_output(done)


def test_help_and_tables_are_those_of_the_api_in_use(run: Run) -> None:
    for settings in ({"LUMA_AGENTS_API_KEY": KEY}, {"LUMA_MCP_API": "agents"}):
        offered = run("generate", "--help", **settings).stdout
        assert ("--loop" in offered, "--extend" in offered, "--email" in offered) == (True, True, False)
        tables = run("options", **settings).stdout
        assert ("ray-3.2" in tables, "$0.06" in tables) == (True, True)
    assert "--email" in run("generate", "--help", LUMA_MCP_API="unusable").stdout
    assert "ray-3.2" in run("options", "--api", "agents", USEAPI_TOKEN=TOKEN).stdout
    assert "ray-v3-flash" in run("options", "--api", "useapi", LUMA_AGENTS_API_KEY=KEY).stdout


def test_a_simulation_is_of_the_api_in_use(run: Run) -> None:
    done = run("generate", "A fox", "--loop", "--simulate", LUMA_MCP_API="agents")
    assert (done.returncode, done.stdout.startswith("http://127.0.0.1:")) == (0, True), done.stderr
    assert "$0.06 by Luma's price list (simulated, not charged)." in done.stderr


def test_key_of_an_entry_selects_its_api(run: Run, home: Path, api: str, environment: dict[str, str]) -> None:
    entry = {"command": "luma-ray-mcp", "env": {"LUMA_AGENTS_API_KEY": KEY, "LUMA_MCP_BASE_URL": api}}
    (home / ".cursor").mkdir()
    (home / ".cursor" / "mcp.json").write_text(json.dumps({"mcpServers": {"luma": entry}}), encoding="utf-8")
    del environment["LUMA_AGENTS_API_KEY"], environment["LUMA_MCP_BASE_URL"]
    done = run("generate", "A fox", "--loop")
    assert done.returncode == 0, done.stderr
    assert get_output(done).count("Using the key of Cursor's entry.") == 1
    # A placeholder is not the credential of another API.
    other = run("generate", "A fox", LUMA_MCP_API="useapi")
    assert (other.returncode, "USEAPI_TOKEN is not set" in other.stderr) == (1, True)


@pytest.mark.parametrize("command", [("generate", "A fox"), ("get", "x")])
def test_credential_of_another_api_is_named_but_not_used(run: Run, command: tuple[str, ...]) -> None:
    done = run(*command, LUMA_MCP_API="agents", USEAPI_TOKEN=TOKEN)
    assert done.returncode == 1
    assert "LUMA_AGENTS_API_KEY is not set" in done.stderr
    assert "USEAPI_TOKEN is set, but" in done.stderr
    facts = json.loads(run(*command, "--json", LUMA_MCP_API="agents", USEAPI_TOKEN=TOKEN).stdout)
    assert facts["error"]["kind"] == "not_configured"
    assert "LUMA_AGENTS_API_KEY is not set" in facts["error"]["message"]


def test_credential_in_the_wrong_variable_stops_every_command(run: Run) -> None:
    for settings in ({"USEAPI_TOKEN": KEY}, {"LUMA_AGENTS_API_KEY": TOKEN}, {"LUMA_MCP_EMAIL": f"key={KEY}"}):
        for command in (("generate", "A fox"), ("jobs",), ("install", "cursor", "--yes"), ("serve",)):
            done = run(*command, **settings)
            assert (done.returncode, done.stdout) == (2, "")
            assert f"{next(iter(settings))} looks like an API" in get_output(done)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (BOTH, "USEAPI_TOKEN and LUMA_AGENTS_API_KEY are both set, so useapi.net is used. LUMA_MCP_API=agents selects"),
        (BOTH | {"LUMA_MCP_API": "agents"}, None),
        ({"LUMA_AGENTS_API_KEY": KEY}, None),
        ({"LUMA_MCP_API": "agents", "USEAPI_TOKEN": TOKEN}, "LUMA_AGENTS_API_KEY is not set"),
    ],
    ids=["both", "stated", "one", "wrong one"],
)
def test_server_logs_the_api_in_use(environment: dict[str, str], settings: dict[str, str], line: str | None) -> None:
    done = run_process("serve", environment=environment | settings)
    assert (done.returncode, done.stdout) == (0, "")
    lines = get_output(done).splitlines()
    assert len(lines) == (0 if line is None else 1)
    assert line is None or lines[0].startswith(f"luma-ray-mcp: {line}")


@pytest.mark.usefixtures("api")
def test_without_pyav_a_command_says_how_to_install_it(
    run: Run, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobid = run("generate", "A fox", "--no-wait").stdout.strip()
    # Without waiting, the job could still be running, which is another error.
    run("get", jobid)
    monkeypatch.setitem(sys.modules, "av", None)
    done = run("generate", "It runs away", "--image-start", jobid)
    assert done.returncode != 0
    for text in ("PyAV, which is not installed", "Nothing was charged.", f"{sys.executable} -m pip install 'av>=18'"):
        assert text in get_output(done)
    assert len(simulator.orders) == 1


@pytest.mark.usefixtures("api")
def test_id_of_the_other_api_is_rejected(run: Run, simulator: Simulator) -> None:
    for value in ("u1-email:a@b.example-image:7", "j1-u1-x-bot:luma"):
        done = run("generate", "A fox", "--image-start", value)
        assert "of useapi.net, but this server orders from Luma's Agents API" in done.stderr
    assert simulator.orders == []
