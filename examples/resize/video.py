"""Films, by ffmpeg from the package imageio-ffmpeg: made up, cut into segments, made small, joined again.

Each function runs one ffmpeg and waits for it. Knows nothing of messages.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import imageio_ffmpeg  # type: ignore[import-untyped]

FRAMES_A_SECOND = 25
ENCODER = ("-c:v", "libx264", "-pix_fmt", "yuv420p")


class FilmError(Exception):
    """ffmpeg failed; the text is its own."""


def ffmpeg(*arguments: str) -> None:
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-nostdin",
        "-hide_banner",
        "-loglevel",
        "error",
        "-y",
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise FilmError(done.stderr.strip())


def make(target: Path, seconds: int, height: int) -> None:
    """A test pattern that moves, `height` pixels high, with a key frame every second, where it can be cut."""
    pattern = f"testsrc2=size={height * 16 // 9 // 2 * 2}x{height}:rate={FRAMES_A_SECOND}:duration={seconds}"
    key_frames = ("-g", str(FRAMES_A_SECOND), "-keyint_min", str(FRAMES_A_SECOND), "-sc_threshold", "0")
    ffmpeg("-f", "lavfi", "-i", pattern, *ENCODER, "-preset", "ultrafast", *key_frames, str(target))


def split(source: Path, folder: Path, seconds: int) -> list[Path]:
    """Cut into pieces of so many seconds, without decoding: that takes a moment."""
    names = str(folder / "segment-%03d.ts")
    ffmpeg("-i", str(source), "-c", "copy", "-f", "segment", "-segment_time", str(seconds), names)
    return sorted(folder.glob("segment-*.ts"))


def shrink(source: Path, target: Path, height: int) -> None:
    """The slow part: decode, scale to `height` pixels, encode. One thread: clones are what is to be seen here."""
    temporary = target.with_name(f".{os.getpid()}.{target.name}")  # complete under its name, or not there
    quality = ("-preset", "medium", "-threads", "1")
    ffmpeg(
        "-threads", "1", "-i", str(source), "-vf", f"scale=-2:{height}", *ENCODER, *quality, str(temporary)
    )
    temporary.rename(target)


def join(segments: list[Path], target: Path) -> None:
    """One film of all segments, in the order of the list, without decoding."""
    names = target.with_suffix(".txt")
    names.write_text("".join(f"file '{segment.resolve()}'\n" for segment in segments))
    ffmpeg("-f", "concat", "-safe", "0", "-i", str(names), "-c", "copy", str(target))
    names.unlink()


def frames(film: Path) -> int:
    count, _ = imageio_ffmpeg.count_frames_and_secs(str(film))
    return int(count)
