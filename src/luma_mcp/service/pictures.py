"""Pictures that a page in the chat sends in parts: joined, shown, cropped and uploaded, before there is an order."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import anyio.to_thread

from luma_mcp.api.protocol import VideoApi
from luma_mcp.errors import InvalidArguments, Moderated, Problem
from luma_mcp.journal.protocol import Journal
from luma_mcp.media.decoder import Decoder
from luma_mcp.media.images import LARGEST_UPLOAD, Crop, ImagePreview
from luma_mcp.media.sources import ImageError
from luma_mcp.service.requests import RequestBuilder

LARGEST_PART = 393_216
"""Maximum bytes of one part. Encoded as base64 in a request, it is within the limits of hosts and proxies."""
MOST_KEPT = 60_000_000
"""Bytes of all unfinished uploads of one tenant."""
_TOO_LARGE = f"is larger than {LARGEST_UPLOAD // 1_000_000} MB; scale it down first"
_CHANGED = "did not arrive as it was sent; send it again"


@dataclass(frozen=True, slots=True)
class UploadedPicture:
    """A picture that can be used in orders.

    Attributes:
        asset_ref: its assetRef or file id.
        account: the account that it belongs to; None if there is none, or the tenant may not name it.
        size: its width and height in pixels.
        changes: how it was changed before it was uploaded; empty if it was not.
        thumbnail: a small JPEG of it.
        is_new: whether it was uploaded now, rather than before.
    """

    asset_ref: str
    account: str | None
    size: tuple[int, int]
    changes: str
    thumbnail: bytes
    is_new: bool


@dataclass(slots=True)
class PictureUploads:
    """Receives the pictures of one tenant. An upload is known by an id of 32 hexadecimal digits that the page made."""

    api: VideoApi
    journal: Journal
    requests: RequestBuilder
    decoder: Decoder
    # Limits memory, since a picture is loaded as a whole, and keeps a repeated request from uploading it twice.
    _lock: anyio.Lock = field(default_factory=anyio.Lock)

    async def receive(self, upload: str, offset: int, data: bytes) -> int:
        """Keep a part that begins where the earlier ones end; how many bytes have arrived. Without data: only look.

        Raises:
            InvalidArguments: the picture is too large, or too many are unfinished. `retry` is "later" for the latter.
            JournalUnavailable: nothing can be kept now.
        """
        if offset + len(data) > LARGEST_UPLOAD:
            await self.journal.remove_parts(upload)
            raise _reject(_TOO_LARGE)
        received = await self.journal.add_part(upload, offset, data, most=MOST_KEPT)
        if received is None:
            problem = Problem("upload", "too_many_uploads")
            raise InvalidArguments([problem], retry="later")
        return received

    async def preview(self, upload: str) -> ImagePreview | None:
        """Build the preview of a picture that has arrived; None if nothing of it has.

        Raises:
            InvalidArguments: it cannot be used. Unless `retry` is "later", nothing of it is kept.
            JournalUnavailable: it cannot be read now.
        """
        async with self._lock:
            data = await self.journal.read_parts(upload)
            if not data:
                return None
            async with self._removing_unusable(upload):
                return await self.decoder.make_image_preview(data)

    async def finish(
        self, upload: str, size: int, use_as: str, *, digest: str | None, email: str | None, crop: Crop | None
    ) -> UploadedPicture | int:
        """Upload a picture to the right account; or how many of its bytes have arrived, if that is not all.

        Args:
            upload: its id.
            size: its length in bytes.
            use_as: the parameter that it is for.
            digest: its SHA-256 in hexadecimal, if the page can compute that.
            email: the account, if it was stated.
            crop: what is used of it; None: all.

        Raises:
            InvalidArguments: it cannot be used, or the account is unknown. What can never be used is not kept.
            LumaError: any other error of the upload. What has arrived is kept.
        """
        async with self._lock:
            data = await self.journal.read_parts(upload)
            if len(data) < size:
                return len(data)
            identity = await _compute_digest(data)
            if len(data) > size or digest not in (None, identity):
                await self.journal.remove_parts(upload)
                raise _reject(_CHANGED, is_passing=True)
            async with self._removing_unusable(upload):
                if crop:
                    picture = await self.decoder.crop(data, crop)
                    identity = await _compute_digest(picture.data)
                else:
                    picture = await self.decoder.normalize(data)
                preview = await self.decoder.make_image_preview(picture.data)
                uploaded = await self.requests.upload_picture(use_as, picture, identity, email)
            # Last, so that the page can go on if this is interrupted.
            await self.journal.remove_parts(upload)
        account = uploaded.account if self.api.features.accounts else None
        changes = ", ".join(picture.changes)
        is_new = not uploaded.reused
        return UploadedPicture(uploaded.refs[use_as], account, preview.size, changes, preview.data, is_new)

    async def discard(self, upload: str) -> None:
        """Remove what has arrived of a picture."""
        await self.journal.remove_parts(upload)

    @asynccontextmanager
    async def _removing_unusable(self, upload: str) -> AsyncIterator[None]:
        """Report in terms of the upload why the picture of a block cannot be used, and remove it if it never can."""
        try:
            yield
        except ImageError as error:
            if not error.retryable:
                await self.journal.remove_parts(upload)
            raise _reject(error.reason, is_passing=error.retryable) from None
        except Moderated as error:
            await self.journal.remove_parts(upload)
            error.rejected = "the picture"
            raise
        except InvalidArguments as error:
            if any(problem.code == "unusable_image" for problem in error.problems):
                await self.journal.remove_parts(upload)
                change = partial(replace, field="data", code="unusable_file", remedy=None)
                error.problems = list(map(change, error.problems))
            raise


async def _compute_digest(data: bytes) -> str:
    return await anyio.to_thread.run_sync(lambda: hashlib.sha256(data).hexdigest())


def _reject(reason: str, *, is_passing: bool = False) -> InvalidArguments:
    """Build the error about a picture that cannot be used; `is_passing`: whether it may be usable later."""
    problem = Problem("data", "unusable_file", reason=reason)
    return InvalidArguments([problem], retry="later" if is_passing else None)
