"""`luma-ray-mcp generate`, `get` and `jobs` in a terminal."""

from __future__ import annotations

import io
import json
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING

import av
import pytest
from PIL import Image, ImageStat
from pillow_heif import register_heif_opener
from tests.cli.commands import LUMA_MCP, TIMEOUT
from tests.conftest import EMAIL, TOKEN

from luma_mcp.simulator.app import Fault, Simulator
from luma_mcp.simulator.state import MEDIA

if TYPE_CHECKING:
    from tests.cli.commands import Run

register_heif_opener()

VIDEO = (MEDIA / "16x9-5s-sdr.mp4").read_bytes()


@pytest.fixture(autouse=True)
def home_with_files(home: Path, environment: dict[str, str]) -> None:
    """Create a photo and a diary in the home folder, and set the paths of videos and the journal."""
    Image.new("RGB", (64, 36), "orange").save(home / "photo.heic", "HEIF")
    (home / "diary.txt").write_text("the diary of a fox")
    environment |= {"LUMA_MCP_OUTPUT_DIR": str(home / "Luma"), "LUMA_MCP_JOURNAL": str(home / "journal.db")}


def test_only_the_path_of_a_saved_video_is_printed(run: Run, home: Path) -> None:
    done = run("generate", "A fox in the snow", "--image-start", "photo.heic", "--save", "--simulate")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1), done.stderr
    file = Path(done.stdout.strip())
    assert file.parent == home / "Luma"
    # The simulated clip begins with the photo.
    with av.open(str(file)) as video:
        first: Image.Image = next(video.decode(video.streams.video[0])).to_image()  # type: ignore[no-untyped-call]
    red, green, blue = ImageStat.Stat(first).mean
    assert (first.size, red > 240, 150 < green < 180, blue < 20) == ((640, 360), True, True, True)
    assert "fox" in file.name
    assert ("converted" in done.stderr, file.name in done.stderr) == (True, True)


def test_a_simulation_is_announced_and_not_recorded(run: Run, home: Path) -> None:
    done = run("generate", "A fox", "--simulate")
    assert (done.returncode, done.stdout.startswith("http://127.0.0.1:")) == (0, True)
    assert "Simulated: nothing is generated or charged" in done.stderr
    assert "The link stops working when this command ends." in done.stderr
    assert not (home / "journal.db").exists()


@pytest.mark.parametrize("place", ["photo.heic", "./photo.heic", "../home/photo.heic", "~/photo.heic"])
@pytest.mark.usefixtures("api_and_token")
def test_a_photo_is_found_from_the_current_folder(run: Run, simulator: Simulator, place: str) -> None:
    done = run("generate", "A fox", "--image-end", place)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("http")
    [upload] = simulator.service.uploads.values()
    assert (upload.media_type, Image.open(io.BytesIO(upload.data)).size) == ("image/jpeg", (64, 36))


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["A fox", "--resolution", "4k"], ["--resolution", "1080p"]),
        (["A fox", "--resolutoin", "720p"], ["--resolution"]),
        (
            ["A fox", "--dynamic-range", "hdr", "--duration", "10s"],
            ["--duration 5s --dynamic-range hdr", 'Or: duration "10s" with dynamic_range "sdr"'],
        ),
        ([], ["PROMPT"]),
        (["A fox", "--image-start", "phot.heic"], ["phot.heic", "does not exist"]),
        (["A fox", "--image-start", "diary.txt"], ["not a picture"]),
        (["A fox", "--image-start", f"data:image/png;base64,{'AAAA' * 1500}"], ["not a picture"]),
        (["A fox", "--image-start", "/etc/passwd"], ["not a picture"]),
    ],
    ids=["value", "option", "combination", "nothing", "missing file", "no picture", "long data: URI", "outside"],
)
@pytest.mark.usefixtures("api_and_token")
def test_an_invalid_request_is_explained_and_not_ordered(
    run: Run, simulator: Simulator, *, arguments: list[str], texts: list[str]
) -> None:
    done = run("generate", *arguments)
    assert (done.returncode, done.stdout, simulator.orders) == (2, "", [])
    assert [text for text in texts if text not in done.stderr] == []
    assert [text for text in ("diary of", "AAAA") if text in done.stderr] == []


@pytest.mark.parametrize("command", [("generate", "A fox"), ("get", "j1-u12345-x-bot:luma")])
def test_without_a_token_the_variable_is_named(run: Run, command: tuple[str, ...]) -> None:
    done = run(*command)
    assert (done.returncode, done.stdout) == (1, "")
    assert "USEAPI_TOKEN" in done.stderr
    assert "https://useapi.net" in done.stderr
    assert ("--simulate" in done.stderr) == (command[0] == "generate")


@pytest.mark.parametrize("simulated", [False, True])
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")
@pytest.mark.usefixtures("api_and_token")
def test_ctrl_c_ends_the_wait_and_names_the_job(
    run: Run, home: Path, environment: dict[str, str], simulator: Simulator, *, simulated: bool
) -> None:
    simulator.service.clock = lambda: 0.0
    command = [*LUMA_MCP, "generate", "A fox simulate:stuck", *["--simulate"] * simulated]
    with ExitStack() as stack:
        waiting = stack.enter_context(Popen(command, env=environment, cwd=home, stdout=PIPE, stderr=PIPE, text=True))
        stack.callback(waiting.kill)
        assert waiting.stderr
        # Printed as soon as the order is sent.
        assert any(line.startswith("Making the video") for line in waiting.stderr)
        waiting.send_signal(signal.SIGINT)
        out, errors = waiting.communicate(timeout=TIMEOUT)
    assert (waiting.returncode, out, "Traceback" in errors) == (130, "", False)
    assert ("The job continues" in errors, "luma-ray-mcp get j" in errors) == (not simulated, not simulated)
    assert [job["prompt"] for job in simulator.orders] == ["A fox simulate:stuck"] * (not simulated)
    if not simulated:
        shown = run("jobs").stdout
        assert [text for text in (*simulator.service.jobs, "running", "A fox") if text not in shown] == []


@pytest.mark.usefixtures("api_and_token")
def test_an_identical_order_waits_for_the_running_job(environment: dict[str, str], simulator: Simulator) -> None:
    now = [0.0]
    simulator.service.clock = lambda: now[0]
    typed = [[*LUMA_MCP, "generate", "A fox"], [*LUMA_MCP, "generate", "A fox", "--resolution", "draft"]]
    with ExitStack() as stack:
        started = []
        for command, sign in zip(typed, ("Making the video", "No new video was ordered"), strict=True):
            process = stack.enter_context(Popen(command, env=environment, stdout=PIPE, stderr=PIPE, text=True))
            stack.callback(process.kill)
            assert process.stderr
            assert any(line.startswith(sign) for line in process.stderr)
            started.append(process)
        now[0] = 100.0
        links = [process.communicate(timeout=TIMEOUT)[0] for process in started]
    assert (links[0], len(simulator.orders)) == (links[1], 1)


@pytest.mark.usefixtures("api_and_token")
def test_jobs_lists_orders_with_and_without_a_token(run: Run, simulator: Simulator) -> None:
    assert "No jobs yet" in run("jobs").stdout
    file = run("generate", "A fox in the snow", "--save").stdout.strip()
    failed = run("generate", "A cat simulate:fail", "--aspect-ratio", "9:16")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "could not make this video" in failed.stderr
    online, alone = run("jobs"), run("jobs", USEAPI_TOKEN="")
    for shown in (online, alone):
        assert shown.returncode == 0
        texts = ("A fox in the snow", file, "completed", "9:16", "failed", "could not make this video")
        assert all(text in shown.stdout for text in (*texts, *simulator.service.jobs))
        assert shown.stdout.index("A cat") < shown.stdout.index("A fox")
        assert TOKEN not in f"{shown}"
    assert (f"{EMAIL}: 0 of 4 slots" in online.stdout, "USEAPI_TOKEN" in alone.stderr) == (True, True)
    assert "A fox" not in run("jobs", "--limit", "1").stdout


@pytest.mark.usefixtures("api_and_token")
def test_control_characters_are_not_printed(run: Run, simulator: Simulator) -> None:
    evil = "\x1b]0;pwned\x07\x1b[2J\x9b31mfox\u202e"
    run("generate", f"A {evil}")
    refusal = json.dumps({"error": evil}).encode()
    simulator.faults.append(Fault("POST", "/videos", 422, refusal, times=9))
    for shown in (run("jobs"), run("jobs", USEAPI_TOKEN=""), run("generate", "A cat")):
        printed = shown.stdout + shown.stderr
        assert "fox" in printed
        assert [sign for sign in "\x1b\x07\x9b\u202e" if sign in printed] == []


@pytest.mark.usefixtures("api_and_token")
def test_the_token_of_a_host_s_entry_serves_every_command(run: Run, home: Path, simulator: Simulator, api: str) -> None:
    entry = {"command": "luma-ray-mcp", "env": {"USEAPI_TOKEN": TOKEN, "LUMA_MCP_BASE_URL": api}}
    (home / ".cursor").mkdir()
    (home / ".cursor" / "mcp.json").write_text(json.dumps({"mcpServers": {"luma": entry}}))
    bare = {"USEAPI_TOKEN": "", "LUMA_MCP_BASE_URL": ""}
    made = run("generate", "A fox", **bare)
    [jobid] = simulator.service.jobs
    for done in (made, run("get", jobid, **bare), run("jobs", **bare), run("accounts", **bare)):
        assert done.returncode == 0, done.stderr
        assert "Using the token of Cursor's entry." in done.stderr
        assert TOKEN not in f"{done}"
    # An order that the simulation rejects is faster than a video.
    simulated = run("generate", "A fox", "--dynamic-range", "hdr", "--duration", "10s", "--simulate", **bare)
    assert (simulated.returncode, "Cursor" in simulated.stderr) == (2, False)
    assert "Cursor" not in run("accounts").stderr


@pytest.mark.usefixtures("api_and_token")
@pytest.mark.parametrize(
    "limited",
    [{"LUMA_MCP_MAX_JOBS_PER_HOUR": "1"}, {"LUMA_MCP_BUDGET_PER_DAY": "30"}],
    ids=lambda limited: next(iter(limited)),
)
def test_a_reached_limit_costs_nothing(run: Run, simulator: Simulator, limited: dict[str, str]) -> None:
    [name] = limited
    first = run("generate", "A fox", **limited)
    assert first.returncode == 0
    # The credits that the first video uses are not known in advance.
    assert ("LUMA_MCP_BUDGET_PER_DAY could not be checked" in first.stderr) == (name == "LUMA_MCP_BUDGET_PER_DAY")
    done = run("generate", "A cat", **limited)
    assert f"{name} sets this" in done.stderr
    assert (done.returncode, done.stdout, len(simulator.orders)) == (1, "", 1)
    assert "Nothing was charged" in done.stderr
    assert [text for text in ("Tell the user", "on its way", "continues") if text in done.stderr] == []


@pytest.mark.usefixtures("api_and_token")
def test_an_unknown_outcome_names_the_next_step(run: Run, simulator: Simulator) -> None:
    simulator.faults.append(Fault("POST", "/videos", 500, b'{"error":"Internal"}', times=9))
    shown = run("generate", "A fox").stderr
    assert "Whether anything was charged is not known" in shown
    assert "Run the command again in two minutes" in shown


@pytest.mark.usefixtures("api_and_token")
def test_get_saves_an_earlier_job(run: Run, simulator: Simulator) -> None:
    run("generate", "A fox")
    [jobid] = simulator.service.jobs
    done = run("get", jobid, "--save")
    assert Path(done.stdout.strip()).read_bytes() == VIDEO
    assert "rdering" not in done.stderr
    wrong = run("get", "j1-u12345-x-bot:luma")
    assert (wrong.returncode, wrong.stdout) == (1, "")


@pytest.mark.usefixtures("api_and_token")
def test_a_file_that_cannot_be_saved_leaves_the_link_on_stdout(run: Run, home: Path) -> None:
    done = run("generate", "A fox", "--save", LUMA_MCP_OUTPUT_DIR=str(home / "diary.txt"))
    assert done.returncode == 1
    assert done.stdout.startswith("http")
    assert "diary.txt" in done.stderr


@pytest.mark.usefixtures("api_and_token")
def test_an_error_after_the_order_names_the_job(run: Run, simulator: Simulator) -> None:
    simulator.faults.append(Fault("GET", "/jobs/", 401, b'{"error":"Unauthorized"}', times=100))
    done = run("generate", "A fox")
    [jobid] = simulator.service.jobs
    assert (done.returncode, done.stdout) == (1, "")
    assert jobid in done.stderr


@pytest.mark.usefixtures("api_and_token")
def test_an_image_of_a_running_job_names_the_command_to_wait(run: Run, simulator: Simulator) -> None:
    request = {"prompt": "x", "model": "ray-v3", "resolution": "1080p"}
    simulator.service.speed = 0.1
    running_job = simulator.service.start(request, EMAIL, webhook=False)
    done = run("generate", "It goes on", "--image-start", running_job.jobid)
    assert (done.returncode, done.stdout, simulator.orders) == (2, "", [])
    assert f"luma-ray-mcp get {running_job.jobid}\nThen run this command again." in done.stderr


@pytest.mark.usefixtures("api_and_token")
def test_full_slots_name_the_jobs_that_hold_them(run: Run, simulator: Simulator) -> None:
    request = {"prompt": "x", "model": "ray-v3", "resolution": "1080p"}
    simulator.service.speed = 0.1
    running_job = simulator.service.start(request, EMAIL, webhook=False)
    simulator.faults.append(Fault("POST", "/videos", 429, b'{"error":"full"}', {"retry-after": "3600"}))
    done = run("generate", "A fox")
    assert (done.returncode, done.stdout, "Nothing was charged" in done.stderr) == (1, "", True)
    assert running_job.jobid in done.stderr
