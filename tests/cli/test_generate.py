"""`luma-ray-mcp generate`, `get` and `jobs`, as a person types them in a terminal."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from pillow_heif import register_heif_opener
from tests.conftest import EMAIL, TOKEN

from luma_mcp.simulator.app import Fault, Simulator, new_simulator, running
from luma_mcp.simulator.state import MEDIA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Run = Callable[..., subprocess.CompletedProcess[str]]

register_heif_opener()

VIDEO = (MEDIA / "16x9-5s-sdr.mp4").read_bytes()
LUMA_MCP = [sys.executable, "-m", "luma_mcp"]
PATIENT = 120
"""Seconds that a command may take on a busy machine before it counts as hanging."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A person's home with a photo in it, from where the commands are typed."""
    pictures = tmp_path / "home" / "pictures"
    pictures.mkdir(parents=True)
    Image.new("RGB", (60, 40), "orange").save(pictures / "photo.heic", "HEIF")
    (pictures / "diary.txt").write_text("the diary of a fox")
    return pictures.parent


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    state = {"LUMA_MCP_OUTPUT_DIR": str(home / "Luma"), "LUMA_MCP_JOURNAL": str(home / "journal.db")}
    return {"HOME": str(home), "USERPROFILE": str(home), **state}


@pytest.fixture
def run(home: Path, environment: dict[str, str]) -> Run:
    """Types a command where the photo is; settings by name."""

    def typed(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*LUMA_MCP, *arguments],
            env=environment | settings,
            cwd=home / "pictures",
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENT,
            stdin=subprocess.DEVNULL,
        )

    return typed


@pytest.fixture
def simulator() -> Simulator:
    simulator = new_simulator(speed=1000)
    simulator.token = TOKEN
    return simulator


@pytest.fixture
def api(simulator: Simulator, environment: dict[str, str]) -> Iterator[str]:
    """The simulated API on loopback, for the commands that follow."""
    with running(simulator) as url:
        environment |= {"LUMA_MCP_BASE_URL": url, "USEAPI_TOKEN": TOKEN}
        yield url


def test_a_photo_and_a_prompt_become_a_file_whose_path_alone_is_printed(run: Run, home: Path) -> None:
    done = run("generate", "A fox in the snow", "--image-start", "photo.heic", "--save", "--simulate")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1), done.stderr
    file = Path(done.stdout.strip())
    assert (file.parent, file.read_bytes()) == (home / "Luma", VIDEO)
    assert "fox" in file.name
    assert ("converted" in done.stderr, file.name in done.stderr) == (True, True)


def test_a_simulation_says_that_it_is_one_and_leaves_no_trace_in_the_journal(run: Run, home: Path) -> None:
    done = run("generate", "A fox", "--simulate")
    assert done.returncode == 0
    assert "imulat" in done.stderr
    assert not (home / "journal.db").exists()


@pytest.mark.parametrize("place", ["photo.heic", "./photo.heic", "../pictures/photo.heic", "~/pictures/photo.heic"])
@pytest.mark.usefixtures("api")
def test_a_photo_is_named_from_where_one_is(run: Run, simulator: Simulator, place: str) -> None:
    done = run("generate", "A fox", "--image-end", place)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("http")
    [upload] = simulator.service.uploads.values()
    assert (upload.media_type, Image.open(io.BytesIO(upload.data)).size) == ("image/jpeg", (60, 40))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["A fox", "--resolution", "4k"], 2, ["--resolution", "1080p"]),
        (["A fox", "--resolutoin", "720p"], 2, ["--resolution"]),
        (["A fox", "--dynamic-range", "hdr", "--duration", "10s"], 2, ["hdr", "10s", "5s"]),
        ([], 2, ["PROMPT"]),
        (["A fox", "--image-start", "phot.heic"], 2, ["phot.heic", "does not exist"]),
        (["A fox", "--image-start", "diary.txt"], 2, ["not a picture"]),
        (["A fox", "--image-start", f"data:image/png;base64,{'AAAA' * 1500}"], 2, ["not a picture"]),
        (["A fox", "--image-start", "/etc/passwd"], 2, ["not a picture"]),
    ],
    ids=["value", "option", "combination", "nothing", "missing file", "no picture", "long data: URI", "outside"],
)
@pytest.mark.usefixtures("api")
def test_what_cannot_be_made_is_refused_in_words_with_nothing_ordered(
    run: Run, simulator: Simulator, *, arguments: list[str], code: int, words: list[str]
) -> None:
    done = run("generate", *arguments)
    assert (done.returncode, done.stdout, simulator.orders) == (code, "", [])
    said = done.stderr[-2000:]
    assert [word for word in words if word not in said] == []
    assert [word for word in ("Traceback", "diary of", "AAAA") if word in done.stderr] == []


@pytest.mark.parametrize("command", [("generate", "A fox"), ("get", "j1-u12345-x-bot:luma")])
def test_without_a_token_the_variable_and_its_source_are_named(run: Run, command: tuple[str, ...]) -> None:
    done = run(*command)
    assert (done.returncode, done.stdout) == (1, "")
    assert "USEAPI_TOKEN" in done.stderr
    assert "https://useapi.net" in done.stderr
    assert ("--simulate" in done.stderr) == (command[0] == "generate")


@pytest.mark.parametrize("simulated", [False, True])
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")
@pytest.mark.usefixtures("api")
def test_ctrl_c_ends_the_wait_and_says_how_to_find_what_was_ordered(
    run: Run, home: Path, environment: dict[str, str], simulator: Simulator, *, simulated: bool
) -> None:
    simulator.service.clock = lambda: 0.0
    command = [*LUMA_MCP, "generate", "A fox simulate:stuck", *["--simulate"] * simulated]
    with ExitStack() as stack:
        waiting = stack.enter_context(Popen(command, env=environment, cwd=home, stdout=PIPE, stderr=PIPE, text=True))
        stack.callback(waiting.kill)
        assert waiting.stderr
        # It says so as soon as the order is out.
        assert any(line.startswith("Making the video") for line in waiting.stderr)
        waiting.send_signal(signal.SIGINT)
        out, told = waiting.communicate(timeout=PATIENT)
    assert (waiting.returncode, out, "Traceback" in told) == (130, "", False)
    assert ("The job continues" in told, "luma-ray-mcp get j" in told) == (not simulated, not simulated)
    assert [job["prompt"] for job in simulator.orders] == ["A fox simulate:stuck"] * (not simulated)
    if not simulated:
        shown = run("jobs").stdout
        assert [word for word in (*simulator.service.jobs, "running", "A fox") if word not in shown] == []


@pytest.mark.usefixtures("api")
def test_the_same_order_again_waits_for_the_job_that_runs(environment: dict[str, str], simulator: Simulator) -> None:
    now = [0.0]
    simulator.service.clock = lambda: now[0]
    typed = [[*LUMA_MCP, "generate", "A fox"], [*LUMA_MCP, "generate", "A fox", "--resolution", "draft"]]
    with ExitStack() as stack:
        started = []
        for command, sign in zip(typed, ("Making the video", "An identical job"), strict=True):
            process = stack.enter_context(Popen(command, env=environment, stdout=PIPE, stderr=PIPE, text=True))
            stack.callback(process.kill)
            assert process.stderr
            assert any(line.startswith(sign) for line in process.stderr)
            started.append(process)
        now[0] = 100.0
        links = [process.communicate(timeout=PATIENT)[0] for process in started]
    assert (links[0], len(simulator.orders)) == (links[1], 1)


@pytest.mark.usefixtures("api")
def test_jobs_shows_what_was_ordered_with_a_token_and_without(run: Run, simulator: Simulator) -> None:
    assert "No jobs yet" in run("jobs").stdout
    file = run("generate", "A fox in the snow", "--save").stdout.strip()
    failed = run("generate", "A cat simulate:fail", "--aspect-ratio", "9:16")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "could not make this video" in failed.stderr
    asked, alone = run("jobs"), run("jobs", USEAPI_TOKEN="")
    for shown in (asked, alone):
        assert shown.returncode == 0
        words = ("A fox in the snow", file, "completed", "9:16", "failed", "could not make this video")
        assert all(word in shown.stdout for word in (*words, *simulator.service.jobs))
        assert shown.stdout.index("A cat") < shown.stdout.index("A fox")
        assert TOKEN not in f"{shown}"
    assert (f"{EMAIL}: 0 of 4 slots" in asked.stdout, "USEAPI_TOKEN" in alone.stderr) == (True, True)
    assert "A fox" not in run("jobs", "--limit", "1").stdout


@pytest.mark.usefixtures("api")
def test_a_prompt_and_the_api_s_words_are_shown_and_not_obeyed_by_the_terminal(run: Run, simulator: Simulator) -> None:
    evil = "\x1b]0;pwned\x07\x1b[2J\x9b31mfox\u202e"
    run("generate", f"A {evil}")
    refusal = json.dumps({"error": evil}).encode()
    simulator.faults.append(Fault("POST", "/videos", 422, refusal, times=9))
    for shown in (run("jobs"), run("jobs", USEAPI_TOKEN=""), run("generate", "A cat")):
        told = shown.stdout + shown.stderr
        assert "fox" in told
        assert [sign for sign in "\x1b\x07\x9b\u202e" if sign in told] == []


@pytest.mark.usefixtures("api")
def test_what_a_host_s_entry_knows_serves_every_command_that_needs_a_token_and_says_so(
    run: Run, home: Path, simulator: Simulator, api: str
) -> None:
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
    assert "Cursor" not in run("generate", "A fox", "--simulate", **bare).stderr
    assert "Cursor" not in run("accounts").stderr


@pytest.mark.usefixtures("api")
def test_a_limit_that_is_reached_tells_when_and_nothing_that_contradicts_it(run: Run, simulator: Simulator) -> None:
    limited = {"LUMA_MCP_MAX_JOBS_PER_HOUR": "1"}
    assert run("generate", "A fox", **limited).returncode == 0
    done = run("generate", "A cat", **limited)
    assert (done.returncode, done.stdout, len(simulator.orders)) == (1, "", 1)
    assert "Nothing was charged" in done.stderr
    assert [words for words in ("Tell the user", "on its way", "continues") if words in done.stderr] == []


@pytest.mark.usefixtures("api")
def test_an_order_whose_fate_is_not_known_names_where_to_look(run: Run, simulator: Simulator) -> None:
    simulator.faults.append(Fault("POST", "/videos", 500, b'{"error":"Internal"}', times=9))
    shown = run("generate", "A fox").stderr
    assert "Whether anything was charged is not known" in shown
    assert "luma-ray-mcp jobs" in shown


@pytest.mark.usefixtures("api")
def test_get_saves_a_job_of_earlier(run: Run, simulator: Simulator) -> None:
    run("generate", "A fox")
    [jobid] = simulator.service.jobs
    done = run("get", jobid, "--save")
    assert Path(done.stdout.strip()).read_bytes() == VIDEO
    assert "rdering" not in done.stderr
    wrong = run("get", "j1-u12345-x-bot:luma")
    assert (wrong.returncode, wrong.stdout) == (1, "")


@pytest.mark.usefixtures("api")
def test_a_file_that_cannot_be_saved_leaves_the_link_on_stdout(run: Run, home: Path) -> None:
    done = run("generate", "A fox", "--save", LUMA_MCP_OUTPUT_DIR=str(home / "pictures" / "diary.txt"))
    assert done.returncode == 1
    assert done.stdout.startswith("http")
    assert "diary.txt" in done.stderr


@pytest.mark.usefixtures("api")
def test_whatever_goes_wrong_after_the_order_names_its_job(run: Run, simulator: Simulator) -> None:
    simulator.faults.append(Fault("GET", "/jobs/", 401, b'{"error":"Unauthorized"}', times=100))
    done = run("generate", "A fox")
    [jobid] = simulator.service.jobs
    assert (done.returncode, done.stdout) == (1, "")
    assert jobid in done.stderr


@pytest.mark.usefixtures("api")
def test_an_image_of_a_running_job_names_the_command_that_waits_for_it(run: Run, simulator: Simulator) -> None:
    request = {"prompt": "x", "model": "ray-v3", "resolution": "1080p"}
    simulator.service.speed = 0.1
    running_job = simulator.service.start(request, EMAIL, webhook=False)
    done = run("generate", "It goes on", "--image-start", running_job.jobid)
    assert (done.returncode, done.stdout, simulator.orders) == (2, "", [])
    assert f"luma-ray-mcp get {running_job.jobid}\nThen run this command again." in done.stderr


@pytest.mark.usefixtures("api")
def test_a_full_house_names_the_jobs_that_hold_the_slots(run: Run, simulator: Simulator) -> None:
    request = {"prompt": "x", "model": "ray-v3", "resolution": "1080p"}
    simulator.service.speed = 0.1
    running_job = simulator.service.start(request, EMAIL, webhook=False)
    simulator.faults.append(Fault("POST", "/videos", 429, b'{"error":"full"}', {"retry-after": "3600"}))
    done = run("generate", "A fox")
    assert (done.returncode, done.stdout, "Nothing was charged" in done.stderr) == (1, "", True)
    assert running_job.jobid in done.stderr
