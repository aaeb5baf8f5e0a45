"""What the page of the panel does: it sends a picture in parts, and lets the server upload it."""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from PIL import Image
from tests.results import read_result

if TYPE_CHECKING:
    from mcp import Client

PART = 100_000
"""Bytes of a part. The panel learns from the server how many there may be."""
_IDS = count(1)


def new_id() -> str:
    """An id of 32 hexadecimal digits, as a page makes one."""
    return hashlib.sha256(str(next(_IDS)).encode()).hexdigest()[:32]


def draw_halves(size: tuple[int, int] = (80, 40), form: str = "PNG", *, orientation: int = 1, **options: Any) -> bytes:
    """A picture whose left half is red and whose right half is blue, as it is stored."""
    image = Image.new("RGB", size, "red")
    image.paste("blue", (size[0] // 2, 0, *size))
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    image.save(file, form, exif=exif, **options)
    return file.getvalue()


def draw_noise(side: int) -> bytes:
    """A picture of several parts: noise cannot be compressed."""
    file = io.BytesIO()
    Image.effect_noise((side, side), 90).save(file, "PNG")
    return file.getvalue()


@dataclass
class Panel:
    """One upload of a page."""

    client: Client
    upload: str

    @classmethod
    def open(cls, client: Client) -> Panel:
        return cls(client, new_id())

    async def call(self, *, pictures: int = 0, **arguments: Any) -> dict[str, Any]:
        """Call the page's tool; what it answers."""
        result = await self.client.call_tool("upload_picture", {"upload": self.upload, **arguments})
        assert not result.is_error, result.content
        return read_result(result, pictures=pictures)[1]

    async def error(self, **arguments: Any) -> dict[str, Any]:
        """Call the page's tool, which refuses; the error."""
        result = await self.client.call_tool("upload_picture", {"upload": self.upload, **arguments})
        assert result.is_error, result.content
        text, content = read_result(result)
        error: dict[str, Any] = content["error"]
        assert error["message"] in text
        assert (error["charged"], "Nothing was charged." in error["message"]) == ("no", True)
        return error

    async def send_part(self, offset: int, data: bytes) -> int:
        """Send one part; how many bytes the server has then."""
        answer = await self.call(offset=offset, data=base64.b64encode(data).decode())
        assert answer.keys() == {"state", "received"}
        assert answer["state"] == "receiving"
        return int(answer["received"])

    async def count_received(self) -> int:
        """How many bytes the server has."""
        return await self.send_part(0, b"")

    async def send(self, data: bytes, part: int = PART) -> None:
        """Send all parts."""
        sent = 0
        while sent < len(data):
            received = await self.send_part(sent, data[sent : sent + part])
            assert received == min(len(data), sent + part)
            sent = received

    async def finish(self, data: bytes, use_as: str = "image_start", **arguments: Any) -> dict[str, Any]:
        """Let the server upload what was sent."""
        return await self.call(pictures=1, **self.build_end(data, use_as), **arguments)

    def build_end(self, data: bytes, use_as: str = "image_start") -> dict[str, Any]:
        """The arguments that end an upload."""
        digest = hashlib.sha256(data).hexdigest()
        return {"action": "finish", "size": len(data), "sha256": digest, "use_as": use_as}
