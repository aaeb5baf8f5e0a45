"""`luma-ray-mcp film --dry-run`: the format of a film's file, the mistakes in it, and the cost of the film."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from tests.cli.films import THREE_SHOTS, TWO_SHOTS, write_film
from tests.conftest import TOKEN

from luma_mcp.catalog import get_catalog
from luma_mcp.cli.shots import FILM_KEYS, SHOT_KEYS

if TYPE_CHECKING:
    import subprocess

    from tests.cli.commands import Run

    from luma_mcp.simulator.app import Simulator

DOCS = Path(__file__).parents[2] / "docs" / "films.md"
KEY = "luma-api-4711-films"
AGENTS = {"LUMA_MCP_API": "agents"}


@pytest.fixture(autouse=True)
def set_folders(home: Path, environment: dict[str, str]) -> None:
    environment |= {"LUMA_MCP_OUTPUT_DIR": str(home / "Luma"), "LUMA_MCP_JOURNAL": str(home / "journal.db")}


def plan(run: Run, home: Path, text: str, **settings: str) -> dict[str, Any]:
    done = run("film", write_film(home, text), "--dry-run", "--json", **settings)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def refuse(run: Run, home: Path, text: str, **settings: str) -> str:
    done = run("film", write_film(home, text), "--dry-run", **settings)
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


def test_plan_without_a_credential(run: Run, home: Path) -> None:
    done = run("film", write_film(home), "--dry-run")
    assert done.returncode == 0, done.stderr
    for line in (
        "The fox: 3 shots, about 14.5 s",
        "1. waking: A fox wakes. 35mm film.",
        "2 takes, of which take 2 goes into the film",
        "begins with the last frame of shot 1",
        "crossfade of 0.5 s",
        "To order: 4 videos: credits not known.",
        "what was made before is not known",
        "Nothing was ordered.",
    ):
        assert line in done.stdout
    assert not (home / "Luma").exists()


def test_plan_with_prices(run: Run, home: Path) -> None:
    done = run("film", write_film(home, f'resolution = "720p"\n{THREE_SHOTS}'), "--dry-run", **AGENTS)
    assert done.returncode == 0, done.stderr
    assert "take 1: to order, unless it was made before, $0.30" in done.stdout
    assert "To order: 4 videos: $1.20 by Luma's price list." in done.stdout
    facts = plan(run, home, THREE_SHOTS.replace("[[shots]]", '[[shots]]\nduration = "10s"', 1), **AGENTS)
    assert facts["price"] == {"unit": "dollars", "at_least": 0.48, "at_most": 0.48}
    # The second shot takes over the first one's options, except its length.
    assert [shot["request"]["duration"] for shot in facts["shots"]] == ["10s", "5s", "5s"]


@pytest.mark.usefixtures("api_and_token")
def test_plan_with_credits_that_were_used(run: Run, home: Path, simulator: Simulator) -> None:
    assert run("generate", "A hare simulate:instant").returncode == 0
    done = run("film", write_film(home), "--dry-run")
    assert "To order: 4 videos: 80 credits by what such videos have used here." in done.stdout
    assert len(simulator.orders) == 1


def test_a_continued_shot_takes_over_the_options(run: Run, home: Path) -> None:
    stated = '[[shots]]\nmodel = "ray-v3"\naspect_ratio = "9:16"\nresolution = "720p"'
    shots = plan(run, home, THREE_SHOTS.replace("[[shots]]", stated, 1))["shots"]
    assert [shot["request"]["aspect_ratio"] for shot in shots] == ["9:16", "9:16", "16:9"]
    assert [shot["request"]["model"] for shot in shots] == ["ray-v3", "ray-v3", "ray-v3-flash"]
    assert "image_start" not in shots[1]["request"]
    done = run("film", "shots.toml", "--dry-run")
    assert "Shot 3 is scaled to the size of shot 1" in done.stdout


def test_character_of_shots_without_a_frame(run: Run, home: Path) -> None:
    Image.new("RGB", (640, 360), "orange").save(home / "fox.png")
    text = 'character = "fox.png"\n' + THREE_SHOTS + '\n[[shots]]\nprompt = "Snow."\nimage_end = "fox.png"\n'
    requests = [shot["request"] for shot in plan(run, home, text)["shots"]]
    assert [request.get("image_character") for request in requests] == [str(home / "fox.png"), None] * 2
    text = refuse(run, home, text, **AGENTS)
    assert '"character" is not offered' in text
    assert "pass the picture as image_start" in text


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("look", "lok", '"lok" is not a parameter: did you mean "look"?'),
        ("title", "audio", '"audio" is not offered'),
        ("title", "prompt", '"prompt" is not a parameter: it belongs below a line [[shots]]'),
        ("takes = 2", 'look = "grainy"', '"shot 1: look" is not a parameter: it belongs above the first [[shots]]'),
        ("takes = 2", "variations = 2", '"shot 1: variations" is not a parameter: did you mean "takes"?'),
        ("takes = 2", "takes = 5", "shot 1: takes is not valid; it takes a whole number from 1 to 4."),
        ("takes = 2", "takes = true", "shot 1: takes is not valid; it takes a whole number from 1 to 4."),
        ("keep = 2", "keep = 3", "shot 1: keep is not valid; it takes the number of a take from 1 to 2."),
        ("keep = 2", "transition = 'cut'", "shot 1: transition has no meaning here: no shot comes before"),
        ("keep = 2", "continue_from = true", "shot 1: continue_from cannot be true here"),
        ("keep = 2", "resolution = '4k'", 'shot 1: resolution "4k" is not offered; use "draft", "540p"'),
        ("keep = 2", "duration = 5", 'shot 1: duration "5" is not offered; use "5s" or "10s".'),
        ("keep = 2", "image_end = 7", "shot 1: image_end is not text"),
        ('"waking"\n', '"waking"\nimage_start = ""\n', "shot 1: image_start is empty"),
        ('from = "waking"', "from = 2", 'shot 2: continue_from "2" names no earlier shot'),
        ('from = "waking"', 'from = "opening"', 'shot 2: continue_from "opening" names no earlier shot'),
        ('from = "waking"', 'from = 1\nimage_start = "a.png"', "shot 2: image_start cannot be combined"),
        ('from = "waking"', 'from = 1\nmodel = "ray-v3-flash"\nimage_character = "a.png"', "shot 2: image_character"),
        ('"crossfade"', '"fade"', 'shot 3: transition "fade" is not offered; use "cut" or "crossfade".'),
        ('prompt = "A forest."', "", "shot 3: prompt is missing"),
        ('"A forest."', f'"{"x" * 1995}"', "shot 3: prompt with look has 2006 characters"),
        ('"A forest."', '"A forest."\nname = "waking"', "shot 3: name is not valid; it takes a name that no other"),
        ('"A forest."', '"A forest."\ndynamic_range = "hdr"', 'shot 3: dynamic_range "hdr" cannot be combined'),
        ("title", "crossfade_seconds = 2.6\ntitle", "crossfade_seconds is not valid; it takes a number of seconds"),
        ("title", "crossfade_seconds = nan\ntitle", "crossfade_seconds is not valid; it takes a number of seconds"),
        ("title", 'dynamic_range = "hdr"\nresolution = "draft"\ntitle', "shots 1, 2 and 3: resolution"),
        ("title =", "title", "shots.toml is not valid TOML: Expected '=' after a key"),
    ],
)
def test_mistakes_in_the_file(run: Run, home: Path, before: str, after: str, problem: str) -> None:
    assert before in THREE_SHOTS
    assert problem in refuse(run, home, THREE_SHOTS.replace(before, after, 1))


def test_crossfade_seconds_without_a_crossfade(run: Run, home: Path) -> None:
    text = refuse(run, home, f"crossfade_seconds = 1\n{THREE_SHOTS}".replace('"crossfade"', '"cut"'))
    assert 'crossfade_seconds has no meaning here: no shot has the transition "crossfade".' in text


def test_all_mistakes_at_once(run: Run, home: Path) -> None:
    text = refuse(
        run, home, THREE_SHOTS.replace("look", "lok").replace("takes = 2", "takes = 9").replace("crossfade", "x")
    )
    assert [problem in text for problem in ("lok", "shot 1: takes", "shot 1: keep", "shot 3: transition")] == [True] * 4


@pytest.mark.parametrize("shots", ["", "shots = 3", "[shots]", "shots = [1, 2]", "[[shots]]\nprompt = 'A fox'"])
def test_number_of_shots(run: Run, home: Path, shots: str) -> None:
    assert "it takes 2 to 50 shots, each below a line [[shots]]" in refuse(run, home, shots)


@pytest.mark.usefixtures("api_and_token")
def test_pictures_are_found_beside_the_file(run: Run, home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "film"
    folder.mkdir()
    Image.new("RGB", (360, 640), "orange").save(folder / "fox.png")
    (folder / "shots.toml").write_text(TWO_SHOTS.replace('wakes."', 'wakes."\nimage_start = "./fox.png"', 1), "utf-8")
    done = run("film", str(folder / "shots.toml"), "--dry-run", "--json")
    shots = json.loads(done.stdout)["shots"]
    assert [shot["request"]["aspect_ratio"] for shot in shots] == ["9:16", "16:9"]
    Image.new("RGB", (360, 640), "orange").save(tmp_path / "fox.png")
    for value, problem in (("../fox.png", "outside the allowed folders"), ("./dog.png", "does not exist")):
        text = (folder / "shots.toml").read_text("utf-8")
        (folder / "other.toml").write_text(text.replace("./fox.png", value), "utf-8")
        done = run("film", str(folder / "other.toml"), "--dry-run")
        assert done.returncode == 2
        assert "shot 1: image_start" in done.stderr
        assert problem in done.stderr
    # Paths can begin with the home folder.
    Image.new("RGB", (360, 640), "orange").save(home / "fox.png")
    (folder / "other.toml").write_text(text.replace("./fox.png", "~/fox.png"), "utf-8")
    assert run("film", str(folder / "other.toml"), "--dry-run").returncode == 0


def test_files_that_are_not_text(run: Run, home: Path) -> None:
    (home / "film.toml").write_bytes(b"\xff\xfe title")
    done = run("film", "film.toml", "--dry-run")
    assert (done.returncode, "not text in UTF-8" in done.stderr) == (2, True)
    assert run("film", "none.toml").returncode == 2
    # Some editors write a byte order mark.
    (home / "film.toml").write_bytes(b"\xef\xbb\xbf" + TWO_SHOTS.encode())
    assert plan_title(run("film", "film.toml", "--dry-run")) == "film: 2 shots, about 10 s"


def plan_title(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[0]


def test_the_documentation_lists_every_key() -> None:
    text = DOCS.read_text("utf-8")
    top, shots = text.split("### At the top")[1].split("### A shot")
    for part, keys in ((top, FILM_KEYS), (shots.split("## How")[0], SHOT_KEYS)):
        documented = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?)\s+\|", part, re.MULTILINE))))
        catalogs = [get_catalog(api) for api in ("useapi", "agents")]
        options = set(catalogs[0].choices) | (
            {*catalogs[0].images, *catalogs[1].images} if keys is SHOT_KEYS else set()
        )
        assert documented == {*keys, *options} - {"shots"}


def test_the_example_of_the_documentation(run: Run, home: Path) -> None:
    example = DOCS.read_text("utf-8").split("```toml\n")[1].split("```")[0]
    done = run("film", write_film(home, example), "--dry-run", USEAPI_TOKEN="")
    assert plan_title(done) == "The fox: 3 shots, about 14.5 s"
    assert "To order: 4 videos" in done.stdout
    assert TOKEN not in done.stdout
