"""Write the pictures that the tests of the upload panel use into the folder that is named as the argument."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pillow_heif
from PIL import Image, ImageDraw

QUARTERS = ("red", "lime", "blue", "yellow")
"""Top left, top right, bottom left, bottom right."""
TURNED = 6
"""The orientation of a picture that has to be turned to the right."""
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def draw_quarters(width: int, height: int) -> Image.Image:
    """Draw a picture whose part can be recognized by its colors."""
    image = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(image)
    for index, color in enumerate(QUARTERS):
        left, top = width // 2 * (index % 2), height // 2 * (index // 2)
        draw.rectangle((left, top, left + width // 2, top + height // 2), fill=color)
    return image


def draw_sea(width: int, height: int) -> Image.Image:
    """Draw a sun above the sea, for screenshots, with smooth edges."""
    size = (width, height)
    width, height = width * 2, height * 2
    image = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(image)
    horizon = height * 6 // 10
    for y in range(height):
        share = y / horizon if y < horizon else (y - horizon) / (height - horizon)
        sky = (int(64 + 180 * share), int(92 + 84 * share), int(150 - 30 * share))
        sea = (int(150 - 120 * share), int(110 - 60 * share), int(110 - 20 * share))
        draw.line((0, y, width, y), fill=sky if y < horizon else sea)
    radius = height // 9
    center = (width * 62 // 100, horizon - radius)
    draw.ellipse((center[0] - radius, center[1] - radius, center[0] + radius, center[1] + radius), fill=(255, 236, 190))
    draw.polygon([(0, horizon), (0, height * 4 // 10), (width * 3 // 10, horizon)], fill=(52, 48, 66))
    draw.polygon([(width, horizon), (width, height * 45 // 100), (width * 8 // 10, horizon)], fill=(44, 42, 60))
    return image.resize(size)


def main(folder: Path) -> None:
    """Write all pictures."""
    draw_quarters(1600, 1200).save(folder / "quarters.jpg", quality=95)
    draw_quarters(1200, 1200).save(folder / "square.webp", lossless=True)
    draw_sea(1600, 1200).save(folder / "sea.jpg", quality=90)
    draw_sea(900, 1600).save(folder / "tall.jpg", quality=90)
    draw_quarters(200, 120).save(folder / "small.png")
    turned = Image.Exif()
    turned[0x0112] = TURNED
    # Stored lying down; upright, it is 900 wide and 1600 high, with red at the top left.
    lying = draw_quarters(900, 1600).rotate(90, expand=True)
    lying.save(folder / "turned.jpg", exif=turned, quality=95)
    # Browsers do not turn these.
    lying.save(folder / "turned.webp", exif=turned, lossless=True)
    lying.save(folder / "turned_by_xmp.jpg", xmp=XMP, quality=95)
    pillow_heif.from_pillow(draw_quarters(1600, 1200)).save(folder / "phone.heic", quality=90)
    # What follows a picture is ignored.
    (folder / "large.heic").write_bytes((folder / "phone.heic").read_bytes() + bytes(21_000_000))
    noise = Image.frombytes("RGB", (3000, 2400), os.urandom(3000 * 2400 * 3))
    noise.save(folder / "large.png", compress_level=0)
    noise.crop((0, 0, 800, 600)).save(folder / "noise.png")
    (folder / "page.html").write_text("<!doctype html>")
    (folder / "broken.jpg").write_bytes((folder / "quarters.jpg").read_bytes()[:9000])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
