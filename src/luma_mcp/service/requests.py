"""From a caller's words to a request that can be placed: judged once, with every problem, before anything is spent."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luma_mcp.api.protocol import VideoRequest
from luma_mcp.catalog.validate import check
from luma_mcp.errors import NO_MONEY, InvalidArguments, LumaError, Problem
from luma_mcp.service.input_images import Assets, Image, Images, problems_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from luma_mcp.service.input_images import Tell


@dataclass(frozen=True, slots=True)
class ValidatedRequest:
    """A complete request without a problem, and its images as they were found."""

    words: Mapping[str, str]
    images: Mapping[str, Image]
    account: str | None

    @property
    def key(self) -> str:
        """What makes an order the same as another: all that was said or meant, its pictures by what they show."""
        said = {name: text.strip() for name, text in self.words.items()}
        said |= {name: image.identity for name, image in self.images.items()}
        said |= {"email": self.account} if self.account else {}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


class Requests:
    """Makes requests.

    Args:
        images: finds and uploads images.
        default: the account for those that name none.
    """

    def __init__(self, images: Images, default: str | None) -> None:
        self._images = images
        self._default = default

    async def judge(self, words: Mapping[str, Any], problems: Iterable[Problem]) -> ValidatedRequest:
        """The request that the words are, its images found; nothing is uploaded.

        Args:
            words: as `check` takes them; images may be anything that `media.sources` knows.
            problems: what the caller has found wrong already, to be told together with the rest.

        Raises:
            InvalidArguments: with every problem, and the nearest request that is valid.
            LumaError: an image could not be reached.
        """
        verdict = check(words)
        with nothing_spent():
            images, faults = await self._images.find(words)
            wrong = [*problems, *verdict.problems]
            # What only may pass is told as such, unless something else is wrong as well.
            wrong += problems_of(faults) if not wrong else [p for n, f in faults.items() for p in problems_of({n: f})]
        if wrong or verdict.nearest is None:
            raise InvalidArguments(NO_MONEY, problems=wrong, suggestion=None if faults else verdict.nearest)
        return ValidatedRequest(verdict.nearest, images, verdict.nearest.get("email") or self._default)

    async def make(self, judged: ValidatedRequest, tell: Tell) -> tuple[VideoRequest, Assets]:
        """The request as the API takes it, its images uploaded.

        Raises:
            LumaError: they could not be; nothing was spent.
        """
        with nothing_spent():
            email = judged.words.get("email")
            assets = await self._images.upload(judged.images, email, default=self._default, tell=tell)
        request = VideoRequest(**{**judged.words, **assets.refs})
        if self._default and not judged.images and not request.email:
            request = request.model_copy(update={"email": self._default})
        return request, assets


@contextmanager
def nothing_spent() -> Iterator[None]:
    """Says so in the errors of what is done before an order."""
    try:
        yield
    except LumaError as error:
        if NO_MONEY not in error.message:
            error.message += f" {NO_MONEY}"
        raise
