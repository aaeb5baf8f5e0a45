"""The plan of a film: the complete request of each shot, which of its takes there are, and the price of the rest.

The journal is the only state. The request of a shot, with the number of the take, gives the key under which the journal
knows its order, so a plan is made anew from the file each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any, Literal

from luma_mcp.api.protocol import SAVED_FILES
from luma_mcp.catalog.models import INHERITED, Catalog
from luma_mcp.catalog.validate import count_seconds, validate
from luma_mcp.cli import messages
from luma_mcp.cli.shots import Script, Shot, combine_problems
from luma_mcp.errors import InvalidArguments, LumaError, Problem
from luma_mcp.journal.protocol import Order, OrderQuery
from luma_mcp.providers import PROVIDERS, Provider
from luma_mcp.service import SHORTEST_CROSSFADE
from luma_mcp.service.requests import ValidatedRequest
from luma_mcp.service.service import VideoService
from luma_mcp.text import one_line, shorten, without_none

TakeState = Literal["saved", "completed", "running", "failed", "lost", "missing", "not looked up"]
"""`lost`: its order got no answer, and its job was not found. `missing`: it was not ordered."""
VIDEO = SAVED_FILES["video"]
"""How the name of a video's file ends."""
# Placeholder for the first frame of a shot, while the shot that it continues has no video.
_FRAME = "the last frame of another shot"
_LONGEST_PROMPT = 100
_CHOICES = ("model", "resolution", "aspect_ratio", "duration", "dynamic_range")
_IMAGES = ("image_start", "image_end", "image_character")
# Lost orders with one key are rare, but the query also finds those of prompts that contain this prompt.
_MAX_LOST = 1000


@dataclass(frozen=True, slots=True)
class TakeRecord:
    """What is known of a take. `file`: the absolute path of its saved video."""

    state: TakeState
    order: Order | None = None
    file: str | None = None


@dataclass(eq=False, slots=True)
class PlannedShot:
    """A shot with all its options.

    Attributes:
        params: its complete request, without the frame that it continues.
        validated: the same with its images; None as long as that frame is not known, or nothing was read.
        first_take: the number of its first take. Shots with the same request continue to count, to be other clips.
        price: what one take costs at least and at most, in the API's unit; None if that is not known.
        takes: in their order.
    """

    shot: Shot
    params: Mapping[str, Any]
    validated: ValidatedRequest | None = None
    first_take: int = 1
    price: tuple[float, float] | None = None
    takes: list[TakeRecord] = field(default_factory=list)

    @property
    def seconds(self) -> int:
        """Its nominal length."""
        return count_seconds(self.params["duration"])

    @property
    def size(self) -> tuple[str, str]:
        """The options that determine its width and height."""
        return self.params["aspect_ratio"], self.params["resolution"]

    @property
    def kept(self) -> TakeRecord:
        """The take that goes into the film."""
        return self.takes[self.shot.keep - 1]

    def count(self, states: Collection[TakeState]) -> int:
        """Count its takes in one of these states."""
        return sum(take.state in states for take in self.takes)

    def validated_take(self, index: int) -> ValidatedRequest:
        """The request of one of its takes, by its index. Its frame must be known."""
        assert self.validated  # noqa: S101 - for the type checker
        return replace(self.validated, take=self.first_take + index)


@dataclass(frozen=True, slots=True)
class FilmPlan:
    """A film as it is going to be made. `order_lost`: whether what may have been ordered is ordered again."""

    script: Script
    shots: Sequence[PlannedShot]
    provider: Provider
    order_lost: bool = False

    @property
    def ordered_states(self) -> tuple[TakeState, ...]:
        """The states in which a take is ordered."""
        states: tuple[TakeState, ...] = ("missing", "failed", "not looked up")
        if self.order_lost:
            states = (*states, "lost")
        return states

    @property
    def crossfades(self) -> tuple[float, ...]:
        """For each shot but the first, the seconds for which it overlaps the one before it; 0 for a cut."""
        return tuple(self.script.get_overlap(planned.shot) for planned in self.shots[1:])

    @property
    def seconds(self) -> float:
        """The nominal length of the film."""
        total = -sum(self.crossfades)
        for planned in self.shots:
            total += planned.seconds
        return total

    def count(self, *states: TakeState) -> int:
        """Count the takes in one of these states."""
        return sum(planned.count(states) for planned in self.shots)

    def list_prices(self) -> list[tuple[float, float] | None]:
        """List the prices of the takes that are going to be ordered."""
        found: list[tuple[float, float] | None] = []
        for planned in self.shots:
            found += [planned.price] * planned.count(self.ordered_states)
        return found

    def list_resized(self) -> list[int]:
        """List the numbers of the shots whose size is not that of the first one."""
        first = self.shots[0]
        return [planned.shot.number for planned in self.shots if planned.size != first.size]


async def build_plan(script: Script, catalog: Catalog, service: VideoService | None) -> FilmPlan:
    """Build the plan of a film. Nothing is ordered or uploaded.

    Args:
        script: what the file says.
        catalog: what the API in use can make.
        service: reads images and the journal, and looks up earlier jobs; None where there is no credential. Then only
            the options are checked.

    Raises:
        InvalidArguments: with all problems.
        LumaError: the API could not be asked for an earlier job that an image names.
    """
    problems: list[tuple[int, Problem]] = []
    planned: dict[int, PlannedShot] = {}
    for shot in script.shots:
        source = planned.get(shot.continues or 0)
        found: Iterable[Problem] = ()
        if shot.continues and source is None:
            # The shot that it continues has problems, so this one takes over nothing.
            found = validate(catalog, {**shot.params, "image_start": _FRAME}).problems
        else:
            try:
                planned[shot.number] = await _plan_shot(shot, source, catalog, service)
            except InvalidArguments as error:
                found = error.problems
        problems += zip(repeat(shot.number), found, strict=False)
    shots = list(planned.values())
    plan = FilmPlan(script, shots, PROVIDERS[catalog.api])
    problems += _find_mixed_ranges(shots)
    if len(shots) == len(script.shots):
        problems += _find_long_crossfades(plan)
    if problems:
        raise InvalidArguments(combine_problems(problems), charged="no")
    _number_takes(shots)
    for each in shots:
        price = catalog.price(each.params)
        if price is not None:
            each.price = price, price
        elif service:
            each.price = await service.expected_credits(each.params)
        each.takes = await _find_takes(each, planned.get(each.shot.continues or 0), service)
    return plan


async def _plan_shot(
    shot: Shot, source: PlannedShot | None, catalog: Catalog, service: VideoService | None
) -> PlannedShot:
    """Complete the request of a shot. `source`: the shot that it continues."""
    params = dict(shot.params)
    if source is None:
        if service is None:
            return PlannedShot(shot, _complete(catalog, params))
        validated = await service.validate(params)
        return PlannedShot(shot, validated.params, validated)
    # The same options as if the order named the job of the earlier shot, which does not exist yet.
    framed = {**params, "image_start": _FRAME}
    for name in INHERITED:
        inherited = {name: source.params[name]}
        if name not in params and not validate(catalog, framed | inherited).problems:
            framed |= inherited
    complete = _complete(catalog, framed)
    del complete["image_start"]
    if service and complete.keys() & catalog.images.keys():
        await service.validate(complete)
    return PlannedShot(shot, complete)


def _complete(catalog: Catalog, params: Mapping[str, Any]) -> dict[str, Any]:
    """Complete the params of a request. Raise `InvalidArguments` if they are not valid."""
    validation = validate(catalog, params)
    if validation.problems or validation.nearest is None:
        raise InvalidArguments(validation.problems)
    return validation.nearest


async def validate_continuation(service: VideoService, planned: PlannedShot, jobid: str) -> ValidatedRequest:
    """Validate the request of a shot that continues another one. `jobid`: the finished job of that one.

    Raises what `VideoService.validate` does.
    """
    return await service.validate({**planned.params, "image_start": jobid})


def _find_mixed_ranges(shots: Sequence[PlannedShot]) -> list[tuple[int, Problem]]:
    """Report the shots that cannot be joined with the others because one of both is HDR."""
    kinds: dict[bool, list[PlannedShot]] = {True: [], False: []}
    for planned in shots:
        kinds[planned.params["dynamic_range"] == "sdr"].append(planned)
    sdr, hdr = kinds[True], kinds[False]
    if not (sdr and hdr):
        return []
    # The fewer ones are most likely a mistake; where there are equally many, HDR is.
    wrong, right = hdr, "sdr"
    if len(sdr) < len(hdr):
        wrong, right = sdr, "hdr"
    found: list[tuple[int, Problem]] = []
    for planned in wrong:
        value, others = planned.params["dynamic_range"], f'dynamic_range "{right}" of the other shots'
        problem = Problem("dynamic_range", "conflict", value, allowed=(right,), conflicts_with=(others,))
        found.append((planned.shot.number, problem))
    return found


def _find_long_crossfades(plan: FilmPlan) -> list[tuple[int, Problem]]:
    """Report crossfades that last longer than half of one of their shots."""
    shortest: int | None = None
    for before, after in zip(plan.shots, plan.shots[1:], strict=False):
        if after.shot.transition == "crossfade":
            shortest = min(before.seconds, after.seconds, shortest or before.seconds)
    if shortest is None or plan.script.crossfade_seconds <= shortest / 2:
        return []
    expected = f"a number of seconds from {SHORTEST_CROSSFADE:g} to {shortest / 2:g}, half of the shortest of its shots"
    value = plan.script.crossfade_seconds
    return [(0, Problem("crossfade_seconds", "out_of_range", value, expected=expected))]


def _number_takes(shots: Iterable[PlannedShot]) -> None:
    """Number the takes of shots with the same request one after another, in the order of the film."""
    counts: Counter[str] = Counter()
    for planned in shots:
        identity = repr(sorted(planned.params.items()))
        if planned.validated:
            identity = planned.validated.key
        # Two frames are the same only if they are those of the same shot.
        identity = f"{identity} {planned.shot.continues}"
        planned.first_take = counts[identity] + 1
        counts[identity] += planned.shot.takes


async def _find_takes(
    planned: PlannedShot, source: PlannedShot | None, service: VideoService | None
) -> list[TakeRecord]:
    """Find out which takes of a shot there are. Those of the shot that it continues are known."""
    if service is None:
        return [TakeRecord("not looked up")] * planned.shot.takes
    if source:
        order = source.kept.order
        if order is None or order.jobid is None or source.kept.state not in ("saved", "completed"):
            # Without a frame to begin with, it cannot have been ordered.
            return [TakeRecord("missing")] * planned.shot.takes
        try:
            planned.validated = await validate_continuation(service, planned, order.jobid)
        except LumaError:
            # The frame could not be fetched just now.
            return [TakeRecord("not looked up")] * planned.shot.takes
    return [await find_take(service, planned.validated_take(index)) for index in range(planned.shot.takes)]


async def find_take(service: VideoService, validated: ValidatedRequest) -> TakeRecord:
    """Find out what the journal knows of a take, whatever its age."""
    journal = service.journal
    finished = await journal.list_finished(validated.key)
    for order in finished:
        if order.state == "completed":
            return await _find_file(service, order)
    current = await journal.get_open(validated.key)
    if current and current.jobid:
        return TakeRecord("running", current)
    query = OrderQuery("unknown", validated.params["prompt"])
    if finished:
        # Lost orders from before a later, finished one no longer matter.
        query = replace(query, since=finished[0].ordered_at)
    unknown, _ = await journal.find_orders(query, _MAX_LOST)
    for order in unknown:
        if order.key == validated.key:
            return TakeRecord("lost", order)
    if finished:
        return TakeRecord("failed", finished[0])
    return TakeRecord("missing")


async def _find_file(service: VideoService, order: Order) -> TakeRecord:
    """Find the saved video of a completed order, if it is still there."""
    for file in await service.downloads.saved_files(order.jobid or ""):
        if file.endswith(VIDEO):
            return TakeRecord("saved", order, file)
    return TakeRecord("completed", order)


def format_plan(plan: FilmPlan) -> str:
    """Format a plan for a terminal."""
    lines = [messages.describe_film(plan.script.title, len(plan.shots), plan.seconds), ""]
    for planned in plan.shots:
        lines += _format_shot(planned, plan)
    lost = plan.count("lost")
    if plan.order_lost:
        # They are among those that are ordered.
        lost = 0
    lines.append("")
    if numbers := plan.list_resized():
        lines.append(messages.resized_shots(numbers))
    lines += messages.summarize_plan(
        made=plan.count("saved", "completed"),
        running=plan.count("running"),
        lost=lost,
        not_looked_up=plan.count("not looked up"),
        prices=plan.list_prices(),
        provider=plan.provider,
    )
    return "\n".join(map(one_line, lines))


def _format_shot(planned: PlannedShot, plan: FilmPlan) -> list[str]:
    shot, params = planned.shot, planned.params
    heading = shorten(params["prompt"], _LONGEST_PROMPT)
    if shot.name:
        heading = f"{shot.name}: {heading}"
    details = [" ".join(map(params.__getitem__, _CHOICES))]
    details += messages.describe_shot(
        continues=shot.continues,
        images=list(filter(params.__contains__, _IMAGES)),
        crossfade=plan.script.get_overlap(shot),
        takes=shot.takes,
        keep=shot.keep,
    )
    for number, take in enumerate(planned.takes, 1):
        parts = [messages.TAKE_STATES[take.state]]
        if shot.takes > 1:
            parts[0] = f"take {number}: {parts[0]}"
        if planned.price and take.state in plan.ordered_states:
            parts.append(messages.format_price(planned.price, plan.provider))
        if take.file:
            parts.append(take.file)
        details.append(", ".join(parts))
    return [f"{shot.number}. {heading}", *map("   {}".format, details)]


def build_plan_facts(plan: FilmPlan) -> dict[str, Any]:
    """Build the JSON of a plan."""
    shots: list[dict[str, Any]] = []
    for planned in plan.shots:
        shot = planned.shot
        takes: list[dict[str, Any]] = []
        for number, take in enumerate(planned.takes, 1):
            row: dict[str, Any] = {"take": number, "state": take.state, "saved_file": take.file}
            if take.order:
                row["jobid"] = take.order.jobid
            takes.append(without_none(row))
        facts = {
            "number": shot.number,
            "name": shot.name,
            "request": dict(planned.params),
            "continues": shot.continues,
            "transition": shot.transition,
            "keep": shot.keep,
            "takes": takes,
        }
        if planned.price:
            facts["price"] = _build_price_facts([planned.price], plan.provider)
        shots.append(without_none(facts))
    prices = plan.list_prices()
    return {
        "title": plan.script.title,
        "duration_seconds": plan.seconds,
        "crossfade_seconds": plan.script.crossfade_seconds,
        "shots": shots,
        "to_order": len(prices),
        "price": _build_price_facts(prices, plan.provider),
    }


def _build_price_facts(prices: Sequence[tuple[float, float] | None], provider: Provider) -> dict[str, Any]:
    """Build the JSON of what some videos cost together. `unknown`: of how many the price is not known."""
    known = list(filter(None, prices))
    facts: dict[str, Any] = {"unit": provider.unit, "at_least": 0.0, "at_most": 0.0}
    for low, high in known:
        facts["at_least"] = round(facts["at_least"] + low, 6)
        facts["at_most"] = round(facts["at_most"] + high, 6)
    if unknown := len(prices) - len(known):
        facts["unknown"] = unknown
    return facts
