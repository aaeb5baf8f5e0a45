"""Several videos with one command: prompts, slots, results, Ctrl-C, and output for programs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.commands import LUMA_MCP, TIMEOUT, check_output
from tests.conftest import EMAIL, TOKEN

from luma_mcp.simulator.app import Fault, Simulator
from luma_mcp.simulator.state import MEDIA

if TYPE_CHECKING:
    from tests.cli.commands import Run

VIDEO = (MEDIA / "16x9-5s-sdr.mp4").read_bytes()
TEN = [f"Fox {number} in the snow" for number in range(1, 11)]
LONG_AGO = "2020-01-01T00:00:00.000Z"


@pytest.fixture(autouse=True)
def set_folders(home: Path, environment: dict[str, str]) -> None:
    environment |= {"LUMA_MCP_OUTPUT_DIR": str(home / "Luma"), "LUMA_MCP_JOURNAL": str(home / "journal.db")}


@pytest.fixture
def file(home: Path) -> str:
    (home / "prompts.txt").write_text("\n".join(TEN), "utf-8")
    return "prompts.txt"


def parse_lines(text: str) -> list[dict[str, Any]]:
    """Parse one JSON object per line."""
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.usefixtures("api_and_token")
def test_jobs_are_found_by_text_and_time(run: Run) -> None:
    assert run("generate", "A fox simulate:instant", "A red hen simulate:instant").returncode == 0
    found = run("jobs", "--text", "HEN red", "--since", "1h")
    assert "A red hen" in found.stdout
    assert "A fox" not in found.stdout
    # A finished video that was not saved has its link.
    assert ".mp4" in found.stdout
    assert "No such jobs" in run("jobs", "--before", "yesterday").stdout
    assert "1 more of 2 are not shown" in run("jobs", "--limit", "1").stderr
    refused = run("jobs", "--since", "soon")
    assert refused.returncode == 2
    assert "--since takes a date (2026-11-21)" in refused.stderr


@pytest.mark.usefixtures("api_and_token")
def test_ten_prompts_with_four_slots_are_ten_videos(run: Run, simulator: Simulator, file: str) -> None:
    done = run("generate", "--file", file, "--resolution", "draft", "--save")
    assert done.returncode == 0, done.stderr
    paths = [Path(line) for line in done.stdout.splitlines()]
    assert [path.read_bytes() for path in paths] == [VIDEO] * 10
    # The order is that of the prompts.
    assert [re.findall(r"fox-(\d+)-in", path.name) for path in paths] == [[str(n)] for n in range(1, 11)]
    assert [order["prompt"] for order in simulator.orders if order["prompt"]][:4] == TEN[:4]
    assert "10 of 10 videos made. 200 credits used." in done.stderr


@pytest.mark.usefixtures("api_and_token")
def test_waiting_for_a_slot_is_visible(run: Run, simulator: Simulator) -> None:
    answer = b'{"error":"All configured accounts are running at maximum capacity","code":429}'
    simulator.faults.append(Fault("POST", "/videos", 429, answer))
    done = run("generate", "A red fox", "A grey fox")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2), done.stderr
    assert "[1/2] A red fox: waiting for a free slot, 0 of 4 in use" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="the test has a shell loop")
@pytest.mark.usefixtures("api_and_token")
def test_commands_at_once_wait_for_slots_too(environment: dict[str, str], simulator: Simulator) -> None:
    simulator.service.add_account(EMAIL, 1)
    simulator.service.speed = 10
    with ExitStack() as stack:
        started = []
        for prompt in TEN[:3]:
            command = [*LUMA_MCP, "generate", prompt, "--resolution", "draft", "--save"]
            process = stack.enter_context(Popen(command, env=environment, stdout=PIPE, stderr=PIPE, text=True))
            stack.callback(process.kill)
            started.append(process)
        outputs = [process.communicate(timeout=TIMEOUT) for process in started]
    assert [process.returncode for process in started] == [0] * 3, outputs
    assert len({out for out, _ in outputs}) == len(simulator.service.jobs) == 3
    assert "Waiting for a free slot, 1 of 1 in use" in "".join(shown for _, shown in outputs)


@pytest.mark.usefixtures("api_and_token")
def test_one_that_fails_does_not_lose_the_others(run: Run, simulator: Simulator) -> None:
    rejected = ("A dog simulate:moderate", "A bird simulate:broke")
    done = run("generate", "A red fox", "A cat simulate:fail", *rejected, "A grey fox", "--save")
    assert done.returncode == 1
    assert [Path(line).read_bytes() for line in done.stdout.splitlines()] == [VIDEO] * 2
    assert "could not make this video" in done.stderr
    assert "Content moderation rejected" in done.stderr
    assert "2 of 5 videos made. 40 credits used; what 1 of the orders used is not known." in done.stderr
    assert len(simulator.service.jobs) == 3


@pytest.mark.parametrize(
    ("status", "orders"), [(401, 1), (402, 2), (500, 2)], ids=["token", "no credits twice", "outcome unknown twice"]
)
@pytest.mark.usefixtures("api_and_token")
def test_failure_for_all_prompts_stops_further_orders(
    run: Run, simulator: Simulator, file: str, status: int, orders: int
) -> None:
    simulator.faults.append(Fault("POST", "/videos", status, b'{"error":"No"}', times=20))
    done = run("generate", "--file", file, "--json")
    assert (done.returncode, simulator.requests["POST /videos"]) == (1, orders)
    charged = [each["error"]["charged"] for each in parse_lines(done.stdout)]
    assert charged == ["unknown"] * 2 + ["no"] * 8 if status == 500 else ["no"] * 10


@pytest.mark.parametrize(
    ("arguments", "typed", "texts"),
    [
        (["--file", "-"], "", ["no prompts"]),
        (["--file", "-"], "# only a comment\n\n  \n", ["no prompts"]),
        (["--file", "missing.txt"], "", ["missing.txt"]),
        (["A fox", "", "--resolution", "draft"], "", ["prompt 2"]),
        (["--file", "-"], f"A fox\n{'x' * 2001}\nA cat\n", ["prompt 2", "2000"]),
        (["A", "fox", "in", "the", "snow"], "", ["quotes", "Nothing was ordered"]),
        (["A fox", "A cat", "--output", "a.mp4"], "", ["several videos"]),
        (["A fox", "--output", "a.mov"], "", [".mov", ".mp4"]),
        (["A fox", "--output", "taken.mp4"], "", ["taken.mp4", "exists already"]),
        (["A fox", "--output", "taken.mp4/videos"], "", ["taken.mp4"]),
        (["A fox", "--output", f"{'狐' * 90}.mp4"], "", ["狐.mp4", "cannot be used"]),
        (["A fox", "--output", f"{'狐' * 90}/"], "", ["狐", "cannot be used"]),
        (["A fox", "--output", f"{'狐/' * 2000}fox.mp4"], "", ["狐", "cannot be used"]),
        (["A fox", "--no-wait", "--save"], "", ["--no-wait", "get"]),
        (["A fox", "--no-wait", "--simulate"], "", ["--no-wait", "--simulate"]),
    ],
)
@pytest.mark.usefixtures("api_and_token")
def test_a_mistake_is_found_before_anything_is_ordered(
    run: Run, home: Path, simulator: Simulator, *, arguments: list[str], typed: str, texts: list[str]
) -> None:
    (home / "taken.mp4").write_text("mine")
    done = run("generate", *arguments, typed=typed)
    assert (done.returncode, done.stdout, simulator.orders) == (2, "", [])
    assert [text for text in texts if text not in done.stderr] == []
    assert (home / "taken.mp4").read_text() == "mine"


@pytest.mark.usefixtures("api_and_token")
def test_prompts_come_from_stdin_without_comments(run: Run, simulator: Simulator) -> None:
    run("generate", "A fish swims", "--file", "-", typed="\ufeff# mine\r\n  A fox\r\n\r\nUn renard dans l'été\r\n")
    assert [order["prompt"] for order in simulator.orders] == ["A fish swims", "A fox", "Un renard dans l'été"]


@pytest.mark.parametrize(("options", "orders"), [((), 2), (("--new-take",), 3)])
@pytest.mark.usefixtures("api_and_token")
def test_a_repeated_prompt_is_ordered_once_unless_each_is_wanted(
    run: Run, simulator: Simulator, *, options: tuple[str, ...], orders: int
) -> None:
    done = run("generate", "A fox", "A cat", " A fox ", *options)
    assert (done.returncode, len(simulator.orders), len(set(done.stdout.splitlines()))) == (0, orders, orders)
    assert ("Prompt 3 is the same as prompt 1" in done.stderr) == (not options)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")
@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.usefixtures("api_and_token")
def test_ctrl_c_names_every_job_and_what_was_not_ordered(
    run: Run, home: Path, environment: dict[str, str], simulator: Simulator, *, as_json: bool
) -> None:
    now = [0.0]
    simulator.service.clock = lambda: now[0]
    command = [*LUMA_MCP, "generate", *TEN[:7], "--resolution", "draft", "--output", "my clips"]
    with ExitStack() as stack:
        waiting = stack.enter_context(
            Popen([*command, *["--json"] * as_json], env=environment, cwd=home, stdout=PIPE, stderr=PIPE, text=True)
        )
        stack.callback(waiting.kill)
        assert waiting.stderr
        assert any("[5/7] Fox 5 in the snow: waiting for a free slot" in line for line in waiting.stderr)
        waiting.send_signal(signal.SIGINT)
        out, shown = waiting.communicate(timeout=TIMEOUT)
    check_output(subprocess.CompletedProcess(command, waiting.returncode, out, shown))
    jobids = list(simulator.service.jobs)
    assert (waiting.returncode, len(jobids)) == (130, 4)
    if as_json:
        assert [each["jobid"] for each in parse_lines(out)] == jobids
    else:
        assert out == ""
    assert "4 jobs continue. Wait for them with: " in shown
    assert f"luma-ray-mcp get {' '.join(jobids)} --output '{home / 'my clips'}'\n" in shown
    assert "Not ordered, and not charged: 5 to 7 of 7 prompts." in shown
    # The printed command works.
    now[0] = 1000.0
    done = run("get", *jobids, "--output", str(home / "my clips"))
    assert (done.returncode, len(list((home / "my clips").iterdir()))) == (0, 4), done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")
@pytest.mark.usefixtures("api_and_token")
def test_ctrl_c_while_an_order_is_on_its_way_names_its_job(environment: dict[str, str], simulator: Simulator) -> None:
    arrived, release = threading.Event(), threading.Event()

    def slow_clock() -> datetime:
        """The API reads this clock when it starts a job."""
        if simulator.orders:
            arrived.set()
            release.wait(TIMEOUT)
        return datetime.now(UTC)

    simulator.service.wall_clock = slow_clock
    command = [*LUMA_MCP, "generate", "A fox", "A cat"]
    with ExitStack() as stack:
        waiting = stack.enter_context(Popen(command, env=environment, stdout=PIPE, stderr=PIPE, text=True))
        stack.callback(waiting.kill)
        stack.callback(release.set)
        assert arrived.wait(TIMEOUT)
        waiting.send_signal(signal.SIGINT)
        assert waiting.stderr
        assert any("Waiting for the answer to an order" in line for line in waiting.stderr)
        release.set()
        out, shown = waiting.communicate(timeout=TIMEOUT)
    [jobid] = simulator.service.jobs
    assert (waiting.returncode, out) == (130, "")
    assert f"luma-ray-mcp get {jobid}\n" in shown
    assert "Not ordered, and not charged: 2 of 2 prompts." in shown


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
@pytest.mark.usefixtures("api_and_token")
def test_a_terminal_shows_one_bar_that_fits(environment: dict[str, str]) -> None:
    import pty
    import termios

    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 80))
    command = [*LUMA_MCP, "generate", *(f"A fox {'that runs far and ' * 9}{n}" for n in range(3)), "--save"]
    with Popen(command, env=environment, stdin=end, stdout=end, stderr=end) as process:
        os.close(end)
        received = b""
        with suppress(OSError):
            # Linux reports the end of a terminal as an error.
            while chunk := os.read(terminal, 10_000):
                received += chunk
    os.close(terminal)
    shown = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", received.decode())
    rows = [row for row in re.split(r"[\r\n]+", shown) if not row.startswith(("/", " ")) and "used." not in row]
    assert process.returncode == 0
    assert max(map(len, rows)) <= 80
    assert sum("3/3 ready" in row and "100%" in row for row in rows) == 1
    # No part of a bar remains in an earlier line.
    assert [row for row in rows if row.startswith("[") and "%" in row] == []


@pytest.mark.usefixtures("api_and_token")
def test_json_is_one_object_per_video(run: Run, home: Path, simulator: Simulator) -> None:
    done = run("generate", "A red fox", "A cat simulate:fail", "A dog simulate:moderate", "--json", "--output", "clips")
    fox, cat, dog = parse_lines(done.stdout)
    assert done.returncode == 1
    first, second = simulator.service.jobs
    assert (fox["prompt"], fox["jobid"], fox["state"], fox["charged"]) == ("A red fox", first, "completed", "yes")
    assert (fox["credits_used"], fox["video"]["width"], fox["request"]["resolution"]) == (20, 384, "draft")
    assert [Path(path).parent for path in fox["saved_files"]] == [home / "clips"]
    assert (cat["jobid"], cat["state"], cat["error"]["kind"]) == (second, "failed", "job_failed")
    assert cat["error"]["charged"] == "unknown"
    assert ("jobid" in dog, dog["error"]["kind"], dog["error"]["charged"]) == (False, "moderated", "no")
    assert "null" not in done.stdout
    [again] = parse_lines(run("get", first, "--json").stdout)
    assert (again["video"]["url"], again["prompt"]) == (fox["video"]["url"], "A red fox")
    listed = parse_lines(run("jobs", "--json").stdout)
    assert [job["jobid"] for job in listed] == [second, first]
    assert [job["state"] for job in listed] == ["failed", "completed"]
    assert listed[1]["saved_files"] == fox["saved_files"]


@pytest.mark.parametrize(
    ("arguments", "kind", "code"),
    [
        (("generate", "A fox", "--dynamic-range", "hdr", "--duration", "10s"), "invalid_arguments", 2),
        (("generate", "A fox", "--image-start", "missing.jpg"), "invalid_arguments", 2),
        (("get", "j1-u12345-x-bot:luma"), "not_found", 1),
    ],
)
@pytest.mark.usefixtures("api_and_token")
def test_errors_are_json_too(run: Run, arguments: tuple[str, ...], kind: str, code: int) -> None:
    done = run(*arguments, "--json")
    [facts] = parse_lines(done.stdout)
    assert (done.returncode, facts["error"]["kind"], "Error" in done.stderr) == (code, kind, False)
    without = run(*arguments, "--json", USEAPI_TOKEN="")
    [facts] = parse_lines(without.stdout)
    assert (without.returncode, facts["error"]["kind"]) == (1, "not_configured")


@pytest.mark.usefixtures("api_and_token")
def test_without_waiting_only_the_jobids_are_printed(run: Run, simulator: Simulator) -> None:
    simulator.service.clock = lambda: 0.0
    done = run("generate", "A red fox", "A grey fox", "--no-wait")
    assert (done.returncode, done.stdout.splitlines()) == (0, list(simulator.service.jobs))
    [facts] = parse_lines(run("generate", "A cat", "--no-wait", "--json").stdout)
    assert "2 jobs continue. Wait for them with: " in done.stderr
    assert (facts["jobid"], facts["state"], facts["charged"]) == (list(simulator.service.jobs)[2], "running", "yes")
    assert len(run("jobs", "--state", "running").stdout.splitlines()) > 3
    assert "No such jobs" in run("jobs", "--state", "failed").stdout
    assert run("jobs", "--state", "failed", "--json").stdout == ""


@pytest.mark.parametrize("output", ["fox.mp4", "./new/fox.mp4", "fox.MP4"])
@pytest.mark.usefixtures("api_and_token")
def test_a_video_is_saved_under_the_given_name(run: Run, home: Path, output: str) -> None:
    done = run("generate", "A fox", "--output", output)
    assert (done.returncode, done.stdout.strip()) == (0, str((home / output).with_suffix(".mp4"))), done.stderr
    assert (home / output).with_suffix(".mp4").read_bytes() == VIDEO


@pytest.mark.usefixtures("api_and_token")
def test_a_saved_video_can_be_saved_elsewhere(run: Run, home: Path, simulator: Simulator) -> None:
    run("generate", "A fox", "--save")
    [jobid] = simulator.service.jobs
    done = run("get", jobid, "--output", "elsewhere/")
    assert Path(done.stdout.strip()).parent == home / "elsewhere"
    assert len(list((home / "Luma").iterdir())) == 1


@pytest.mark.parametrize(
    ("status", "text"), [("canceled", 'reported the job as "canceled"'), ("processing", "may never end")]
)
@pytest.mark.usefixtures("api_and_token")
def test_a_job_that_may_never_end_is_not_waited_for(run: Run, simulator: Simulator, status: str, text: str) -> None:
    run("generate", "A fox", "--no-wait")
    [jobid] = simulator.service.jobs
    record = {"jobid": jobid, "type": "video", "status": status, "created": LONG_AGO}
    simulator.faults.append(Fault("GET", "/jobs/", 200, json.dumps(record).encode(), times=1000))
    done = run("get", jobid)
    assert (done.returncode, done.stdout) == (1, "")
    assert text in done.stderr
    assert "Whether it is charged is not known" in done.stderr
    [facts] = parse_lines(run("get", jobid, "--json").stdout)
    assert (facts["status"], facts["overdue"]) == (status, True)


def test_error_for_an_unreachable_job_claims_no_state(run: Run) -> None:
    done = run("get", "j1-u12345-x-bot:luma", USEAPI_TOKEN=TOKEN)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Try it again with: " in done.stderr
    assert [text for text in ("continues", "Making the video") if text in done.stderr] == []


@pytest.mark.usefixtures("api_and_token")
def test_a_job_that_luma_forgot_is_described(run: Run, simulator: Simulator) -> None:
    link = run("generate", "A fox in the snow").stdout.strip()
    [jobid] = simulator.service.jobs
    simulator.service.jobs.clear()
    done = run("get", jobid)
    assert (done.returncode, done.stdout) == (1, "")
    assert [text for text in ("A fox in the snow", "It was completed", link) if text not in done.stderr] == []


@pytest.mark.usefixtures("api_and_token")
def test_delete_says_what_is_lost_and_asks(run: Run, simulator: Simulator) -> None:
    saved = run("generate", "A red fox", "--save").stdout.strip()
    run("generate", "A grey fox")
    jobids = list(simulator.service.jobs)
    refused = run("delete", *jobids, typed="n\n")
    assert (refused.returncode, refused.stdout, list(simulator.service.jobs)) == (130, "", jobids)
    texts = ("A red fox", "A grey fox", saved, "not saved on this machine", "Links", "may stop working", *jobids)
    assert [text for text in texts if text not in refused.stderr] == []
    assert run("delete", *jobids).returncode == 130
    agreed = run("delete", *jobids, typed="y\n")
    assert (agreed.returncode, simulator.service.jobs) == (0, {})
    assert agreed.stdout.splitlines() == [f"Deleted: {jobid}" for jobid in jobids]
    assert Path(saved).exists()
    assert "No jobs" in run("jobs").stdout
    assert all(jobid in run("jobs", "--state", "deleted").stdout for jobid in jobids)


@pytest.mark.usefixtures("api_and_token")
def test_a_running_job_is_not_deleted_and_the_others_are(run: Run, simulator: Simulator) -> None:
    run("generate", "A red fox")
    simulator.service.speed = 0.01
    run("generate", "A grey fox", "--no-wait")
    finished, running = simulator.service.jobs
    done = run("delete", running, finished, "--yes")
    assert (done.returncode, done.stdout) == (1, f"Deleted: {finished}\n")
    assert "A running job can be neither deleted nor stopped" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(simulator.service.jobs) == [running]
