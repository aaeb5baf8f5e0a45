"""From a caller's params to a request that the API accepts, with its images read, and later uploaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from math import log
from pathlib import Path
from typing import Any, Literal, Protocol

import anyio
import anyio.to_thread

from luma_mcp.api.protocol import Account, VideoApi, VideoRequest
from luma_mcp.catalog.models import INHERITED, Catalog
from luma_mcp.catalog.validate import MAX_SHOWN, shorten, validate
from luma_mcp.errors import AccountSession, Forbidden, ImageRemedy, InvalidArguments, LumaError, NotFound, Problem
from luma_mcp.journal.protocol import Journal
from luma_mcp.media.decoder import Decoder
from luma_mcp.media.images import NormalizedImage
from luma_mcp.media.safe_http import SafeHttpClient
from luma_mcp.media.sources import (
    ImageError,
    Source,
    SourceKind,
    find_file,
    parse_source,
    read_data_uri,
    read_file,
    show_path,
)

SHAPE_TOLERANCE = 0.06
"""Up to this difference of shape, about 6 %, nothing of a picture is missed."""
ChoiceReason = Literal["earlier_clip", "picture"]
"""As in the clip that is continued; nearest to the picture's shape."""
ProgressStep = Literal["preparing", "uploading", "ordering", "waiting for a free slot"]


class ProgressCallback(Protocol):
    """Receives the step that begins; with the image's parameter name, or how many slots are in use."""

    async def __call__(self, step: ProgressStep, detail: str | None = None, /) -> None:
        """Report the step."""


@dataclass(frozen=True, slots=True)
class InputImage:
    """An image of a request, as it was read.

    Attributes:
        source: where it was.
        identity: the same for the same picture: the SHA-256 of its bytes. For an assetRef, the SHA-256 of what was
            uploaded from this machine, or else the assetRef itself.
        picture: what will be uploaded; None for an assetRef, and for bytes that were uploaded before.
        data: those bytes, in case they must be uploaded again.
        size: its width and height in pixels, if they are known.
    """

    source: Source
    identity: str
    picture: NormalizedImage | None = None
    data: bytes = b""
    size: tuple[int, int] | None = None

    @property
    def is_asset(self) -> bool:
        """Whether it is an assetRef, so that nothing has to be uploaded."""
        return self.source.kind is SourceKind.ASSET


@dataclass(frozen=True, slots=True)
class ValidatedRequest:
    """A complete request without problems.

    Attributes:
        params: all parameters, the images as the caller wrote them.
        images: by parameter name.
        account: the stated one, or else the default one of the settings.
        chosen: why an option that was left out has its value, where that is not the default.
        continues: the jobid of the clip that this one continues.
        misfits: the width and height of images whose shape is not the video's, by parameter name.
    """

    params: Mapping[str, Any]
    images: Mapping[str, InputImage]
    account: str | None
    chosen: Mapping[str, ChoiceReason] = field(default_factory=dict)
    continues: str | None = None
    misfits: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Identify the order: two orders are the same if their params, pictures and account are.

        The journal stores this key, and processes of other versions compare it: its computation must not change.
        """
        identity: dict[str, Any] = {}
        for name, value in self.params.items():
            identity[name] = value.strip() if isinstance(value, str) else value
        for name, image in self.images.items():
            identity[name] = image.identity
        if self.account:
            identity["email"] = self.account
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class UploadedImages:
    """The assetRefs of one order, by parameter name, and the account that owns them, where it is known.

    `changes`: how a picture was changed before it was uploaded, by parameter name. `reused`: assetRefs of earlier
    uploads, which the API may have deleted early.
    """

    refs: dict[str, str] = field(default_factory=dict)
    account: str | None = None
    changes: Mapping[str, str] = field(default_factory=dict)
    reused: tuple[str, ...] = ()


@dataclass(slots=True)
class RequestBuilder:
    """Validates params, reads their images, and uploads these when the order is placed.

    Attributes:
        folders: the folders whose files may be read; None for the user's home.
        default_account: the account of orders that name none.
        decoder: converts pictures to what the API accepts.
    """

    api: VideoApi
    journal: Journal
    http: SafeHttpClient
    catalog: Catalog
    folders: Sequence[Path] | None
    default_account: str | None
    decoder: Decoder

    async def validate(self, params: Mapping[str, Any], problems: Iterable[Problem] = ()) -> ValidatedRequest:
        """Validate what was stated, read the images, and complete the rest. Nothing is uploaded.

        Args:
            params: values by parameter name; images are anything that `media.sources` accepts.
            problems: what the caller found already, to be reported together with the rest.

        Raises:
            InvalidArguments: with all problems, and the closest valid request. `retry` is "later" if the only problem
                are images that could not be fetched just now, and `jobid` is a job that one of them waits for.
            LumaError: the API could not be asked for an earlier job.
        """
        validation = validate(self.catalog, params)
        found = [*problems, *validation.problems]
        # An image that only conflicts with another parameter is read all the same, to report all problems at once.
        unreadable = {problem.field for problem in validation.problems if problem.code != "conflict"}
        given = {name: params[name] for name in self.catalog.images if name in params and name not in unreadable}
        images: dict[str, InputImage] = {}
        image_errors: list[ImageError] = []
        if given:
            with nothing_charged():
                known_jobids = await self.journal.owned_jobids()
                for name, value in given.items():
                    try:
                        source = parse_source(value, is_jobid=known_jobids.__contains__)
                        images[name] = await self._read_image(name, source, images)
                    except ImageError as error:
                        image_errors.append(error)
                        shown = _shorten_image(value)
                        found.append(
                            Problem(
                                name,
                                "unusable_image",
                                shown,
                                reason=error.reason,
                                jobid=error.jobid,
                                remedy=_remedy(error),
                            )
                        )
        complete = validation.nearest
        if found or complete is None:
            suggestion = None
            # With an unusable image nobody knows what a valid request would be.
            if complete and not image_errors:
                suggestion = await self._complete({name: complete[name] for name in params if name in complete}, images)
            rejection = InvalidArguments(
                found, suggestion=suggestion, alternatives=validation.alternatives, charged="no"
            )
            if len(found) == len(image_errors) and all(error.retryable for error in image_errors):
                rejection.retry = "later"
                rejection.jobid = next((error.jobid for error in image_errors if error.is_unfinished), None)
            raise rejection
        values, chosen = await self._choose(params, images)
        complete = validate(self.catalog, {**params, **values}).nearest or complete
        start = images.get("image_start")
        continues = start.source.text if start and start.source.kind is SourceKind.JOB else None
        account = complete.get("email") or self.default_account
        misfits = {name: size for name, size in _frame_sizes(images) if not _has_shape(size, complete["aspect_ratio"])}
        return ValidatedRequest(complete, images, account, chosen, continues, misfits)

    async def _choose(
        self, params: Mapping[str, Any], images: Mapping[str, InputImage]
    ) -> tuple[dict[str, str], dict[str, ChoiceReason]]:
        """Choose what was left out from the clip that is continued, and from the picture, as far as that fits."""
        wanted: dict[str, tuple[str, ChoiceReason]] = {}
        start = images.get("image_start")
        if start and start.source.kind is SourceKind.JOB:
            order = await self.journal.get_by_jobid(start.source.text)
            earlier = order.request.to_dict() if order else {}
            wanted = {name: (earlier[name], "earlier_clip") for name in INHERITED if name in earlier}
        for _, size in _frame_sizes(images):
            ratios = self.catalog.choices["aspect_ratio"].values
            wanted.setdefault("aspect_ratio", (min(ratios, key=partial(_shape_difference, size)), "picture"))
        values: dict[str, str] = {}
        chosen: dict[str, ChoiceReason] = {}
        for name, (value, reason) in wanted.items():
            # In the order of importance: what would exclude an earlier one is left to the defaults.
            if name not in params and not validate(self.catalog, {**params, **values, name: value}).problems:
                values[name], chosen[name] = value, reason
        return values, chosen

    async def _complete(self, params: Mapping[str, str], images: Mapping[str, InputImage]) -> dict[str, str] | None:
        """Complete valid params, from those of the images that are in them and from the catalog."""
        kept = {name: image for name, image in images.items() if name in params}
        values, _ = await self._choose(params, kept)
        return validate(self.catalog, {**params, **values}).nearest

    async def build_request(
        self, validated: ValidatedRequest, on_progress: ProgressCallback
    ) -> tuple[VideoRequest, UploadedImages]:
        """Upload the images and build the request for the API.

        Raises:
            LumaError: an upload failed or the accounts do not match; nothing was charged.
        """
        params = dict(validated.params)
        uploaded = UploadedImages()
        if validated.images:
            # The order runs on their account, whether or not it is named.
            with nothing_charged():
                uploaded = await self._upload_images(validated, on_progress)
        elif validated.account:
            params["email"] = validated.account
        return VideoRequest.from_params(params | uploaded.refs), uploaded

    async def _read_image(self, name: str, source: Source, others: Mapping[str, InputImage]) -> InputImage:
        match source.kind:
            case SourceKind.ASSET:
                digest = await self.journal.digest_of_asset(source.text)
                size = await self.journal.size_of_asset(source.text)
                return InputImage(source, digest or source.text, size=size)
            case SourceKind.FILE:
                path = await anyio.to_thread.run_sync(find_file, source.text, self.folders, source.untrimmed)
                data = await anyio.to_thread.run_sync(read_file, path, self.folders)
                source = replace(source, text=path, is_exact=path in (source.text, source.untrimmed))
            case SourceKind.DATA:
                data = await anyio.to_thread.run_sync(read_data_uri, source.text)
            case SourceKind.JOB:
                data = await self._fetch_frame(name, source.text)
            case SourceKind.LINK:
                data = await self.http.fetch(source.text)
        identity = await anyio.to_thread.run_sync(lambda: hashlib.sha256(data).hexdigest())
        for other in others.values():
            # One picture may be both the first and the last frame.
            if other.identity == identity and not other.is_asset:
                return InputImage(source, identity, other.picture, other.data, other.size)
        if await self.journal.is_known_asset(identity):
            # It was uploaded before, so it is usable and most likely need not be decoded.
            return InputImage(source, identity, data=data, size=await self.decoder.measure(data))
        picture = await self.decoder.normalize(data)
        return InputImage(source, identity, picture, size=picture.size)

    async def _fetch_frame(self, name: str, jobid: str) -> bytes:
        """Fetch the picture of an earlier job that its jobid stands for here."""
        try:
            job = await self.api.get(jobid)
        except Forbidden:
            raise ImageError("names a job of another user", jobid=jobid) from None
        except (NotFound, InvalidArguments):
            reason = "names a job that the API does not know for this token"
            if order := await self.journal.get_by_jobid(jobid):
                reason = "names a job that was deleted" if order.deleted else "names a job that Luma no longer has"
            raise ImageError(reason, jobid=jobid) from None
        if job.state == "running":
            reason = "names a job that is still running; order this video when that one has finished"
            raise ImageError(reason, retryable=True, jobid=jobid, is_unfinished=True)
        for part in self.catalog.images[name].frames:
            if frame := getattr(job.files, part):
                try:
                    return await self.http.fetch(frame.url)
                except ImageError as error:
                    reason = f"names a job whose {part.replace('_', ' ')} {error.reason}"
                    raise ImageError(reason, retryable=error.retryable, jobid=jobid) from None
        reason = f"names a job without a usable picture ({job.status})"
        if not job.is_video:
            reason = f"names a job of type {job.kind}, not a video"
        elif job.state == "failed":
            reason = "names a job that failed, so there is no picture of it"
        raise ImageError(reason, jobid=jobid)

    async def _upload_images(self, validated: ValidatedRequest, on_progress: ProgressCallback) -> UploadedImages:
        """Turn the images into assetRefs of one account, uploading as little as possible."""
        refs = {name: image.source.text for name, image in validated.images.items() if image.is_asset}
        pictures = {name: image for name, image in validated.images.items() if not image.is_asset}
        stated = validated.params.get("email")
        if not pictures and len(refs) + bool(stated) < 2:
            # At most one account is involved, so there is nothing to compare.
            return UploadedImages(refs, stated)
        if pictures:
            stated = stated or self.default_account
        account = await self._resolve_account(stated, refs, pictures)
        if not pictures or account is None:
            return UploadedImages(refs, account)

        changes: dict[str, str] = {}
        reused: list[str] = []
        ref_by_picture: dict[str, str] = {}
        for name, image in pictures.items():
            picture = image.picture
            ref = ref_by_picture.get(image.identity)
            if ref is None and (ref := await self.journal.find_asset(image.identity, account)):
                reused.append(ref)
            if ref is None:
                await on_progress("uploading", name)
                # The picture that was validated. Only bytes that were uploaded before have not been decoded yet.
                picture = picture or await self.decoder.normalize(image.data)
                asset = await self.api.upload(picture.data, picture.media_type, account)
                ref = asset.asset_ref
                await self.journal.record_asset(image.identity, account, ref, image.size)
            ref_by_picture[image.identity] = refs[name] = ref
            described = list(picture.changes) if picture else []
            if not image.source.is_exact:
                described.insert(0, f"read from {show_path(image.source.text)}")
            if described:
                changes[name] = ", ".join(described)
        return UploadedImages(refs, account, changes, tuple(reused))

    async def _resolve_account(
        self, stated: str | None, refs: Mapping[str, str], pictures: Mapping[str, InputImage]
    ) -> str | None:
        """Choose the account of an order: the stated one, or that of its assetRefs, or one with a free slot.

        Raises:
            InvalidArguments: the account is not configured, or the assetRefs belong to different accounts.
            NotFound, AccountSession: there is no usable account.
        """
        if not self.api.features.accounts:
            return ""
        accounts = await self.api.accounts()
        emails = tuple(account.email for account in accounts)
        if stated and pictures and stated not in emails:
            raise InvalidArguments([Problem("email", "unknown_account", stated, allowed=emails)])
        expected = stated
        problems: list[Problem] = []
        for name, ref in refs.items():
            # From the journal if it was uploaded here, else from the assetRef, which contains it.
            recorded = await self.journal.account_of_asset(ref)
            owner = recorded or next((email for email in emails if f"-email:{email}-" in ref), None)
            expected = expected or owner
            if owner and owner != expected:
                reason = (
                    f"is an asset of the account {owner}, but the order is for {expected}, and an order can use only "
                    f'one account; pass email "{owner}", or the picture itself instead of the assetRef'
                )
                problems.append(Problem(name, "account_mismatch", ref, reason=reason))
        if problems:
            raise InvalidArguments(problems)
        if expected or not pictures:
            return expected
        return await self._choose_account(accounts, pictures)

    async def _choose_account(self, accounts: Sequence[Account], pictures: Mapping[str, InputImage]) -> str:
        """Choose the account with the most free slots, and among equals the one that has most of the pictures."""
        if not accounts:
            raise NotFound("any_account")
        ranks: dict[str, tuple[int, int]] = {}
        for account in accounts:
            if not account.error:
                refs = [await self.journal.find_asset(image.identity, account.email) for image in pictures.values()]
                ranks[account.email] = (account.free_slots, len(refs) - refs.count(None))
        if not ranks:
            unusable = AccountSession()
            unusable.all_accounts = True
            raise unusable
        return max(ranks, key=ranks.__getitem__)


def _shorten_image(value: str) -> str:
    """Shorten the value of an image to what it is recognized by: of data its type, of a path its end."""
    if value.lstrip().casefold().startswith("data:"):
        value = value.partition(",")[0]
    if len(value) <= MAX_SHOWN or "://" in value:
        return str(shorten(value))
    return f"…{value[1 - MAX_SHOWN :]}"


def _remedy(error: ImageError) -> ImageRemedy:
    if error.is_unfinished:
        return "wait_for_job"
    if error.retryable:
        return "try_later"
    return "other_job" if error.jobid else "other_image"


def _frame_sizes(images: Mapping[str, InputImage]) -> list[tuple[str, tuple[int, int]]]:
    """The sizes of the first and the last frame, as far as they are given and known."""
    frames = [(name, images[name]) for name in ("image_start", "image_end") if name in images]
    return [(name, image.size) for name, image in frames if image.size]


def _shape_difference(size: tuple[int, int], ratio: str) -> float:
    """How far a size is from an aspect ratio such as `16:9`; 0 for the same shape."""
    wide, _, high = ratio.partition(":")
    return abs(log(size[0] / size[1]) - log(int(wide) / int(high)))


def _has_shape(size: tuple[int, int], ratio: str) -> bool:
    return _shape_difference(size, ratio) <= SHAPE_TOLERANCE


@contextmanager
def nothing_charged() -> Iterator[None]:
    """Mark the errors of steps before an order: these cost nothing."""
    try:
        yield
    except LumaError as error:
        error.charged = error.charged or "no"
        raise
