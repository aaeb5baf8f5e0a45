"""`luma-ray-mcp film`: it orders each shot, continues after an interruption, and joins the clips."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING, Any

import av
import pytest
from tests.cli.commands import LUMA_MCP, TIMEOUT, check_output, run_process
from tests.cli.films import THREE_SHOTS, TWO_SHOTS, write_film

from luma_mcp.cli.messages import describe_error
from luma_mcp.errors import OutcomeUnknown
from luma_mcp.providers import PROVIDERS
from luma_mcp.simulator.app import Simulator

if TYPE_CHECKING:
    import subprocess

    from tests.cli.commands import Run


@pytest.fixture(autouse=True)
def set_folders(home: Path, environment: dict[str, str]) -> None:
    environment |= {"LUMA_MCP_OUTPUT_DIR": str(home / "Luma"), "LUMA_MCP_JOURNAL": str(home / "journal.db")}


def count_frames(path: str | Path) -> int:
    """Count the frames of a video by decoding all of them."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def read_film(done: subprocess.CompletedProcess[str]) -> Path:
    """Get the path of the film, which is the only output on stdout."""
    assert done.returncode == 0, done.stderr
    [line] = done.stdout.splitlines()
    return Path(line)


def list_prompts(simulator: Simulator) -> list[str]:
    return [order["prompt"] for order in simulator.orders]


@pytest.mark.usefixtures("api_and_token")
def test_film_of_three_shots(run: Run, home: Path, simulator: Simulator) -> None:
    done = run("film", write_film(home), "--yes")
    path = read_film(done)
    assert (path.parent, path.name[10:19]) == (home / "Luma" / "the-fox", "_the-fox_")
    clips = [file for file in path.parent.iterdir() if file != path]
    assert len(clips) == 4
    # The two clips overlap by 12 frames.
    assert count_frames(path) == 3 * count_frames(clips[0]) - 12
    firsts = [prompt.removesuffix(" 35mm film.") for prompt in list_prompts(simulator)]
    assert firsts == ["A fox wakes.", "A fox wakes.", "A forest.", "It runs."]
    # The last frame of the kept take was uploaded.
    [upload] = simulator.service.uploads
    assert [order.get("imageStart") for order in simulator.orders] == [None, None, None, upload]
    assert "4 of 4 videos made. 80 credits used." in done.stderr
    # The film is complete.
    again = run("film", "shots.toml", "--yes")
    assert (read_film(again), len(simulator.orders)) == (path, 4)
    assert "There is nothing to order." in again.stderr
    assert "No credits were used now." in again.stderr
    assert len(list(path.parent.iterdir())) == 5
    # Only the additional take is ordered.
    plan = run("film", write_film(home, THREE_SHOTS.replace("takes = 2", "takes = 3")), "--dry-run")
    assert ("take 1: saved, /" in plan.stdout, "take 3: to order, 20 credits" in plan.stdout) == (True, True)
    assert "To order: 1 video: 20 credits by what such videos have used here." in plan.stdout


@pytest.mark.usefixtures("api_and_token")
def test_a_shot_that_fails_does_not_stop_the_others(run: Run, home: Path, simulator: Simulator) -> None:
    text = THREE_SHOTS.replace("takes = 2\nkeep = 2", "").replace("A fox wakes.", "A fox wakes. simulate:fail")
    done = run("film", write_film(home, text), "--yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Not ordered, and not charged: shot 1, which it continues, is not there." in done.stderr
    assert "The film is not joined: shots 1 and 2 are missing." in done.stderr
    assert "1 of 3 videos made. 20 credits used; what 1 of the orders used is not known." in done.stderr
    assert len(simulator.orders) == 2
    assert "has failed and is ordered again" in run("film", "shots.toml", "--dry-run").stdout


def test_an_order_without_an_answer_needs_an_option() -> None:
    for provider in PROVIDERS.values():
        text = describe_error(OutcomeUnknown("its answer was lost"), provider, is_film=True)
        assert ("--order-lost orders it again." in text, "--new-take" in text) == (True, False)


@pytest.mark.usefixtures("api_and_token")
def test_json_is_one_object(run: Run, home: Path) -> None:
    done = run("film", write_film(home, TWO_SHOTS), "--yes", "--json")
    facts: dict[str, Any] = json.loads(done.stdout)
    [path] = facts["saved_files"]
    assert facts["duration_seconds"] == pytest.approx(count_frames(path) / 24, abs=0.001)
    assert (facts["title"], facts["missing"], facts["reencoded"]) == ("shots", [], False)
    takes = [shot["takes"] for shot in facts["shots"]]
    assert [(take["prompt"], take["charged"]) for [take] in takes] == [("A fox wakes.", "yes"), ("A forest.", "yes")]
    # Removed files are downloaded again at no cost.
    for file in Path(path).parent.iterdir():
        file.unlink()
    assert "made, not saved yet" in run("film", "shots.toml", "--dry-run").stdout
    again = json.loads(run("film", "shots.toml", "--yes", "--json").stdout)
    assert len(list(Path(path).parent.iterdir())) == 3
    assert again["saved_files"] == [path]
    assert [take["charged"] for shot in again["shots"] for take in shot["takes"]] == ["no", "no"]


@pytest.mark.usefixtures("api_and_token")
def test_the_film_can_be_given_a_name(run: Run, home: Path, simulator: Simulator) -> None:
    write_film(home, 'title = "../../etc/fox"\n' + TWO_SHOTS)
    path = read_film(run("film", "shots.toml", "--yes", "--output", "out/fox.mp4"))
    assert path == home / "out" / "fox.mp4"
    assert len(list((home / "out" / "fox").iterdir())) == 2
    refused = run("film", "shots.toml", "--yes", "--output", "out/fox.mp4")
    assert (refused.returncode, "exists already" in refused.stderr) == (2, True)
    other = read_film(run("film", "shots.toml", "--yes", "--output", "other/"))
    assert (other.parent, other.name[10:19]) == (home / "other", "_etc-fox_")
    assert len(simulator.orders) == 2


@pytest.mark.usefixtures("api_and_token")
def test_nothing_is_ordered_without_a_yes(run: Run, home: Path, environment: dict[str, str]) -> None:
    done = run("film", write_film(home, TWO_SHOTS), typed="y\n")
    assert (done.returncode, "Pass --yes to order without it." in done.stderr) == (2, True)
    if sys.platform == "win32":
        return
    for typed, code in (("n\n", 130), ("y\n", 0)):
        assert answer_question(environment | {"PWD": str(home)}, str(home / "shots.toml"), typed) == code
        orders = run("jobs").stdout
        assert ("A forest." in orders) == (code == 0)


def answer_question(environment: dict[str, str], file: str, typed: str) -> int:
    """Make a film in a terminal, answer the question, and return the exit code."""
    import pty

    terminal, end = pty.openpty()
    with Popen([*LUMA_MCP, "film", file], env=environment, stdin=end, stdout=PIPE, stderr=PIPE, text=True) as process:
        os.close(end)
        os.write(terminal, typed.encode())
        _, shown = process.communicate(timeout=TIMEOUT)
    os.close(terminal)
    assert "Order 2 videos? [y/N]" in shown
    return process.returncode


@pytest.mark.usefixtures("api_and_token")
def test_requirements_of_a_film(run: Run, home: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    write_film(home, TWO_SHOTS)
    (home / "folder").mkdir()
    for settings, problem in (
        ({"LUMA_MCP_JOURNAL": "off"}, "LUMA_MCP_JOURNAL=off turns it off"),
        ({"LUMA_MCP_JOURNAL": str(home / "folder")}, "The record of orders cannot be used"),
        ({"USEAPI_TOKEN": ""}, "USEAPI_TOKEN"),
    ):
        done = run("film", "shots.toml", "--yes", **settings)
        assert (done.returncode, problem in done.stderr) == (1, True), done.stderr
        facts = json.loads(run("film", "shots.toml", "--yes", "--json", **settings).stdout)
        assert problem in facts["error"]["message"]
    monkeypatch.setitem(sys.modules, "av", None)
    done = run("film", "shots.toml", "--yes")
    assert (done.returncode, "Joining clips needs PyAV. Install it with: " in done.stderr) == (1, True)
    assert simulator.orders == []


def test_simulated_film_has_no_requirements(run: Run, home: Path) -> None:
    done = run("film", write_film(home, TWO_SHOTS.replace('"\n', ' simulate:instant"\n')), "--simulate")
    assert read_film(done).exists()
    assert "Simulated: nothing is generated or charged" in done.stderr
    assert not (home / "journal.db").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
@pytest.mark.usefixtures("api_and_token")
def test_ctrl_c_and_two_processes(run: Run, home: Path, environment: dict[str, str], simulator: Simulator) -> None:
    simulator.service.speed = 1
    file = home / write_film(home, TWO_SHOTS)
    with ExitStack() as stack:
        command = [*LUMA_MCP, "film", str(file), "--yes"]
        process = stack.enter_context(Popen(command, env=environment, stdout=PIPE, stderr=PIPE, text=True))
        stack.callback(process.kill)
        assert process.stderr
        shown = ""
        while "shot 2: A forest.: ordered" not in shown:
            shown += process.stderr.readline()
        # Another path of the same file.
        (home / "link.toml").symlink_to(file)
        for name in ("shots.toml", "link.toml"):
            busy = run("film", name, "--yes")
            assert (busy.returncode, "Another process is making this film." in busy.stderr) == (1, True)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, printed) == (130, "")
    assert "2 jobs continue at Luma. Run the same command again to go on" in errors
    for job in simulator.service.jobs.values():
        job.seconds = 0
    read_film(check_output(run_process("film", str(file), "--yes", environment=environment)))
    assert len(simulator.orders) == 2
