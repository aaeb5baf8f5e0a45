"""What a film orders, and what it orders when it is made again, in virtual time: after failures and at every kill.

A killed process is a transport that raises what nothing catches; `test_film_killed.py` kills real ones.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from pydantic import SecretStr
from tests.cli.films import THREE_SHOTS, TWO_SHOTS
from tests.clock import ClockThatWaitsForThreads
from tests.conftest import BOTH_APIS, CREDENTIALS, resolve, simulator_of, wall_clock
from tests.service.faulty import Fault as Step
from tests.service.faulty import FaultyTransport, ProcessKilled
from trio.testing import MockClock

from luma_mcp import errors
from luma_mcp.api.protocol import FEATURES
from luma_mcp.catalog import get_catalog
from luma_mcp.cli.clips import Display, Options, Runner
from luma_mcp.cli.film import FilmMaker
from luma_mcp.cli.film_plan import build_plan
from luma_mcp.cli.shots import parse_script
from luma_mcp.providers import PROVIDERS
from luma_mcp.service.service import VideoService
from luma_mcp.settings import Settings
from luma_mcp.simulator.app import Fault, Simulator

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
MAX_REQUESTS = 40
"""A film of three shots makes fewer requests."""
FAILING_PROMPT = "simulate:fail"


class Make(Protocol):
    """A function that makes a film, like a new process."""

    async def __call__(
        self, text: str = THREE_SHOTS, *script: Step, order_lost: bool = False, **settings: Any
    ) -> FilmMaker:
        """Make the film of a text. `script`: what happens to the first requests."""


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    clock = MockClock(autojump_threshold=0)
    return "trio", {"clock": clock, "instruments": [ClockThatWaitsForThreads(clock)]}


@pytest.fixture
def simulator(api: str) -> Simulator:
    return simulator_of(get_catalog(api), token=CREDENTIALS[api])


@pytest.fixture
def api() -> str:
    return "useapi"


@pytest.fixture
def make(api: str, simulator: Simulator, tmp_path: Path) -> Make:
    folder = tmp_path / "film"
    folder.mkdir()
    # The processes that join clips have another clock. With this file, the clips count as joined.
    (folder / "film.mp4").touch()
    catalog = get_catalog(api)

    async def make(text: str = THREE_SHOTS, *script: Step, order_lost: bool = False, **settings: Any) -> FilmMaker:
        defaults = {
            "token": SecretStr(CREDENTIALS[api]),
            "api": api,
            "base_url": PROVIDERS[api].base_url,
            "journal": str(tmp_path / "journal.db"),
            "journal_required": True,
        }
        service = VideoService(
            Settings(**{**defaults, **settings}),
            catalog=catalog,
            wall_clock=wall_clock,
            transport=FaultyTransport(simulator, *script),
            resolve=resolve,
        )
        options = Options(save=True, folder=folder, provider=PROVIDERS[api], resumes=True)
        try:
            await service.reconciler.recover_orders()
            parsed = parse_script(text, catalog, str, file_name="film.toml")
            plan = replace(await build_plan(parsed, catalog, service), order_lost=order_lost)
            maker = FilmMaker("film", plan, options, folder / "film")
            display = Display(maker.clips)
            with display:
                await maker.make(Runner(service, maker.clips, options, display))
        finally:
            await service.aclose()
        return maker

    return make


def list_prompts(simulator: Simulator) -> list[str]:
    return [str(job.request["prompt"]) for job in simulator.service.jobs.values()]


async def test_shots_are_ordered_in_sequence(make: Make, simulator: Simulator) -> None:
    maker = await make()
    assert maker.missing == []
    # A shot that continues another one waits for it.
    first_sentences = [prompt.split(". ")[0] for prompt in list_prompts(simulator)]
    assert first_sentences == ["A fox wakes", "A fox wakes", "A forest", "It runs"]
    assert await is_complete(make, simulator, orders=4)


async def is_complete(make: Make, simulator: Simulator, text: str = THREE_SHOTS, *, orders: int) -> bool:
    """Make the film again. Return whether it is complete and nothing was ordered."""
    maker = await make(text)
    return maker.missing == [] and len(simulator.service.jobs) == orders


async def test_slots_are_waited_for(make: Make, simulator: Simulator) -> None:
    for account in simulator.service.accounts.values():
        account.concurrency = 1
    maker = await make()
    assert (maker.missing, len(simulator.service.jobs)) == ([], 4)


async def test_a_changed_shot_is_ordered_again(make: Make, simulator: Simulator) -> None:
    await make()
    # So is the shot that continues it, because its first frame is different. The third one is not.
    changed = await make(THREE_SHOTS.replace("takes = 2\nkeep = 2", 'aspect_ratio = "1:1"'))
    assert changed.missing == []
    assert [prompt.split(". ")[0] for prompt in list_prompts(simulator)[4:]] == ["A fox wakes", "It runs"]
    # The earlier clips are found again.
    assert await is_complete(make, simulator, orders=6)


async def test_a_further_take_is_ordered_alone(make: Make, simulator: Simulator) -> None:
    await make(TWO_SHOTS)
    text = TWO_SHOTS.replace('wakes."', 'wakes."\ntakes = 3\nkeep = 3')
    assert await is_complete(make, simulator, text, orders=4)


async def test_the_same_request_twice_is_two_clips(make: Make, simulator: Simulator) -> None:
    text = TWO_SHOTS.replace("A forest", "A fox wakes")
    maker = await make(text)
    assert maker.clips[0].jobid != maker.clips[1].jobid
    assert await is_complete(make, simulator, text, orders=2)


async def test_a_failure_stops_only_what_continues_it(make: Make, simulator: Simulator) -> None:
    text = THREE_SHOTS.replace("A fox wakes.", f"A fox wakes. {FAILING_PROMPT}")
    maker = await make(text)
    assert (maker.missing, maker.clips[2].blocked_by) == ([1, 2], 1)
    assert len(simulator.service.jobs) == 3
    # Only failed takes are ordered again.
    await make(text)
    assert Counter(FAILING_PROMPT in prompt for prompt in list_prompts(simulator)) == {True: 4, False: 1}


async def test_a_failure_that_nobody_saw_is_ordered_again(make: Make, simulator: Simulator) -> None:
    await make(TWO_SHOTS)
    for job in simulator.service.jobs.values():
        job.fails = "the model could not make this video"
    for file in (path for path in make_folder(await make(TWO_SHOTS)) if path.name != "film.mp4"):
        file.unlink()
    maker = await make(TWO_SHOTS)
    assert [type(clip.error) for clip in maker.clips] == [errors.JobFailed] * 2
    assert (await make(TWO_SHOTS)).missing == []
    assert len(simulator.service.jobs) == 4


def make_folder(maker: FilmMaker) -> list[Path]:
    assert maker.options.folder
    return list(maker.options.folder.iterdir())


async def test_a_limit_leaves_the_rest_for_later(make: Make, simulator: Simulator) -> None:
    maker = await make(max_jobs_per_hour=3)
    assert (maker.missing, len(simulator.service.jobs)) == ([2], 3)
    assert await is_complete(make, simulator, orders=4)


async def test_a_rejected_shot_is_not_charged(make: Make, simulator: Simulator) -> None:
    text = TWO_SHOTS.replace("A forest.", "A forest. simulate:moderate=60")
    maker = await make(text)
    assert maker.missing == [2]
    assert isinstance(maker.clips[1].error, errors.Moderated)
    assert len(simulator.service.jobs) == 1


@BOTH_APIS
async def test_an_order_without_an_answer_is_not_sent_again(make: Make, simulator: Simulator, api: str) -> None:
    path = "/videos" if api == "useapi" else "/generations"
    simulator.faults.append(Fault("POST", path, 504))
    for seconds in (0, 3600):
        simulator.service.clock = shift_clock(simulator, seconds)
        maker = await make(TWO_SHOTS)
        assert maker.missing == [1]
        assert isinstance(maker.clips[0].error, errors.OutcomeUnknown)
        assert list_prompts(simulator) == ["A forest."]
    assert (await make(TWO_SHOTS, order_lost=True)).missing == []
    # The order without an answer is still in the journal.
    assert (await make(TWO_SHOTS, order_lost=True)).missing == []
    assert list_prompts(simulator) == ["A forest.", "A fox wakes."]


def shift_clock(simulator: Simulator, seconds: float) -> Any:
    clock = simulator.service.clock
    return lambda: clock() + seconds


@pytest.mark.sample(8)
@pytest.mark.parametrize("step", range(MAX_REQUESTS))
@pytest.mark.parametrize("when", [Step.KILLED_BEFORE, Step.KILLED_AFTER], ids=["before", "after"])
@BOTH_APIS
async def test_killed_at_each_request(make: Make, simulator: Simulator, api: str, when: Step, step: int) -> None:
    """No take is ordered twice. The film is complete after the user's decision about an order without a response."""
    was_killed = False
    try:
        await make(THREE_SHOTS, *[Step.NONE] * step, when)
    except BaseException as error:
        if not contains_kill(error):
            raise
        was_killed = True
    ordered = len(simulator.service.jobs)
    maker = await make()
    assert len(simulator.service.jobs) <= 4
    lost = [clip for clip in maker.clips if isinstance(clip.error, errors.OutcomeUnknown)]
    # An API that lists running jobs shows the lost one. There, it is unknown only if it was never ordered.
    if lost:
        assert was_killed
        assert when is Step.KILLED_BEFORE or not FEATURES[api].list_running
        maker = await make(order_lost=True)
    assert maker.missing == []
    extra = 1 if lost and when is Step.KILLED_AFTER else 0
    assert len(simulator.service.jobs) == 4 + extra, (ordered, lost)
    assert await is_complete(make, simulator, orders=4 + extra)


def contains_kill(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(map(contains_kill, error.exceptions))
    return isinstance(error, ProcessKilled)
