"""Upload a picture as the page of the panel does: send it in parts, then let the server upload it."""

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
"""Size of a part in bytes. The page gets the limit from the server."""
_IDS = count(1)


def new_id() -> str:
    """Create an id of 32 hexadecimal digits, as the page does."""
    return hashlib.sha256(str(next(_IDS)).encode()).hexdigest()[:32]


def draw_halves(size: tuple[int, int] = (80, 40), form: str = "PNG", *, orientation: int = 1, **options: Any) -> bytes:
    """Draw a picture whose stored pixels are red on the left and blue on the right."""
    image = Image.new("RGB", size, "red")
    image.paste("blue", (size[0] // 2, 0, *size))
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    image.save(file, form, exif=exif, **options)
    return file.getvalue()


def draw_noise(side: int) -> bytes:
    """Draw a picture that needs several parts, because noise does not compress."""
    file = io.BytesIO()
    Image.effect_noise((side, side), 90).save(file, "PNG")
    return file.getvalue()


@dataclass
class Panel:
    """One upload through the page."""

    client: Client
    upload: str

    @classmethod
    def open(cls, client: Client) -> Panel:
        return cls(client, new_id())

    async def call(self, *, pictures: int = 0, **arguments: Any) -> dict[str, Any]:
        """Call `upload_picture` and return its structured content."""
        result = await self.client.call_tool("upload_picture", {"upload": self.upload, **arguments})
        assert not result.is_error, result.content
        return read_result(result, pictures=pictures)[1]

    async def error(self, **arguments: Any) -> dict[str, Any]:
        """Call `upload_picture` and return its error."""
        result = await self.client.call_tool("upload_picture", {"upload": self.upload, **arguments})
        assert result.is_error, result.content
        text, content = read_result(result)
        error: dict[str, Any] = content["error"]
        assert error["message"] in text
        assert (error["charged"], "Nothing was charged." in error["message"]) == ("no", True)
        return error

    async def send_part(self, offset: int, data: bytes) -> int:
        """Send one part and return how many bytes the server has received."""
        answer = await self.call(offset=offset, data=base64.b64encode(data).decode())
        assert answer.keys() == {"state", "received"}
        assert answer["state"] == "receiving"
        return int(answer["received"])

    async def count_received(self) -> int:
        """Get how many bytes the server has received."""
        return await self.send_part(0, b"")

    async def send(self, data: bytes, part: int = PART) -> None:
        """Send all parts."""
        sent = 0
        while sent < len(data):
            received = await self.send_part(sent, data[sent : sent + part])
            assert received == min(len(data), sent + part)
            sent = received

    async def finish(self, data: bytes, use_as: str = "image_start", **arguments: Any) -> dict[str, Any]:
        """Let the server upload the picture that was sent."""
        return await self.call(pictures=1, **self.build_end(data, use_as), **arguments)

    def build_end(self, data: bytes, use_as: str = "image_start") -> dict[str, Any]:
        """Build the arguments of the call that ends an upload."""
        digest = hashlib.sha256(data).hexdigest()
        return {"action": "finish", "size": len(data), "sha256": digest, "use_as": use_as}
