"""Render the stored clips, stills and EXR frames of the simulated video API, for where PyAV is missing, and for tests.

They show a sunset over a calm sea.

Needs Pillow, numpy and an ffmpeg with libx264, libx265 and the EXR encoder on the PATH. From the project's root:

    python -m venv /tmp/media && /tmp/media/bin/pip install pillow numpy
    /tmp/media/bin/python scripts/simulator_media.py    # takes a quarter of an hour

The scene is linear light with BT.709 primaries in which 1.0 is diffuse white; only the sun and its surroundings exceed
that. Positions are measured from the middle of the horizon in units of the picture's shorter side, x to the right and
y upwards, and time runs from 0 to 1 over a clip whatever its length.
"""

import subprocess
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Array: TypeAlias = NDArray[np.float64]

OUTPUT = Path(__file__).resolve().parent.parent / "src" / "luma_mcp" / "simulator" / "media"
SIZES = {"9x16": (216, 384), "3x4": (288, 384), "1x1": (320, 320)}
SIZES |= {"4x3": (384, 288), "16x9": (384, 216), "21x9": (448, 192)}
EXR_SIZE = (256, 144)
LONG_CLIP_FRAMES = 241  # ten seconds at 24 fps; every second frame makes the five-second clip
WHITE_NITS, PEAK_NITS = 203, 1000
BT709_TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])

# Without mbtree the last frames are as good as the first; the filter drops x264's list of its settings.
SDR = (
    "-c:v libx264 -profile:v high -preset veryslow -tune animation -mbtree 0 -crf 31 "
    "-bsf:v filter_units=remove_types=6 "
    "-pix_fmt yuv420p -color_range tv -colorspace bt709 -color_primaries bt709 -color_trc bt709"
)
HDR = (
    "-c:v libx265 -profile:v main10 -tag:v hvc1 -preset veryslow -crf 20 -x265-params "
    "log-level=error:info=0:pools=none:frame-threads=1:cbqpoffs=-6:crqpoffs=-8:hdr10=1:max-cll=1000,200:"
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1) "
    "-pix_fmt yuv420p10le -color_range tv -colorspace bt2020nc -color_primaries bt2020 -color_trc smpte2084"
)

HORIZON = 0.64  # fraction of the picture's height that lies above the sea
SUN_RADIUS = 0.075
# Place and length (of the picture's half width), height (of the sky), thickness
CLOUDS = ((-0.62, 0.42, 0.46, 0.018), (0.55, 0.45, 0.60, 0.022), (0.30, 0.30, 0.33, 0.011), (-0.25, 0.55, 0.77, 0.026))
# From far to near: height, share of haze, parallax, and where the open sea begins and ends (of the half width)
HILLS = ((0.15, 0.50, 0.7, -0.50, 0.22), (0.20, 0.25, 0.9, -0.66, 0.44), (0.27, 0.06, 1.2, -0.86, 0.74))
STARS = np.random.default_rng(1308).random((40, 4))  # place, height, magnitude, time of rising


def light(*colours: str) -> Array:
    """Linear light of hexadecimal display colours."""
    return np.array([[value / 255 for value in bytes.fromhex(colour)] for colour in colours]) ** 2.2


# Each for golden hour, sunset and dusk; the sky's run from the horizon to the zenith.
GOLDEN, SUNSET = light("ffc878", "ffac68", "e8948c", "5c80bc"), light("ffa04e", "fa6a4c", "a8528c", "38408c")
SKY = np.stack([GOLDEN, SUNSET, light("e8703c", "a03c70", "42286c", "10123a")])
SUN, CLOUD = light("ffe2ac", "ffb45c", "ff7838"), light("ffecc8", "ff9c78", "6a2c5c")
HAZE, SHADE = light("dc9478", "a84e6c", "5a2c58"), light("3a1c38", "22102c", "120a20")
DEEP = light("8c6c84", "4c2c5c", "10102c")


def bezier(at: Array | float, points: Array) -> Array:
    """Run through three or four control points: gradients of several colours without a visible crease."""
    binomials = (1, 2, 1) if len(points) == 3 else (1, 3, 3, 1)
    weights = [n * at**i * (1 - at) ** (len(points) - 1 - i) for i, n in enumerate(binomials)]
    return np.tensordot(np.stack(weights, -1), points, 1)


def smoothstep(start: float, end: float, x: Array | float) -> Array:
    ramp: Array = np.clip((x - start) / (end - start), 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def blend(below: Array, above: Array | float, opacity: Array) -> Array:
    return below + (above - below) * opacity[..., None]


@cache
def caption(width: int, height: int) -> Array:
    """Opacity of the word in the lower right corner."""
    mask, corner = Image.new("L", (width, height)), (width - 8, height - 8)
    ImageDraw.Draw(mask).text(corner, "SIMULATED", 255, ImageFont.load_default(size=11), anchor="rs")
    return np.asarray(mask) / 255


class Moment:
    """The landscape at one moment, in a picture of one size."""

    def __init__(self, width: int, height: int, time: float) -> None:
        horizon = round(HORIZON * height)
        self.time, self.unit, self.pan = time, min(width, height), 0.16 * (time - 0.5)
        rows, columns = np.mgrid[0:height, 0:width] + 0.5
        self.x, self.y = (columns - width / 2) / self.unit, (horizon - rows) / self.unit
        self.half_width, self.sky, self.sea = width / 2 / self.unit, horizon / self.unit, (height - horizon) / self.unit
        self.sun_x, self.sun_y = -0.16 * self.half_width - 0.5 * self.pan, 0.37 - 0.38 * time
        self.sun_light = bezier(time, SUN)

    def picture(self) -> Array:
        word = caption(*self.x.shape[::-1])
        disc = (SUN_RADIUS - np.hypot(self.x - self.sun_x, self.y - self.sun_y)) * self.unit
        sky = self.clear_sky(self.x, self.y) + self.stars()[..., None]
        sky = blend(sky, self.sun_light * (4.8 - 1.6 * self.time), np.clip(disc / 3 + 0.5, 0, 1) ** 3)
        picture = np.where(self.y[..., None] > 0, self.with_hills(sky, self.x, self.y), self.water())
        return blend(blend(picture, 0.02, 0.5 * np.roll(word, (1, 1), (0, 1))), 0.8, 0.8 * word)

    def clear_sky(self, x: Array, y: Array) -> Array:
        """The sky with its clouds and the glow around the sun."""
        colour = bezier(np.clip(y / self.sky, 0, 1), bezier(self.time, SKY))
        for left, length, up, thickness in CLOUDS:
            along = ((x + 0.4 * self.pan) / self.half_width - left) / length
            across = (y - up * min(self.sky, 0.8)) / thickness - 0.4 * np.sin(3 * along + 9 * left)
            across = across * np.where(across < 0, 1.8, 0.8)  # flat below, fluffy above
            colour = blend(colour, bezier(self.time, CLOUD), 0.6 * np.exp(-(along**2) - across**2))
        away_x, away_y = x - self.sun_x, y - self.sun_y
        glow = 0.7 * np.exp(-np.hypot(away_x, away_y) / 0.1) + 0.3 * np.exp(-np.hypot(away_x * 0.5, away_y) / 0.28)
        return colour + glow[..., None] * self.sun_light * (1 - 0.5 * self.time)

    def stars(self) -> Array:
        total: Array = np.zeros_like(self.x)
        for across, up, magnitude, wait in STARS:
            x = (2 * across - 1) * self.half_width
            size, rise = 0.25 + 0.75 * magnitude**2, 0.55 + 0.25 * wait
            squared = ((self.x - x) ** 2 + (self.y - (0.45 + 0.55 * up) * self.sky) ** 2) * self.unit**2
            total += size * smoothstep(rise, rise + 0.2, self.time) * np.exp(-squared / (0.5 + 0.6 * size))
        return total

    def with_hills(self, sky: Array, x: Array, y: Array) -> Array:
        for height, mist, parallax, left, right in HILLS:
            along = x + parallax * self.pan
            across = along / self.half_width
            rise = smoothstep(left, left - 0.8, across) + smoothstep(right, right + 0.9, across)
            bumps = np.sin(11 * along + 40 * height) + 0.5 * np.sin(26 * along) + 0.2 * np.sin(57 * along)
            colour = mist * bezier(self.time, HAZE) + (1 - mist) * bezier(self.time, SHADE)
            sky = blend(sky, colour, np.clip((height * rise * (1 + 0.2 * bumps) - y) * self.unit, 0, 1))
        return sky

    def water(self) -> Array:
        """The sky and hills mirrored in a light swell, and the sun's broken path."""
        depth: Array = np.maximum(-self.y, 0) / self.sea
        rows, x, turn = 26 * np.log(depth + 0.06), self.x + self.pan, 2 * np.pi * self.time
        swell: Array = np.sin(rows + 4 * x - 1.4 * turn) + 0.7 * np.sin(1.7 * rows - 7 * x - 1.8 * turn)
        swell = (swell + 0.5 * np.sin(0.6 * rows + 11 * x + 0.8 * turn)) * smoothstep(0, 0.2, depth)
        x, y = self.x + 0.004 * swell, depth * self.sea + 0.012 * swell * (0.3 + depth)
        colour = blend(0.85 * self.with_hills(self.clear_sky(x, y), x, y), bezier(self.time, DEEP), 0.2 + 0.5 * depth)
        sideways = (self.x - self.sun_x + 0.012 * swell) / (0.035 + 0.09 * depth)
        path: Array = np.exp(-(sideways**2)) * smoothstep(-0.6, 1.5, swell + 0.9 - smoothstep(0, 0.3, depth))
        path = path * 2.4 * np.exp(-1.8 * depth) * smoothstep(-SUN_RADIUS, SUN_RADIUS, self.sun_y)
        return colour * (1 + 0.08 * swell * depth)[..., None] + path[..., None] * self.sun_light


def sdr_signal(picture: Array) -> Array:
    """Display values from 0 to 1; highlights roll off above a knee instead of clipping."""
    knee = 0.6
    rolled = (1 - knee) * (1 - np.exp(-np.maximum(picture - knee, 0) / (1 - knee)))
    return (np.minimum(picture, knee) + rolled) ** (1 / 2.2)


def pq_signal(picture: Array) -> Array:
    """BT.2020 values from 0 to 1 on the PQ curve of SMPTE ST 2084."""
    level: Array = (np.clip(picture @ BT709_TO_BT2020.T * WHITE_NITS, 0, PEAK_NITS) / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * level) / (1 + 18.6875 * level)) ** 78.84375


def ffmpeg(frames: list[Array], pixels: str, size: tuple[int, ...], options: list[str], target: Path) -> None:
    source = ["-f", "rawvideo", "-pix_fmt", pixels, "-video_size", "{}x{}".format(*size), "-framerate", "24", "-i", "-"]
    exact = ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-threads", "1"]
    command = ["ffmpeg", "-v", "error", "-y", *source, *options, *exact, str(target)]
    subprocess.run(command, input=b"".join(frame.tobytes() for frame in frames), check=True)


def encode(signals: list[Array], codec: str, matrix: str, target: Path) -> None:
    """Make a clip of RGB values from 0 to 1."""
    convert = f"scale=out_color_matrix={matrix}:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_int+bitexact"
    frames = [(signal * 65535 + 0.5).astype("<u2") for signal in signals]
    options = ["-vf", f"{convert}:sws_dither=none", *codec.split(), "-movflags", "+faststart"]
    ffmpeg(frames, "rgb48le", signals[0].shape[1::-1], options, target)


def exr_archive(target: Path) -> None:
    """Half-float EXR frames from the beginning, the middle and the end."""
    pictures = [Moment(*EXR_SIZE, time).picture() for time in (0, 0.5, 1)]
    planes = [picture[..., [1, 2, 0]].transpose(2, 0, 1).astype("<f4") for picture in pictures]  # green, blue, red
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(target, "w") as archive:
        options = ["-c:v", "exr", "-compression", "zip16", "-format", "half"]
        ffmpeg(planes, "gbrpf32le", EXR_SIZE, options, Path(folder, "frame_%04d.exr"))
        for path in sorted(Path(folder).iterdir()):
            archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes())


def main() -> None:
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for ratio, size in SIZES.items():
        pictures = [Moment(*size, time).picture() for time in np.linspace(0, 1, LONG_CLIP_FRAMES)]
        display = [sdr_signal(picture) for picture in pictures]
        encode(display, SDR, "bt709", OUTPUT / f"{ratio}-10s-sdr.mp4")
        encode(display[::2], SDR, "bt709", OUTPUT / f"{ratio}-5s-sdr.mp4")
        encode([pq_signal(picture) for picture in pictures[::2]], HDR, "bt2020", OUTPUT / f"{ratio}-5s-hdr.mp4")
        for name, signal in (("thumbnail", display[0]), ("last_frame", display[-1])):
            still = Image.fromarray((signal * 255 + 0.5).astype(np.uint8))
            still.save(OUTPUT / f"{ratio}-{name}.jpg", quality=85, optimize=True)
    exr_archive(OUTPUT / "frames-exr.zip")


if __name__ == "__main__":
    main()
