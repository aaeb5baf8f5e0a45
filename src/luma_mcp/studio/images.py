"""Images from wherever they are to assetRefs of one account, uploading as little as possible."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from luma_mcp.errors import NO_MONEY, InvalidArguments, NetworkError, NotFound, Problem
from luma_mcp.matrix import IMAGES
from luma_mcp.media.files import read_file
from luma_mcp.media.pictures import prepare
from luma_mcp.media.sources import Kind, Source, Unusable, parse_source, read_data_uri

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from luma_mcp.journal.journal import Journal
    from luma_mcp.luma.client import LumaClient
    from luma_mcp.luma.records import Media
    from luma_mcp.media.links import Links

FRAMES = {"image_start": ("last_frame",), "image_end": ("last_frame",), "image_character": ("thumbnail", "last_frame")}
"""What a jobid stands for, by parameter: a film goes on from the last frame, and two clips can end alike; a character
is taken from the thumbnail, or if there is none, from the last frame."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image that was found. `data`: its bytes, None for an assetRef; `identity`: the same for the same picture."""

    source: Source
    identity: str
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Assets:
    """The assetRefs of one order.

    `account`: theirs, where it is known; `changes`: what was done to which picture; `reused`: those that were there
    already, and may have expired all the same.
    """

    refs: Mapping[str, str] = field(default_factory=dict)
    account: str | None = None
    changes: Mapping[str, str] = field(default_factory=dict)
    reused: tuple[str, ...] = ()


class Images:
    """Reads and uploads images.

    Args:
        luma: the API.
        journal: knows what was uploaded before.
        links: reads links.
        folders: those whose files may be read.
    """

    def __init__(self, luma: LumaClient, journal: Journal, *, links: Links, folders: Sequence[Path]) -> None:
        self._luma = luma
        self._journal = journal
        self._links = links
        self._folders = folders

    def parsed(self, words: Mapping[str, Any]) -> tuple[dict[str, Source], list[Problem]]:
        """What the image parameters among the words mean, and a problem for each that is nothing an image can be."""
        found: dict[str, Source] = {}
        faults: dict[str, Unusable] = {}
        for name in (n for n in IMAGES if isinstance(words.get(n), str)):
            try:
                found[name] = parse_source(words[name], is_jobid=lambda text: self._journal.of_job(text) is not None)
            except Unusable as fault:
                faults[name] = fault
        return found, _problems(faults)

    async def read(self, sources: Mapping[str, Source]) -> dict[str, Image]:
        """The images themselves. Nothing is uploaded yet.

        Raises:
            InvalidArguments: with a problem for each that cannot be used.
            LumaError: the API or a site could not be reached.
        """
        found: dict[str, Image] = {}
        faults: dict[str, Unusable] = {}
        for name, source in sources.items():
            try:
                found[name] = await self._read(name, source)
            except Unusable as fault:
                faults[name] = fault
        _raise(faults)
        return found

    async def uploaded(self, images: Mapping[str, Image], account: str | None, *, default: str | None) -> Assets:
        """The images as assetRefs of one account.

        Args:
            images: what `read` found.
            account: the one that the caller named.
            default: the one to use where none was named.

        Raises:
            InvalidArguments: they are of different accounts, or a picture cannot be used; nothing was uploaded.
        """
        new = {name: image for name, image in images.items() if image.data is not None}
        refs = {name: image.source.text for name, image in images.items() if image.data is None}
        if not new:
            return Assets(refs, account)
        chosen = await self._account(account or default, refs, new)
        reused = {n: ref for n, i in new.items() if (ref := self._journal.assets.find(i.identity, chosen))}
        pictures = {}
        faults: dict[str, Unusable] = {}
        for name, image in new.items():
            if name not in reused and image.data is not None:
                try:
                    pictures[name] = await anyio.to_thread.run_sync(prepare, image.data)
                except Unusable as fault:
                    faults[name] = fault
        _raise(faults)
        changes = {}
        for name, picture in pictures.items():
            identity = new[name].identity
            # The same picture may be both the first frame and the last.
            ref = self._journal.assets.find(identity, chosen)
            if ref is None:
                ref = (await self._luma.upload(picture.data, picture.media_type, chosen)).asset_ref
                self._journal.assets.uploaded(identity, chosen, ref)
            refs[name] = ref
            if picture.changes:
                changes[name] = ", ".join(picture.changes)
        return Assets(refs | reused, chosen, changes, tuple(reused.values()))

    async def _read(self, name: str, source: Source) -> Image:
        if source.kind is Kind.ASSET:
            return Image(source, self._journal.assets.digest_of(source.text) or source.text)
        if source.kind is Kind.LINK:
            data = await self._links.fetch(source.text)
        elif source.kind is Kind.FILE:
            data = await anyio.to_thread.run_sync(read_file, source.text, self._folders)
        elif source.kind is Kind.DATA:
            data = await anyio.to_thread.run_sync(read_data_uri, source.text)
        else:
            data = await self._links.fetch((await self._frame(name, source.text)).url)
        return Image(source, sha256(data).hexdigest(), data)

    async def _frame(self, name: str, jobid: str) -> Media:
        """The picture of an earlier video that stands for it."""
        try:
            job = await self._luma.get(jobid)
        except (NotFound, InvalidArguments):
            raise Unusable("names a job that the API does not know, or no longer; give its saved picture") from None
        if job.state == "running":
            raise Unusable("names a video that is still being made; wait for it with get_job, then order this")
        frames = [frame for part in FRAMES[name] if (frame := getattr(job.outputs, part))]
        if not frames:
            raise Unusable(f"names a job without a picture to use ({job.status})")
        return frames[0]  # type: ignore[no-any-return]

    async def _account(self, wanted: str | None, refs: Mapping[str, str], new: Mapping[str, Image]) -> str:
        """The account to upload to: the one that is wanted, else that of the assetRefs, else that with most room."""
        if wanted and not refs:
            return wanted
        accounts = await self._luma.accounts()
        emails = [account.email for account in accounts]
        owners = {name: owner for name, ref in refs.items() if (owner := self._owner(ref, emails))}
        for name, owner in owners.items():
            other = wanted or next(iter(owners.values()))
            if owner != other:
                message = (
                    f"{name} is an asset of the account {owner}, but the order is for {other}, and an order can use "
                    f'one account only; pass email "{owner}", or the image itself in place of the assetRef.'
                )
                raise InvalidArguments(NO_MONEY, problems=[Problem(name, refs[name], message)])
        if wanted or owners:
            return wanted or next(iter(owners.values()))
        usable = [account for account in accounts if not account.error]
        if not usable:
            why = "has a valid session" if accounts else "is configured at useapi.net"
            raise NotFound(f"No Luma account {why}, so images cannot be uploaded: its owner must add it there.")
        has = {a.email: sum(bool(self._journal.assets.find(i.identity, a.email)) for i in new.values()) for a in usable}
        return max(usable, key=lambda account: (account.free_slots, has[account.email])).email

    def _owner(self, asset_ref: str, emails: Sequence[str]) -> str | None:
        """The account of an assetRef: as it was uploaded from here, else the one whose address stands in it."""
        return self._journal.assets.account_of(asset_ref) or next(
            (email for email in emails if f"-email:{email}-" in asset_ref), None
        )


def _raise(faults: Mapping[str, Unusable]) -> None:
    """What cannot be used, all at once."""
    if not faults:
        return
    if all(fault.passing for fault in faults.values()):
        said = " ".join(f"{name} {fault.fault}." for name, fault in faults.items())
        raise NetworkError(f"{said} Try again in a moment. {NO_MONEY}")
    raise InvalidArguments(NO_MONEY, problems=_problems(faults))


def _problems(faults: Mapping[str, Unusable]) -> list[Problem]:
    # The values are not repeated: a link can hold a secret, a data: URI is long.
    return [Problem(name, None, f"{name} {fault.fault}.") for name, fault in faults.items()]
