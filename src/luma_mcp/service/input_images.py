"""Images from wherever they are to assetRefs of one account, uploading as little as possible."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from luma_mcp.catalog.useapi import FRAMES, IMAGES
from luma_mcp.catalog.validate import either
from luma_mcp.errors import NO_MONEY, AccountSession, Forbidden, InvalidArguments, NetworkError, NotFound, Problem
from luma_mcp.media.images import Picture, prepare
from luma_mcp.media.local_files import read_file
from luma_mcp.media.sources import ImageError, Kind, Source, parse_source, read_data_uri

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from luma_mcp.api.protocol import Account, Media
    from luma_mcp.api.useapi.client import LumaClient
    from luma_mcp.journal.journal import Journal
    from luma_mcp.media.safe_http import SafeHttpClient

    Tell = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Image:
    """An image that was found.

    `identity`: the same for the same picture; `data`: its bytes, None for an assetRef; `picture`: what to upload,
    None where that was done before.
    """

    source: Source
    identity: str
    data: bytes | None = None
    picture: Picture | None = None


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

    def __init__(self, luma: LumaClient, journal: Journal, *, links: SafeHttpClient, folders: Sequence[Path]) -> None:
        self._luma = luma
        self._journal = journal
        self._links = links
        self._folders = folders
        # One at a time: a large picture takes a gigabyte while it is decoded.
        self._decoding = anyio.Lock()

    async def find(self, words: Mapping[str, Any]) -> tuple[dict[str, Image], dict[str, ImageError]]:
        """The images that the words name, ready to be uploaded; and what keeps the others from being used.

        Raises:
            LumaError: the API could not be asked for an earlier video.
        """
        found: dict[str, Image] = {}
        faults: dict[str, ImageError] = {}
        for name in (n for n in IMAGES if isinstance(words.get(n), str)):
            try:
                source = parse_source(words[name], is_jobid=lambda text: self._journal.of_job(text) is not None)
                found[name] = await self._read(name, source)
            except ImageError as fault:
                faults[name] = fault
        return found, faults

    async def upload(
        self, images: Mapping[str, Image], account: str | None, *, default: str | None, tell: Tell
    ) -> Assets:
        """The images as assetRefs of one account.

        Args:
            images: what `find` found.
            account: the one that the caller named.
            default: the one to use where none was named.
            tell: is told what is being done.

        Raises:
            InvalidArguments: they are of different accounts, or one is not configured; nothing was uploaded.
        """
        new = {name: image for name, image in images.items() if image.data is not None}
        refs = {name: image.source.text for name, image in images.items() if image.data is None}
        if not new and (len(refs) < 2 and not (refs and account)):
            return Assets(refs, account)
        chosen = await self._account(account or (default if new else None), refs, new)
        if not new or chosen is None:
            return Assets(refs, chosen)
        there = {i.identity: ref for i in new.values() if (ref := self._journal.assets.find(i.identity, chosen))}
        reused, changes = tuple(there.values()), dict[str, str]()
        for name, image in new.items():
            # The same picture may be both the first frame and the last.
            if image.identity not in there:
                await tell(f"Uploading {name}")
                there[image.identity] = await self._uploaded(image, chosen)
            refs[name] = there[image.identity]
            if image.picture and image.picture.changes:
                changes[name] = ", ".join(image.picture.changes)
        return Assets(refs, chosen, changes, reused)

    async def _uploaded(self, image: Image, account: str) -> str:
        picture = image.picture
        if picture is None:
            # Known from another account, or forgotten since.
            picture = await self._prepared(image.data or b"")
        asset = await self._luma.upload(picture.data, picture.media_type, account)
        self._journal.assets.uploaded(image.identity, account, asset.asset_ref)
        return asset.asset_ref

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
        identity = sha256(data).hexdigest()
        known = self._journal.assets.is_known(identity)
        return Image(source, identity, data, None if known else await self._prepared(data))

    async def _prepared(self, data: bytes) -> Picture:
        async with self._decoding:
            return await anyio.to_thread.run_sync(prepare, data)

    async def _frame(self, name: str, jobid: str) -> Media:
        """The picture of an earlier video that stands for it."""
        try:
            job = await self._luma.get(jobid)
        except (NotFound, InvalidArguments, Forbidden):
            raise ImageError(
                "names a job that the API does not know (any more) for this token; give a picture"
            ) from None
        if job.state == "running":
            raise ImageError("names a video that is still being made; wait for it with get_job, then order this")
        frames = [frame for part in FRAMES[name] if (frame := getattr(job.outputs, part))]
        if not frames:
            raise ImageError(f"names a job without a picture to use ({job.status})")
        return frames[0]  # type: ignore[no-any-return]

    async def _account(self, wanted: str | None, refs: Mapping[str, str], new: Mapping[str, Image]) -> str | None:
        """The account of an order: the one that is wanted, else that of the assetRefs, else that with most room."""
        accounts = await self._luma.accounts()
        emails = tuple(account.email for account in accounts)
        owners = {name: owner for name, ref in refs.items() if (owner := self._owner(ref, emails))}
        expected = wanted or next(iter(owners.values()), None)
        if wanted and new and wanted not in emails:
            fault = f'"{wanted}" is not a configured account; use {either(emails)}.'
            raise InvalidArguments(NO_MONEY, problems=[Problem("email", wanted, f"email {fault}", emails)])
        problems = [
            Problem(
                name,
                refs[name],
                f"{name} is an asset of the account {owner}, but the order is for {expected}, and an order can use one "
                f'account only; pass email "{owner}", or the picture itself in place of the assetRef.',
            )
            for name, owner in owners.items()
            if owner != expected
        ]
        if problems:
            raise InvalidArguments(NO_MONEY, problems=problems)
        return expected or (self._roomiest(accounts, new) if new else None)

    def _roomiest(self, accounts: Sequence[Account], new: Mapping[str, Image]) -> str:
        usable = [account for account in accounts if not account.error]
        if not accounts:
            raise NotFound("No Luma account is configured at useapi.net: its owner must add one.")
        if not usable:
            raise AccountSession(
                "Every Luma account has an error, most likely an expired session: its owner must add it again at "
                "useapi.net; waiting does not help."
            )
        has = {a.email: sum(bool(self._journal.assets.find(i.identity, a.email)) for i in new.values()) for a in usable}
        return max(usable, key=lambda account: (account.free_slots, has[account.email])).email

    def _owner(self, asset_ref: str, emails: Sequence[str]) -> str | None:
        """The account of an assetRef: as it was uploaded from here, else the one whose address stands in it."""
        return self._journal.assets.account_of(asset_ref) or next(
            (email for email in emails if f"-email:{email}-" in asset_ref), None
        )


def problems_of(faults: Mapping[str, ImageError]) -> list[Problem]:
    """What keeps images from being used. Their values are not repeated: a link can hold a secret, a data: URI is long.

    Raises:
        NetworkError: there is nothing else than what may pass.
    """
    if faults and all(fault.passing for fault in faults.values()):
        said = " ".join(f"{name} {fault.fault}." for name, fault in faults.items())
        raise NetworkError(f"{said} Try again in a moment. {NO_MONEY}")
    return [Problem(name, None, f"{name} {fault.fault}.") for name, fault in faults.items()]
