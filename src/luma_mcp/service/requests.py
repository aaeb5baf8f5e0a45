"""From a caller's params to a request that the API accepts, with its images read, and later uploaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import anyio
import anyio.to_thread

from luma_mcp.api.protocol import Account, VideoApi, VideoRequest
from luma_mcp.catalog.models import FRAME_IMAGES, INHERITED, Catalog, ClipInput
from luma_mcp.catalog.validate import MAX_SHOWN, shorten, validate
from luma_mcp.errors import (
    AccountSession,
    Forbidden,
    ImageRemedy,
    InvalidArguments,
    LumaError,
    NotFound,
    Problem,
    ProblemCode,
)
from luma_mcp.journal.protocol import Journal
from luma_mcp.media.clips import PyAvMissing
from luma_mcp.media.decoder import Decoder
from luma_mcp.media.images import NormalizedImage
from luma_mcp.media.safe_http import SafeHttpClient
from luma_mcp.media.sources import (
    ForeignId,
    ImageError,
    Source,
    SourceKind,
    find_file,
    parse_source,
    read_data_uri,
    read_file,
    show_path,
)
from luma_mcp.providers import PROVIDERS
from luma_mcp.service.clip_files import ClipFiles
from luma_mcp.service.earlier_clips import EarlierClip, EarlierClips, shape_difference

SHAPE_TOLERANCE = 0.06
"""Largest difference of shape, about 6 %, that is not reported: too little of the picture is cut off to notice."""
_NO_CHOICE = "choice of an account on this server"
ChoiceReason = Literal["earlier_clip", "picture"]
"""Why an option was chosen: as in the clip that is continued, or nearest to the picture's shape."""
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
        identity: the same for the same picture: the SHA-256 of its bytes. For an uploaded one, the SHA-256 of what was
            uploaded from this machine, or else its assetRef or file id.
        picture: what will be uploaded; None for an uploaded one, and for bytes that were uploaded before.
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
        """Whether it is an assetRef or a file id, so that nothing has to be uploaded."""
        return self.source.kind is SourceKind.ASSET


@dataclass(frozen=True, slots=True)
class ValidatedRequest:
    """A complete request without problems.

    Attributes:
        params: all parameters, the images as the caller wrote them.
        images: by parameter name, those of keyframes as `keyframes[0].image`.
        account: the stated one, or else the default one of the settings.
        chosen: why an option that was left out has its value, where that is not the default.
        continues: the jobid of the clip that this one continues.
        misfits: the width and height of images whose shape is not the video's, by parameter name.
        take: 1, or which one it is of several videos of the same request; each take is an order of its own.
    """

    params: Mapping[str, Any]
    images: Mapping[str, InputImage]
    account: str | None
    chosen: Mapping[str, ChoiceReason] = field(default_factory=dict)
    continues: str | None = None
    misfits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    take: int = 1

    @property
    def key(self) -> str:
        """Identify the order: two orders are the same if their params, pictures, account and take are.

        The journal stores this key, and processes of other versions compare it: its computation must not change.
        """
        identity: dict[str, Any] = {}
        for name, value in self.params.items():
            identity[name] = value.strip() if isinstance(value, str) else value
        for name, image in self.images.items():
            if name in identity:
                identity[name] = image.identity
        if "keyframes" in identity:
            keyframes: list[tuple[float, str]] = []
            for name, keyframe in list_keyframes(self.params):
                # Rounded, because times that are closer together than two frames are the same.
                keyframes.append((round(float(keyframe["seconds"]), 3), self.images[name].identity))
            # The order of keyframes has no meaning.
            identity["keyframes"] = sorted(keyframes)
        if self.account:
            identity["email"] = self.account
        if self.take > 1:
            identity["take"] = self.take
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class UploadedImages:
    """The assetRefs or file ids of one order, by parameter name, and the account that owns them, where it is known.

    `changes`: how a picture was changed before it was uploaded, by parameter name. `reused`: those of earlier uploads,
    which the API may have deleted early.
    """

    refs: dict[str, str] = field(default_factory=dict)
    account: str | None = None
    changes: Mapping[str, str] = field(default_factory=dict)
    reused: tuple[str, ...] = ()


@dataclass(slots=True)
class _Inputs:
    """The images of a request as they were read, and the clip that it extends. `errors`: why some could not be read."""

    images: dict[str, InputImage] = field(default_factory=dict)
    clip: EarlierClip | None = None
    errors: list[ImageError] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add_error(self, name: str, code: ProblemCode, value: str, error: ImageError) -> None:
        """Add why a parameter cannot be used."""
        problem = Problem(name, code, shorten_image(value), reason=error.reason, jobid=error.jobid)
        remedy = choose_remedy(error)
        if code == "unusable_clip" and remedy in ("other_job", "other_image"):
            remedy = "other_clip"
        self.errors.append(error)
        self.problems.append(replace(problem, remedy=remedy))


@dataclass(slots=True)
class RequestBuilder:
    """Validates params, reads their images, and uploads these when the order is placed.

    Attributes:
        folders: the folders whose files may be read; None for the user's home, none if callers may name no files.
        default_account: the account of orders that name none.
        decoder: converts pictures to what the API accepts.
        clips: opens the videos of earlier jobs.
        account_source: the API that lists the accounts; None: `api`. If `api` has none, accounts are never named.
    """

    api: VideoApi
    journal: Journal
    http: SafeHttpClient
    catalog: Catalog
    folders: Sequence[Path] | None
    default_account: str | None
    decoder: Decoder
    clips: ClipFiles
    account_source: VideoApi | None = None
    earlier_clips: EarlierClips = field(init=False)
    _accounts: VideoApi = field(init=False)
    # Whether callers may name accounts, and results may name them.
    _names_accounts: bool = field(init=False)

    def __post_init__(self) -> None:
        self._accounts = self.account_source or self.api
        self._names_accounts = self.api.features.accounts or not self._accounts.features.accounts
        self.earlier_clips = EarlierClips(self.clips, self.journal, self.http, self.catalog, self.decoder)

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
        found = [*problems]
        if "email" in params and not self._names_accounts:
            found.append(Problem("email", "not_needed", allowed=(_NO_CHOICE,)))
            params = {name: value for name, value in params.items() if name != "email"}
        validation = validate(self.catalog, params)
        found += validation.problems
        # An image that only conflicts with another parameter is read all the same, to report all problems at once.
        unreadable = {problem.field for problem in validation.problems if problem.code != "conflict"}
        with nothing_charged():
            inputs = await self._read_inputs(params, unreadable)
        images, clip = inputs.images, inputs.clip
        found += inputs.problems
        complete = validation.nearest
        if clip:
            params = {**params, "extend": clip.jobid}
            if complete and "extend" in complete:
                complete["extend"] = clip.jobid
                shape = clip.inherited["aspect_ratio"]
                if "aspect_ratio" in params and params["aspect_ratio"] != shape:
                    # The API cannot change the shape of a clip.
                    stated = shorten(params["aspect_ratio"])
                    problem = Problem("aspect_ratio", "conflict", stated, allowed=(shape,), conflicts_with=("extend",))
                    found.append(problem)
                    complete["aspect_ratio"] = shape
        if found or complete is None:
            suggestion = None
            # With an unusable image, the closest valid request is not known.
            if complete and not inputs.errors:
                kept = {name: complete[name] for name in params if name in complete}
                suggestion = await self._complete(kept, images, clip)
            rejection = InvalidArguments(
                found, suggestion=suggestion, alternatives=validation.alternatives, charged="no"
            )
            if len(found) == len(inputs.errors) and all(error.retryable for error in inputs.errors):
                rejection.retry = "later"
                rejection.jobid = next((error.jobid for error in inputs.errors if error.is_unfinished), None)
            raise rejection
        values, chosen = await self._choose(params, images, clip)
        complete = validate(self.catalog, {**params, **values}).nearest or complete
        continues = clip.jobid if clip else _find_start_job(params, images)
        account = None
        if self._accounts.features.accounts:
            account = complete.get("email") or self.default_account
        sizes = _list_frame_sizes(params, images)
        misfits = {name: size for name, size in sizes if not _has_shape(size, complete["aspect_ratio"])}
        return ValidatedRequest(complete, images, account, chosen, continues, misfits)

    async def _read_inputs(self, params: Mapping[str, Any], unreadable: Collection[str]) -> _Inputs:
        """Read all images and the clip of a request, even if some of them are unusable."""
        inputs = _Inputs()
        given = _list_images(self.catalog, params, unreadable)
        row = self.catalog.inputs.get("extend")
        extended = None
        if isinstance(row, ClipInput) and "extend" not in unreadable:
            extended = params.get("extend")
        if not given and extended is None:
            return inputs
        known_jobids = await self.journal.owned_jobids()
        provider = PROVIDERS[self.catalog.api]
        parse = partial(
            parse_source,
            provider=provider,
            is_jobid=known_jobids.__contains__,
            has_local_files=self.folders is None or len(self.folders) > 0,
        )
        for name, value in given:
            try:
                inputs.images[name] = await self._read_image(name, parse(value), inputs.images)
            except ForeignId as error:
                reason = f"{error.reason}; give the picture itself, or a link to it"
                inputs.add_error(name, "unusable_image", value, replace(error, reason=reason))
            except ImageError as error:
                inputs.add_error(name, "unusable_image", value, error)
        if isinstance(row, ClipInput) and extended is not None:
            try:
                inputs.clip = await self._find_clip(parse(extended), row)
            except ImageError as error:
                inputs.add_error("extend", "unusable_clip", extended, error)
        return inputs

    async def _choose(
        self, params: Mapping[str, Any], images: Mapping[str, InputImage], clip: EarlierClip | None
    ) -> tuple[dict[str, str], dict[str, ChoiceReason]]:
        """Choose what was left out from the clip that is continued, and from the picture, as far as that fits."""
        inherited: Mapping[str, Any] = {}
        if clip:
            inherited = clip.inherited
        elif jobid := _find_start_job(params, images):
            order = await self.journal.get_by_jobid(jobid)
            if order:
                inherited = order.request.to_dict()
        wanted: dict[str, tuple[str, ChoiceReason]] = {}
        for name in INHERITED:
            if name in inherited:
                wanted[name] = (inherited[name], "earlier_clip")
        for _, size in _list_frame_sizes(params, images):
            ratios = self.catalog.choices["aspect_ratio"].values
            wanted.setdefault("aspect_ratio", (min(ratios, key=partial(shape_difference, size)), "picture"))
        values: dict[str, str] = {}
        chosen: dict[str, ChoiceReason] = {}
        for name, (value, reason) in wanted.items():
            # In order of importance: a value that conflicts with an earlier one is left to the defaults.
            if name not in params and not validate(self.catalog, {**params, **values, name: value}).problems:
                values[name], chosen[name] = value, reason
        return values, chosen

    async def _complete(
        self, params: Mapping[str, Any], images: Mapping[str, InputImage], clip: EarlierClip | None
    ) -> dict[str, Any] | None:
        """Complete valid params, from those of the images that are in them and from the catalog."""
        kept = {name: image for name, image in images.items() if name.partition("[")[0] in params}
        if "extend" not in params:
            clip = None
        values, _ = await self._choose(params, kept, clip)
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
        refs = dict(uploaded.refs)
        if "keyframes" in params:
            keyframes: list[dict[str, Any]] = []
            for name, keyframe in list_keyframes(params):
                keyframes.append({**keyframe, "image": refs.pop(name)})
            params["keyframes"] = keyframes
        return VideoRequest.from_params(params | refs), uploaded

    async def upload_picture(
        self, name: str, picture: NormalizedImage, identity: str, email: str | None
    ) -> UploadedImages:
        """Upload a picture before its order, unless it was uploaded before; the arguments are those of `InputImage`.

        Args:
            name: the parameter that it is for.
            picture: what is uploaded.
            identity: as `InputImage` has it.
            email: the account, if it was stated.

        Raises:
            InvalidArguments: the account is not configured, or the API does not accept the picture.
            LumaError: the upload failed.
        """
        if email is not None and not self._names_accounts:
            raise InvalidArguments([Problem("email", "not_needed", allowed=(_NO_CHOICE,))])
        params = {} if email is None else {"email": email}
        image = InputImage(Source(SourceKind.DATA, ""), identity, picture, size=picture.size)
        return await self._upload_images(ValidatedRequest(params, {name: image}, email), _report_nothing)

    async def _read_image(self, name: str, source: Source, others: Mapping[str, InputImage]) -> InputImage:
        if source.kind is SourceKind.ASSET_OR_JOB:
            source = replace(source, kind=await self._resolve_id(source.text))
        match source.kind:
            case SourceKind.ASSET:
                await self._check_asset(source.text)
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
                data = await self.earlier_clips.fetch_frame(source.text, self._get_frames(name))
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

    def _get_frames(self, name: str) -> tuple[str, ...]:
        """Get the outputs, best first, that a jobid stands for in a parameter."""
        row = self.catalog.images.get(name)
        return row.frames if row else ("last_frame",)

    async def _resolve_id(self, text: str) -> SourceKind:
        """Find out whether an id is that of an uploaded image or of a job."""
        if await self.journal.digest_of_asset(text):
            return SourceKind.ASSET
        try:
            await self.api.get(text)
        except Forbidden:
            raise ImageError("names a job of another user", jobid=text) from None
        except (NotFound, InvalidArguments):
            return SourceKind.ASSET
        return SourceKind.JOB

    async def _check_asset(self, asset_ref: str) -> None:
        """Raise `ImageError` if the API says that an uploaded image cannot be used."""
        if not self.api.features.get_asset:
            return
        title = PROVIDERS[self.catalog.api].title
        try:
            asset = await self.api.get_asset(asset_ref)
        except (NotFound, InvalidArguments) as error:
            reason = f"is an id that {title} knows neither as a file nor as a job"
            if isinstance(error, NotFound) and error.unasked:
                reason = "is an id that none of your orders has; give the picture itself"
            if await self.journal.digest_of_asset(asset_ref):
                reason = f"is the id of a file that {title} no longer has; give the picture itself"
            raise ImageError(reason) from None
        if asset.failure_reason:
            raise ImageError(f"is the id of a file that {title} could not use ({asset.failure_reason})")

    async def _find_clip(self, source: Source, row: ClipInput) -> EarlierClip:
        if source.kind not in (SourceKind.JOB, SourceKind.ASSET_OR_JOB):
            raise ImageError(f"is not {row.expects}")
        return await self.earlier_clips.find(source.text, row)

    async def _upload_images(self, validated: ValidatedRequest, on_progress: ProgressCallback) -> UploadedImages:
        """Turn the images into assetRefs or file ids of one account, uploading as little as possible."""
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
            if ref is None and (ref := await self._find_upload(image.identity, account)):
                reused.append(ref)
            if ref is None:
                await on_progress("uploading", name)
                # The picture that was validated. Only bytes that were uploaded before have not been decoded yet.
                picture = picture or await self.decoder.normalize(image.data)
                ref = await self._upload(name, picture, account)
                await self.journal.record_asset(image.identity, account, ref, image.size)
            ref_by_picture[image.identity] = refs[name] = ref
            described = list(picture.changes) if picture else []
            if not image.source.is_exact:
                described.insert(0, f"read from {show_path(image.source.text)}")
            if described:
                changes[name] = ", ".join(described)
        return UploadedImages(refs, account, changes, tuple(reused))

    async def _find_upload(self, identity: str, account: str) -> str | None:
        """Find an earlier upload of a picture that can still be used."""
        ref = await self.journal.find_asset(identity, account)
        if ref is None or not self.api.features.get_asset:
            return ref
        try:
            asset = await self.api.get_asset(ref)
        except (NotFound, InvalidArguments):
            asset = None
        if asset and not asset.failure_reason:
            return ref
        await self.journal.forget_asset(ref)
        return None

    async def _upload(self, name: str, picture: NormalizedImage, account: str) -> str:
        """Upload a picture, and get its assetRef or file id.

        Raises:
            InvalidArguments: the API does not accept the picture; `name` is the field of its problem.
        """
        rejected = "was rejected by the API"
        try:
            asset = await self.api.upload(picture.data, picture.media_type, account)
        except InvalidArguments as error:
            error.problems = [Problem(name, "unusable_image", reason=rejected, remedy="other_image")]
            raise
        if asset.failure_reason:
            problem = Problem(name, "unusable_image", reason=rejected, remedy="other_image")
            raise InvalidArguments([problem], api_message=asset.failure_reason)
        return asset.asset_ref

    async def _resolve_account(
        self, stated: str | None, refs: Mapping[str, str], pictures: Mapping[str, InputImage]
    ) -> str | None:
        """Choose the account of an order: the stated one, or that of its assetRefs, or one with a free slot.

        Raises:
            InvalidArguments: the account is not configured, or the assetRefs belong to different accounts.
            NotFound, AccountSession: there is no usable account.
        """
        if not self._accounts.features.accounts:
            return ""
        accounts = await self._accounts.accounts()
        emails = tuple(account.email for account in accounts)
        if stated and pictures and stated not in emails:
            if not self._names_accounts:
                raise NotFound("any_account")
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
                if not self._names_accounts:
                    reason = "belongs to another account than the order; pass the picture itself instead"
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


async def _report_nothing(step: ProgressStep, detail: str | None = None, /) -> None:
    """Report no progress."""


def list_keyframes(params: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """List the keyframes of a request, each with the name of its image's field. Those of another type are left out."""
    keyframes = params.get("keyframes")
    found: list[tuple[str, Mapping[str, Any]]] = []
    if isinstance(keyframes, list):
        for place, keyframe in enumerate(keyframes):
            if isinstance(keyframe, Mapping):
                found.append((f"keyframes[{place}].image", keyframe))
    return found


def _list_images(catalog: Catalog, params: Mapping[str, Any], unreadable: Collection[str]) -> list[tuple[str, str]]:
    """List the images of a request by field, without those that cannot be read."""
    found = [(name, params[name]) for name in catalog.images if name in params and name not in unreadable]
    if "keyframes" in catalog.inputs and "keyframes" not in unreadable:
        for name, keyframe in list_keyframes(params):
            if name not in unreadable and name.removesuffix(".image") not in unreadable:
                found.append((name, keyframe["image"]))
    return found


def _find_start_job(params: Mapping[str, Any], images: Mapping[str, InputImage]) -> str | None:
    """Find the job whose last frame the clip begins with."""
    start = images.get("image_start")
    for name, keyframe in list_keyframes(params):
        if keyframe.get("seconds") == 0:
            start = images.get(name)
    if start and start.source.kind is SourceKind.JOB:
        return start.source.text
    return None


def shorten_image(value: str) -> str:
    """Shorten the value of an image so that it is still recognizable: keep the type of data, and the end of a path."""
    if value.lstrip().casefold().startswith("data:"):
        value = value.partition(",")[0]
    if len(value) <= MAX_SHOWN or "://" in value:
        return str(shorten(value))
    return f"…{value[1 - MAX_SHOWN :]}"


def choose_remedy(error: ImageError) -> ImageRemedy:
    """Choose what helps with an image or a video that cannot be used."""
    if error.is_unfinished:
        return "wait_for_job"
    if error.retryable:
        return "try_later"
    if isinstance(error, PyAvMissing):
        return "install_film"
    return "other_job" if error.jobid else "other_image"


def _list_frame_sizes(params: Mapping[str, Any], images: Mapping[str, InputImage]) -> list[tuple[str, tuple[int, int]]]:
    """List the sizes of the first and the last frame and of keyframes by time, as far as they are given and known."""
    names = [*FRAME_IMAGES]
    names += [name for name, _ in sorted(list_keyframes(params), key=lambda item: float(item[1]["seconds"]))]
    found: list[tuple[str, tuple[int, int]]] = []
    for name in names:
        image = images.get(name)
        if image and image.size:
            found.append((name, image.size))
    return found


def _has_shape(size: tuple[int, int], ratio: str) -> bool:
    return shape_difference(size, ratio) <= SHAPE_TOLERANCE


@contextmanager
def nothing_charged() -> Iterator[None]:
    """Mark the errors of steps before an order: these cost nothing."""
    try:
        yield
    except LumaError as error:
        error.charged = error.charged or "no"
        raise
