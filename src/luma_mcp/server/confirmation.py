"""Ask the user before money is spent, if the owner wants that (`LUMA_MCP_CONFIRM`) and the client supports it.

The SDK transports the question. In protocol 2026-07-28 the call returns it as its result, and the client repeats the
call with the answer and the sealed state that came with the question. Before that, the question is a request to the
client within the call. What was validated for the question is what is submitted after the answer: a link is fetched
once, and the picture that the user agreed to is the one that is uploaded.

Where servers share a journal and keys (`LUMA_MCP_SECRET_KEYS`), the answer may reach another server than the one that
asked. The sealed state has the facts about the question that it needs. It validates the request again, and takes a
lease, so that one agreement leads to one order even if several servers receive it.

This module has no `from __future__ import annotations`: the SDK evaluates annotations that refer to local names.
"""

import json
import logging
import os
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resolve import Elicit, Resolve
from mcp.server.mcpserver.tools import Tool
from mcp.server.request_state import RequestStateSecurity
from mcp.types import CallToolResult
from pydantic import BaseModel, Field

from luma_mcp.errors import BudgetReached, LimitReached, LumaError, Upstream
from luma_mcp.server import messages, results
from luma_mcp.server.arguments import VIDEO_OPTIONS, parse_arguments
from luma_mcp.server.tools import ConfirmationDecision, ServerContext
from luma_mcp.service.tenants import current_tenant
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from luma_mcp.service.requests import ValidatedRequest
    from luma_mcp.service.service import VideoService


logger = logging.getLogger(__name__)

CANNOT_ASK = (
    "LUMA_MCP_CONFIRM is %s, but this client cannot show questions, so its orders are sent without asking. "
    "LUMA_MCP_MAX_JOBS_PER_HOUR and LUMA_MCP_BUDGET_PER_DAY limit them."
)
CHANGED = "The request or a picture has changed since you were asked."
# Questions whose answers are recognized.
MAX_QUESTIONS = 1000
# Bytes of pictures that may wait for answers, all together.
MAX_HELD_BYTES = 64_000_000
# Seconds that a picture waits for an answer; the SDK does not accept a later one.
HOLD_SECONDS = 600.0
# Seconds for which a used answer is remembered: until no server accepts it any more, even with a wrong clock.
CONSUMED_SECONDS = 2 * HOLD_SECONDS


@dataclass(slots=True, eq=False)
class Question:
    """A question to the user about a validated request."""

    # What the user is shown. The SDK accepts an answer only if the same text is asked again.
    text: str
    # The request, while its pictures are held: until `hold_until` by the event loop's clock.
    validated: "ValidatedRequest | None"
    # Identifies the request, including its pictures.
    key: str
    # The takes that it is about. Jobs of other takes may be deleted before the answer comes.
    takes: tuple[int, ...] = (1,)
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    hold_until: float = 0.0
    # Whether its answer has been used for an order.
    consumed: bool = False

    def pack(self, state: str) -> str:
        """Add the facts that another server needs to the state of the SDK."""
        facts = {"id": self.id, "text": self.text, "key": self.key, "takes": self.takes}
        return json.dumps({"question": facts, "state": state})


def unpack(packed: str) -> tuple[Question | None, str]:
    """Get a question, without its request, and the state of the SDK; no question if it is of another version."""
    try:
        content = json.loads(packed)
        facts = content["question"]
        return Question(facts["text"], None, facts["key"], tuple(facts["takes"]), facts["id"]), content["state"]
    except (ValueError, KeyError, TypeError):
        return None, packed


class Questions:
    """The latest questions, by their ids.

    An id is random and comes in a sealed state, which cannot be forged and is valid only with the arguments of its own
    call, from the same tenant. So it leads to the request that this server has validated for exactly that call.
    """

    def __init__(self) -> None:
        self._by_id: OrderedDict[str, Question] = OrderedDict()
        # Ids of forgotten questions whose answer was used, with the time until which they are kept.
        self._consumed: dict[str, float] = {}

    def add(self, question: Question) -> None:
        """Remember a question; the oldest ones lose their pictures, and then are forgotten."""
        now = anyio.current_time()
        question.hold_until = now + HOLD_SECONDS
        self._by_id[question.id] = question
        if len(self._by_id) > MAX_QUESTIONS:
            _, oldest = self._by_id.popitem(last=False)
            if oldest.consumed:
                self._consumed[oldest.id] = now + CONSUMED_SECONDS
        held_bytes = 0
        for each in reversed(self._by_id.values()):
            if each.validated is None:
                continue
            for image in each.validated.images.values():
                held_bytes += len(image.data) + (len(image.picture.data) if image.picture else 0)
            is_over_limit = held_bytes > MAX_HELD_BYTES or each.hold_until <= now
            # The latest question keeps its pictures whatever their size, or they would be fetched again.
            if is_over_limit and each is not question:
                each.validated = None

    def get(self, question_id: str) -> Question | None:
        """Get a question; None if it was forgotten."""
        question = self._by_id.get(question_id)
        if question and question.hold_until <= anyio.current_time():
            question.validated = None
        return question

    def adopt(self, question: Question) -> Question:
        """Remember a question that another server has asked, or this one before it forgot it."""
        now = anyio.current_time()
        for question_id, until in list(self._consumed.items()):
            if until <= now:
                del self._consumed[question_id]
        question.consumed = question.id in self._consumed
        self.add(question)
        return question


@dataclass(slots=True)
class _Call:
    """One call of a tool."""

    # Whether it comes with the state of a question, and which one that was.
    is_answer: bool = False
    answered: Question | None = None
    # What it asks or answers.
    question: Question | None = None
    # What it may do; if there is a question, after the user has agreed.
    decision: ConfirmationDecision = ConfirmationDecision()


_current_call: ContextVar[_Call] = ContextVar("current_call")


def build_state_security(settings: Settings) -> RequestStateSecurity:
    """Build the sealing of the state of questions: for one tenant, and for all servers with the same keys and URL."""
    return RequestStateSecurity(
        keys=settings.derive_keys("question") or (os.urandom(32),),
        ttl=HOLD_SECONDS,
        bind_principal=lambda _: current_tenant.get().id or None,
        audience=f"{settings.public_url or 'luma-ray-mcp'} {settings.api}",
    )


class Confirmation:
    """Decides for one server which orders need a question, and what an answer permits."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._questions = Questions()
        self._warned = False

    async def track_questions(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Middleware: connect a question with its state, on its way out and on its way back.

        It must run inside of the SDK's sealing, which protects what is added here.
        """
        if ctx.method != "tools/call":
            return await call_next(ctx)
        params = ctx.params or {}
        packed = params.get("requestState")
        call = _Call(is_answer=isinstance(packed, str))
        if isinstance(packed, str):
            call.answered, opened = unpack(packed)
            ctx = replace(ctx, params={**params, "requestState": opened})
        _current_call.set(call)
        result = await call_next(ctx)
        state = result.get("requestState") if isinstance(result, Mapping) else None
        if not (call.question and isinstance(state, str) and isinstance(result, Mapping)):
            return result
        call.question.validated = call.decision.validated
        self._questions.add(call.question)
        return {**result, "requestState": call.question.pack(state)}

    async def prepare(self, call: _Call, raw: dict[str, Any], ctx: Context[Any, Any]) -> None:
        """Find out whether a call must ask the user, or what it may do without asking.

        What is found here holds for the whole call. In particular an error is not tried again after it: the second
        attempt might succeed, and would then order without having asked.
        """
        service = self._context.service()
        if service is None or not self._can_ask(ctx):
            return
        earlier = self._find_answered(service, call)
        if earlier and (earlier.consumed or earlier.validated):
            # If its order was placed, nothing that has changed since then justifies another question.
            call.decision = ConfirmationDecision(earlier.validated, reuse_only=earlier.consumed, takes=earlier.takes)
            if not earlier.consumed:
                call.question = earlier
            return
        try:
            await self._decide(service, call, raw, earlier)
        except LumaError as error:
            call.decision = ConfirmationDecision(error=error)
        except Exception as error:
            # The tool turns it into a result; here it would become an error of the SDK, which names no next step.
            logger.exception("a request could not be validated")
            failure = Upstream("internal", detail=type(error).__name__, charged="no")
            call.decision = ConfirmationDecision(error=failure)

    def _find_answered(self, service: "VideoService", call: _Call) -> Question | None:
        """Find the question that a call answers; None if it cannot be known whether its answer was used."""
        if call.answered is None:
            return None
        known = self._questions.get(call.answered.id)
        # With a lease, an agreement is used once, whichever server gets it.
        if known is None and service.journal.replicas is not None:
            known = self._questions.adopt(call.answered)
        return known

    def _can_ask(self, ctx: Context[Any, Any]) -> bool:
        """Whether the client can show its user a form; one that cannot is logged once."""
        capabilities = ctx.session.client_capabilities
        elicitation = capabilities and capabilities.elicitation
        # An empty declaration means forms; only a client that names another mode alone has none.
        if elicitation and (elicitation.form is not None or elicitation.url is None):
            return True
        if not self._warned:
            logger.warning(CANNOT_ASK, self._context.settings.confirm)
            self._warned = True
        return False

    async def _decide(
        self, service: "VideoService", call: _Call, raw: Mapping[str, Any], earlier: Question | None
    ) -> None:
        """Validate the arguments of a call, and set its question or its decision.

        `earlier`: the question that the call answers, whose pictures are no longer held.
        """
        catalog = self._context.catalog
        arguments = parse_arguments(catalog, raw, (*catalog.params, *VIDEO_OPTIONS))
        validated = await service.validate(arguments.params, arguments.problems)
        takes = arguments.options.get("takes", 1)
        missing = tuple(range(1, takes + 1))
        if not arguments.options.get("new_take"):
            found, missing = await service.find_takes(validated, takes)
            failure = found.get(1)
            if takes == 1 and isinstance(failure, LumaError):
                raise failure
        call.decision = ConfirmationDecision(validated, takes=missing)
        try:
            if missing:
                await service.check_limits(validated, len(missing))
        except (LimitReached, BudgetReached) as error:
            call.decision = ConfirmationDecision(validated, error=error)
            return
        # Whether a value costs more than usual, or the video is ordered several times.
        is_expensive = len(missing) > 1
        is_expensive |= any(validated.params.get(name) in values for name, values in catalog.expensive.items())
        if earlier and earlier.key == validated.key:
            # Its pictures are the same now.
            call.decision = ConfirmationDecision(validated, takes=earlier.takes)
            call.question = earlier
        elif not missing:
            call.decision = ConfirmationDecision(validated, reuse_only=True)
        elif is_expensive or self._context.settings.confirm != "expensive":
            text = messages.confirmation_question(
                catalog,
                validated.params,
                validated.misfits,
                takes=len(missing),
                expected_credits=await service.expected_credits(validated.params),
                simulated=self._context.settings.simulated,
            )
            if call.is_answer:
                # The answer was about another request. The SDK discards it, because the text differs, and asks again.
                text = f"{CHANGED} {text}"
            call.question = Question(text, validated, validated.key, missing)

    async def consume(self, call: _Call) -> ConfirmationDecision:
        """Get what a call may do after the user has agreed: one order, however often the answer is sent."""
        question = call.question
        if question is None:
            return call.decision
        # An answer counts for the question that was sent with its state, and for no other one of the same text.
        is_answered = not call.is_answer or (call.answered is not None and call.answered.id == question.id)
        is_used = question.consumed or not is_answered
        question.consumed |= is_answered
        if is_used or not await self._acquire(question):
            return replace(call.decision, reuse_only=True)
        return call.decision

    async def _acquire(self, question: Question) -> bool:
        """Make sure that no other server uses the same answer."""
        service = self._context.service()
        replicas = service.journal.replicas if service else None
        if replicas is None:
            return True
        is_ours = await replicas.acquire(f"question:{question.id}", CONSUMED_SECONDS)
        if is_ours is None:
            # Nothing is ordered while the database cannot be used; the answer is still good after that.
            question.consumed = False
        return bool(is_ours)


class Agreement(BaseModel):
    """The user's answer."""

    order: bool = Field(default=True, title="Order it", description="Yes: the video is ordered and billed.")


def with_confirmation(tool: Tool, confirmation: Confirmation) -> Tool:
    """Build the tool `generate_video` that asks, if there is something to ask, before it orders."""
    order = tool.fn

    async def ask(raw: dict[str, Any], ctx: Context[Any, Any]) -> Elicit[Agreement] | Agreement:
        call = _current_call.get()
        await confirmation.prepare(call, raw, ctx)
        return Elicit(call.question.text, Agreement) if call.question else Agreement()

    async def generate_video(
        raw: dict[str, Any], ctx: Context[Any, Any], answer: Annotated[ElicitationResult[Agreement], Resolve(ask)]
    ) -> CallToolResult:
        if not (isinstance(answer, AcceptedElicitation) and answer.data.order):
            text = messages.NOT_CONFIRMED
            return results.build_result(text, {"charged": "no", "next_action": "ask_user", "note": text})
        decision = await confirmation.consume(_current_call.get())
        result: CallToolResult = await order(raw=raw, ctx=ctx, decision=decision)
        return result

    asking = Tool.from_function(generate_video, structured_output=False)
    # Attributes of the function come from the new one; everything else is as the tool defines it.
    of_function = ("fn", "is_async", "context_kwarg", "resolved_params", "resolver_plans")
    return tool.model_copy(update={name: getattr(asking, name) for name in of_function})
