"""Make the clips of simulated jobs: a drawn landscape, in the size and length that was ordered. Needs PyAV (`av`).

The prompt of a clip decides what it shows, and its job how that is arranged. Pictures that were ordered as frames are
shown in full in these frames; around them, the landscape fades into them.
"""

from __future__ import annotations

import io
import random
import re
import tempfile
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import pi, sin, sqrt
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, cast

from PIL import Image, ImageColor, ImageDraw, ImageFont, ImageOps

from luma_mcp.simulator.state import FRAME_RATE

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.filter import Graph
    from av.filter.context import FilterContext
    from av.video.stream import VideoStream

CACHE_BYTES = 64_000_000
"""Bytes of files that are kept. Files beyond that are made again when they are wanted."""
# Lines of a picture in 16:9; in other shapes, a clip has about as many pixels. Luma's own sizes are not documented.
_LINES = {"draft": 360, "360p": 360, "540p": 540, "720p": 720, "1080p": 1080}
_DEFAULT_LINES = 720
# Both sides are multiples of it: encoders halve them for colors, and 540 lines must be possible.
_STEP = 4
# How far the ridges extend beyond the picture, as a share of its width: they move by so much at most.
_PAN = 0.25
_SKY_DRIFT = 0.1
_FADE_FRAMES = 24
"""For how long a picture fades in and out; shorter if there is another one nearby."""
_SUPERSAMPLING = 2
# Where the sun's path can begin and end, and where the sun has set.
_LEFT, _RIGHT, _HIGH, _BELOW = (0.1, 0.4), (0.6, 0.9), (0.1, 0.45), 0.62
_KEYFRAME_INTERVAL = 48
# One x264 and one x265 preset for all sizes: a clip of 5 s in 540p takes less than a second, 10 s in 1080p about five.
_SDR_CODEC = {"preset": "ultrafast", "crf": "20", "g": str(_KEYFRAME_INTERVAL)}
_HDR_CODEC = {
    "preset": "ultrafast",
    "crf": "20",
    "x265-params": (
        f"log-level=none:keyint={_KEYFRAME_INTERVAL}:bframes=0:hdr10=1:max-cll=1000,200:"
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    ),
}
# ITU-T H.273: color primaries, transfer function and matrix of BT.709, and of HDR10 (BT.2020, PQ).
_SDR_TAGS, _HDR_TAGS = (1, 1, 1), (9, 16, 9)
_LIMITED_RANGE = 1
_TO_SDR = ("scale=out_color_matrix=bt709:out_range=tv", "format=yuv420p")
# From sRGB to light, where 1 is white (203 cd/m², ITU-R BT.2408). What is brighter than 0.6 becomes brighter than it
# looks in SDR, up to 1000 cd/m²: the reverse of how players compress highlights. 65535 stands for 1000 cd/m².
_TO_LIGHT = (
    "st(0,val/maxval);st(0,if(lte(ld(0),0.04045),ld(0)/12.92,pow((ld(0)+0.055)/1.055,2.4)));"
    "st(0,if(lt(ld(0),0.6),ld(0),0.6-0.4*log(max(1-(ld(0)-0.6)/0.4,0.00001))));maxval*min(ld(0)*203/1000,1)"
)
# From the primaries of BT.709 to those of BT.2020 (ITU-R BT.2087).
_TO_BT2020 = "rr=0.6274:rg=0.3293:rb=0.0433:gr=0.0691:gg=0.9195:gb=0.0114:br=0.0164:bg=0.0880:bb=0.8956"
# SMPTE ST 2084, for light as a share of 10,000 cd/m².
_TO_PQ = "st(0,pow(val/maxval/10,0.1593017578125));maxval*pow((0.8359375+18.8515625*ld(0))/(1+18.6875*ld(0)),78.84375)"
_TO_HDR = (
    "format=gbrp16le",
    f"lutrgb=r='{_TO_LIGHT}':g='{_TO_LIGHT}':b='{_TO_LIGHT}'",
    f"colorchannelmixer={_TO_BT2020}",
    f"lutrgb=r='{_TO_PQ}':g='{_TO_PQ}':b='{_TO_PQ}'",
    "scale=out_color_matrix=bt2020:out_range=tv",
    "format=yuv420p10le",
)

# Colors of the zenith, the horizon, the farthest and the nearest ridge, and the sun.
_DAYS = (
    ("#3d7ea6", "#ffe3c2", "#7d9fb0", "#1e3a4a", "#fff3d0"),
    ("#6b5aa8", "#ffb3a0", "#8a6a9e", "#2e2350", "#ffe7c4"),
    ("#5fb3a3", "#f5f0d8", "#86a88a", "#22403a", "#fffbe6"),
    ("#4a90d9", "#dff1ff", "#8db37c", "#2f5233", "#fffde8"),
    ("#8c9bab", "#e6ebef", "#93a3ad", "#39464f", "#ffffff"),
)
_EVENINGS = (
    ("#e8794a", "#ffd98f", "#b0615a", "#3b1f3a", "#fff0b8"),
    ("#c9577d", "#ffd0b5", "#9b5a78", "#40203a", "#ffeccf"),
    ("#d99a3d", "#fff0c4", "#c28a4e", "#5a3a1e", "#fffbe0"),
)
_NIGHTS = (
    ("#060b26", "#2b4a7d", "#24406b", "#050914", "#e9efff"),
    ("#12062b", "#5a2f74", "#43265f", "#0d0618", "#ffe6f2"),
    ("#031a1f", "#1f5c66", "#1b474f", "#020c0f", "#e4fffa"),
)

Point = tuple[float, float]
Outline = Callable[[random.Random, float, float], list[Point]]


def clip_size(resolution: str, aspect_ratio: str) -> tuple[int, int]:
    """Compute the width and height of a clip in pixels."""
    lines = _LINES.get(resolution, _DEFAULT_LINES)
    wide, high = map(int, aspect_ratio.split(":"))
    height = sqrt(lines * lines * 16 / 9 * high / wide)
    return _STEP * round(height * wide / high / _STEP), _STEP * round(height / _STEP)


@dataclass(frozen=True, slots=True)
class Shot:
    """What a clip shows.

    Attributes:
        prompt: decides about the landscape and its colors.
        seed: decides about its details.
        size: width and height in pixels.
        frame_count: frames, without those of `earlier`.
        pictures: files of pictures, by the number of the frame that shows it; -1 is the last.
        earlier: what the clip shows before.
    """

    prompt: str
    seed: str
    size: tuple[int, int]
    frame_count: int
    is_hdr: bool = False
    pictures: tuple[tuple[int, bytes], ...] = ()
    earlier: Shot | None = None

    @property
    def total_count(self) -> int:
        """All frames, with those of `earlier`."""
        return self.frame_count + (self.earlier.total_count if self.earlier else 0)


class Renderer:
    """Makes the files of shots when they are wanted, and keeps the last ones. Safe for threads."""

    def __init__(self, *, max_bytes: int = CACHE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._files: OrderedDict[tuple[Shot, str], bytes] = OrderedDict()
        self._files_lock = threading.Lock()
        # One file of each name at a time, made once for all who want it. Stills do not wait for videos.
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def get(self, shot: Shot, name: str) -> bytes:
        """Get a file of a shot. `name`: video.mp4, thumbnail.jpg or last_frame.jpg. Takes up to several seconds."""
        with self._files_lock:
            lock = self._locks[name]
        with lock:
            with self._files_lock:
                data = self._files.pop((shot, name), None)
            if data is None:
                data = render(shot, name)
            with self._files_lock:
                self._files[shot, name] = data
                while len(self._files) > 1 and sum(map(len, self._files.values())) > self._max_bytes:
                    self._files.popitem(last=False)
        return data


def render(shot: Shot, name: str) -> bytes:
    """Make a file of a shot. `name`: video.mp4, thumbnail.jpg or last_frame.jpg."""
    painter = Painter(shot, shot.size)
    if name == "video.mp4":
        return encode(painter, is_hdr=shot.is_hdr)
    number = 0
    if name == "last_frame.jpg":
        number = painter.frame_count - 1
    buffer = io.BytesIO()
    painter.draw(number).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


class Painter:
    """Draws the frames of a shot.

    Attributes:
        frame_count: all frames, with those of earlier shots.
    """

    def __init__(self, shot: Shot, size: tuple[int, int]) -> None:
        self.size = size
        self._own_count = shot.frame_count
        self._earlier: Painter | None = None
        self.frame_count = shot.frame_count
        self._pictures = dict(_decode_pictures(shot, size))
        if shot.earlier:
            self._earlier = Painter(shot.earlier, size)
            self.frame_count += self._earlier.frame_count
            self._pictures[0] = self._earlier.draw(self._earlier.frame_count - 1)
        self._reaches: dict[int, int] = {}
        for number in self._pictures:
            gaps = [abs(number - other) for other in self._pictures if other != number]
            self._reaches[number] = min([_FADE_FRAMES, *gaps])
        self._landscape = Landscape(shot.prompt, shot.seed, size)
        self._caption = draw_caption(shot.prompt, size)

    def draw(self, number: int) -> Image.Image:
        """Draw a frame."""
        own_number = number
        if self._earlier:
            if number < self._earlier.frame_count:
                return self._earlier.draw(number)
            own_number -= self._earlier.frame_count
        if own_number in self._pictures:
            return self._pictures[own_number]
        image = self._landscape.draw(own_number / max(self._own_count - 1, 1))
        image.paste(self._caption, (0, self.size[1] - self._caption.height), self._caption)
        for place, picture in self._pictures.items():
            share = 1 - abs(own_number - place) / self._reaches[place]
            if share > 0:
                image = Image.blend(image, picture, share)
        return image


def _decode_pictures(shot: Shot, size: tuple[int, int]) -> Iterator[tuple[int, Image.Image]]:
    """Decode the pictures of a shot, cut to its size. Those that cannot be decoded are left out."""
    for number, data in sorted(shot.pictures):
        with suppress(OSError, ValueError, Image.DecompressionBombError):
            picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
            yield number % shot.frame_count, ImageOps.fit(picture, size)


class Landscape:
    """A landscape whose ridges move at different speeds below a sky with a sun. Lengths are shares of the picture's."""

    def __init__(self, prompt: str, seed: str, size: tuple[int, int]) -> None:
        self._size = size
        width, height = size
        # The same prompt gives the same kind of place, so that takes are alike but not equal.
        theme, layout = random.Random(prompt), random.Random(f"{prompt} {seed}")  # noqa: S311
        outline = _choose_outline(prompt, theme)
        zenith, horizon, far, near, sun = map(ImageColor.getrgb, theme.choice(_choose_palettes(prompt)))
        gradient = Image.linear_gradient("L").resize((width, round(height * (1 + _SKY_DRIFT))))
        self._sky = ImageOps.colorize(gradient, zenith, horizon)
        self._sun_color = sun
        self._sun = _draw_sun(round(layout.uniform(0.05, 0.1) * min(size)))
        path = [(layout.uniform(*_LEFT), layout.uniform(*_HIGH)), (layout.uniform(*_RIGHT), layout.uniform(*_HIGH))]
        layout.shuffle(path)
        self._sun_path = path
        if _mentions(prompt, _SETTING):
            self._sun_path[1] = (path[1][0], _BELOW)
        self._is_mirrored = layout.random() < 0.5
        self._ridges: list[tuple[Image.Image, Image.Image, float]] = []
        for nearness, top in ((0.0, 0.5), (0.5, 0.62), (0.9, 0.76)):
            mask = _draw_ridge(outline(layout, top, nearness), (round(width * (1 + _PAN)), height))
            color = Image.blend(Image.new("RGB", (1, 1), far), Image.new("RGB", (1, 1), near), nearness)
            self._ridges.append((color.resize(mask.size), mask, 0.2 + 0.8 * nearness))

    def draw(self, time: float) -> Image.Image:
        """Draw it at a moment from 0 to 1."""
        width, height = self._size
        drift = round(time * _SKY_DRIFT * height)
        image = self._sky.crop((0, drift, width, drift + height))
        (from_x, from_y), (to_x, to_y) = self._sun_path
        x = (from_x + (to_x - from_x) * time) * width - self._sun.width / 2
        y = (from_y + (to_y - from_y) * time) * height - self._sun.height / 2
        image.paste(self._sun_color, (round(x), round(y)), self._sun)
        pan = time
        if self._is_mirrored:
            pan = 1 - time
        for ridge, mask, speed in self._ridges:
            # A picture as the source: with a color, this takes three times as long.
            image.paste(ridge, (-round(pan * speed * _PAN * width), height - mask.height), mask)
        return image


def _draw_sun(radius: int) -> Image.Image:
    """Draw the opacity of a disc with a glow around it."""
    side = 8 * radius
    glow = ImageOps.invert(Image.radial_gradient("L").resize((side, side)))
    # The gradient is not dark at the middle of an edge yet.
    glow = glow.point([max(0, value - 76) * 3 // 4 for value in range(256)])
    disc = Image.new("L", (side * _SUPERSAMPLING, side * _SUPERSAMPLING))
    middle, reach = side * _SUPERSAMPLING // 2, radius * _SUPERSAMPLING
    ImageDraw.Draw(disc).ellipse((middle - reach, middle - reach, middle + reach, middle + reach), 255)
    glow.paste(255, (0, 0), disc.reduce(_SUPERSAMPLING))
    return glow


def _draw_ridge(outline: Sequence[Point], size: tuple[int, int]) -> Image.Image:
    """Draw the opacity of what lies below an outline, from its highest point to the bottom of the picture."""
    top = max(0.0, min(y for _, y in outline) - 0.01)
    width, height = size[0] * _SUPERSAMPLING, round(size[1] * (1 - top)) * _SUPERSAMPLING
    points = [(x * width, (y - top) * size[1] * _SUPERSAMPLING) for x, y in outline]
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).polygon([(0, height), *points, (width, height)], 255)
    return mask.reduce(_SUPERSAMPLING)


def _outline_hills(rng: random.Random, top: float, nearness: float) -> list[Point]:
    """Round hills."""
    waves = [(rng.uniform(0.5, 1) * 0.06 / n, n * rng.uniform(1.5, 2.5), rng.uniform(0, 2 * pi)) for n in (1, 2, 4)]
    points: list[Point] = []
    for step in range(201):
        x = step / 200
        rise = sum(height * sin(2 * pi * rate * x + phase) for height, rate, phase in waves)
        points.append((x, top + rise + 0.03 * nearness))
    return points


def _outline_mountains(rng: random.Random, top: float, nearness: float) -> list[Point]:
    """Mountains with sharp peaks."""
    points: list[Point] = [(0.0, top + 0.1)]
    while points[-1][0] < 1:
        x = points[-1][0] + rng.uniform(0.02, 0.07) * (1 + nearness)
        rise = rng.uniform(0.03, 0.22) * (1 - 0.5 * nearness)
        points.append((x, top + 0.1 - rise * (len(points) % 2)))
    return points


def _outline_city(rng: random.Random, top: float, nearness: float) -> list[Point]:
    """Houses with flat roofs."""
    points: list[Point] = []
    x = 0.0
    while x < 1:
        width = rng.uniform(0.015, 0.05) * (1 + nearness)
        roof = top + 0.1 - rng.uniform(0.0, 0.25) * (1 - 0.4 * nearness)
        points += [(x, roof), (x + width, roof)]
        x += width
    return points


def _outline_forest(rng: random.Random, top: float, nearness: float) -> list[Point]:
    """Fir trees."""
    points: list[Point] = []
    x = 0.0
    while x < 1:
        width, height = rng.uniform(0.01, 0.02) * (1 + 2 * nearness), rng.uniform(0.08, 0.16) * (0.7 + nearness)
        ground = top + 0.1
        for share in (0.0, 0.33, 0.66):
            points.append((x + width * share / 2 * 1.2, ground - height * share))
            points.append((x + width * (share / 2 * 1.2 - 0.06), ground - height * share))
        points.append((x + width / 2, ground - height))
        for share in (0.66, 0.33, 0.0):
            points.append((x + width * (1 - share / 2 * 1.2 + 0.06), ground - height * share))
            points.append((x + width * (1 - share / 2 * 1.2), ground - height * share))
        x += width
    return points


def _outline_waves(rng: random.Random, top: float, nearness: float) -> list[Point]:
    """The sea, with waves that are pointed at their tops."""
    rate, phase = rng.uniform(9, 14) / (1 + nearness), rng.uniform(0, pi)
    points: list[Point] = []
    for step in range(401):
        x = step / 400
        wave = abs(sin(pi * rate * x + phase)) + 0.3 * abs(sin(pi * 2.6 * rate * x))
        points.append((x, top + 0.05 + 0.035 * wave * (0.6 + nearness)))
    return points


# Outlines by the nouns of a prompt.
_OUTLINES: tuple[tuple[Outline, str], ...] = (
    (_outline_waves, "sea|ocean|waves?|water|lake|river|boats?|ships?|harbou?r|beach|coast"),
    (_outline_city, "city|cities|towns?|streets?|houses?|roofs?|buildings?|cars?|bridges?"),
    (_outline_forest, "forests?|woods?|trees?|jungle|fox|foxes|deer|owls?|bears?|wolf|wolves"),
    (_outline_mountains, "mountains?|peaks?|cliffs?|rocks?|glaciers?|snow|volcano|canyon"),
    (_outline_hills, "hills?|meadows?|fields?|desert|dunes?|valley|garden|farm"),
)
_NIGHT = "night|nightfall|midnight|stars?|moon|moonlight|dark|darkness|neon"
_SETTING = "sunset|sets|dusk"
_EVENING = "evening|sunset|sets|dusk|twilight|dawn|sunrise|golden"


def _mentions(prompt: str, nouns: str) -> bool:
    return re.search(rf"\b({nouns})\b", prompt, re.IGNORECASE) is not None


def _choose_palettes(prompt: str) -> Sequence[tuple[str, ...]]:
    """Choose the colors that suit the time of day."""
    if _mentions(prompt, _NIGHT):
        return _NIGHTS
    return _EVENINGS if _mentions(prompt, _EVENING) else _DAYS


def _choose_outline(prompt: str, rng: random.Random) -> Outline:
    """Choose what suits the prompt, or anything."""
    suitable = [outline for outline, nouns in _OUTLINES if _mentions(prompt, nouns)]
    return rng.choice(suitable or [outline for outline, _ in _OUTLINES])


def draw_caption(prompt: str, size: tuple[int, int]) -> Image.Image:
    """Draw a dark strip as wide as the picture with SIMULATED and the beginning of the prompt."""
    width, _ = size
    text_size = max(11, min(size) // 24)
    heading, font = ImageFont.load_default(size=text_size * 0.8), ImageFont.load_default(size=text_size)
    margin, line_height = text_size, round(text_size * 1.3)
    columns = max(8, round((width - 2 * margin) / font.getlength("n")))
    lines = wrap(prompt, columns, max_lines=2, placeholder=" …")
    strip = Image.new("RGBA", (width, 2 * margin // 2 + (len(lines) + 1) * line_height), (0, 0, 0, 110))
    draw = ImageDraw.Draw(strip)
    draw.text((margin, margin // 2), "SIMULATED", (255, 214, 120, 255), heading)
    for number, line in enumerate(lines, 1):
        draw.text((margin, margin // 2 + number * line_height), line, (255, 255, 255, 255), font)
    return strip


def encode(painter: Painter, *, is_hdr: bool) -> bytes:
    """Encode all frames as an MP4 file: H.264, or HEVC with HDR10."""
    import av

    # FFmpeg moves a file's index to its beginning only in a file that has a name.
    with tempfile.TemporaryDirectory(prefix="luma-simulator-") as folder:
        path = Path(folder, "clip.mp4")
        options = {"movflags": "+faststart", "fflags": "+bitexact"}
        with av.open(str(path), "w", options=options) as container:
            stream = _add_stream(container, painter.size, is_hdr=is_hdr)
            graph = _build_graph(painter.size, _TO_HDR if is_hdr else _TO_SDR)
            for number in range(painter.frame_count):
                frame = av.VideoFrame.from_image(painter.draw(number))  # type: ignore[no-untyped-call]
                frame.pts = number
                graph.push(frame)
                container.mux(stream.encode(graph.vpull()))
            container.mux(stream.encode(None))
        return path.read_bytes()


def _add_stream(container: OutputContainer, size: tuple[int, int], *, is_hdr: bool) -> VideoStream:
    """Add the stream of pictures: H.264 in SDR, or HEVC in HDR10."""
    name, options, pixels, tags = "libx264", _SDR_CODEC, "yuv420p", _SDR_TAGS
    if is_hdr:
        name, options, pixels, tags = "libx265", _HDR_CODEC, "yuv420p10le", _HDR_TAGS
    stream = cast("VideoStream", container.add_stream(name, rate=FRAME_RATE, options=options))
    stream.width, stream.height = size
    stream.pix_fmt = pixels
    context = stream.codec_context
    context.color_primaries, context.color_trc, context.colorspace = tags
    context.color_range = _LIMITED_RANGE
    if is_hdr:
        # The tag of HEVC that Apple's players know.
        context.codec_tag = "hvc1"
    return stream


def _build_graph(size: tuple[int, int], steps: Sequence[str]) -> Graph:
    """Build the conversion of RGB frames."""
    from av.filter import Graph

    source = f"buffer=video_size={size[0]}x{size[1]}:pix_fmt=rgb24:time_base=1/{FRAME_RATE}"
    graph = Graph()
    filters: list[FilterContext] = []
    for step in (source, *steps, "buffersink"):
        name, _, options = step.partition("=")
        filters.append(graph.add(name, options))
    graph.link_nodes(*filters).configure()
    return graph
