"""Large JPEGs to work on, made up: soft colours and circles, every third in portrait format. The same every time."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image, ImageDraw

CIRCLES = 60
QUALITY = 90


def make(folder: Path, number: int, size: int) -> Path:
    """Image `number`, `size` pixels on its longer edge, 3:2."""
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
