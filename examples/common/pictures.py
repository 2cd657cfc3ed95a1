"""JPEGs made up to work on, and the work: making them small. Knows nothing of messages."""

from __future__ import annotations

import os
import random
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

CIRCLES = 60
QUALITY = 90
QUALITY_SMALL = 85


class Unreadable(Exception):
    """No image that Pillow can read: trying again would fail again."""


def make(folder: Path, number: int, size: int) -> Path:
    """Image `number`, `size` pixels on its longer edge, 3:2, every third in portrait format; the same every time."""
    chance = random.Random(number)
    shape = (size * 2 // 3, size) if number % 3 == 0 else (size, size * 2 // 3)
    few = 16 * 16 * 3
    image = Image.frombytes("RGB", (16, 16), chance.randbytes(few)).resize(shape, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(CIRCLES):
        left, top = chance.randrange(shape[0]), chance.randrange(shape[1])
        across = chance.randrange(size // 50 + 1, size // 8 + 2)
        colour = (chance.randrange(256), chance.randrange(256), chance.randrange(256))
        draw.ellipse((left, top, left + across, top + across), fill=colour)
    path = folder / f"photo-{number:04}.jpg"
    image.save(path, "JPEG", quality=QUALITY)
    return path


def shrink(source: Path, target: Path, edge: int) -> None:
    """Write `source` to `target`, its longer edge `edge` pixels. Raises `Unreadable`.

    The result appears under its name complete or not at all, however often this is done and whoever is killed
    meanwhile: it is written under another name, then renamed.
    """
    small = _read(source)
    small.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")  # two processes may be at the same one
    with temporary.open("wb") as file:
        small.save(file, "JPEG", quality=QUALITY_SMALL)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(target)


def _read(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Unreadable(repr(error)) from error


def orientation(path: Path) -> str:
    with Image.open(path) as opened:
        return "portrait" if opened.height > opened.width else "landscape"


def is_complete(path: Path) -> bool:
    """Whether all of it can be read."""
    try:
        with Image.open(path) as image:
            image.load()
    except OSError:
        return False
    return True
