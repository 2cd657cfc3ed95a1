"""The example of clones: pictures and films are worked at as said, the judgement can fail; and a small run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

Image = pytest.importorskip("PIL.Image", reason="examples/resize/requirements.txt is not installed")
pytest.importorskip("imageio_ffmpeg", reason="examples/resize/requirements.txt is not installed")
pytest.importorskip("matplotlib", reason="examples/resize/requirements.txt is not installed")

from examples.common import pictures
from examples.resize import video
from examples.resize.jobs import Done
from examples.resize.run import numbers
from examples.resize.tally import Turn, judge
from tests.examples.running import assert_held, run_example


def test_pictures_are_the_same_every_time(tmp_path: Path) -> None:
    first = pictures.make(tmp_path, 1, 300).read_bytes()
    assert pictures.make(tmp_path, 1, 300).read_bytes() == first
    assert pictures.make(tmp_path, 2, 300).read_bytes() != first
    assert pictures.orientation(pictures.make(tmp_path, 3, 300)) == "portrait"
    assert pictures.orientation(pictures.make(tmp_path, 4, 300)) == "landscape"


def test_a_picture_is_made_small_and_nothing_else_is_left(tmp_path: Path) -> None:
    source, target = pictures.make(tmp_path, 1, 600), tmp_path / "small.jpg"
    pictures.shrink(source, target, 120)
    with Image.open(target) as image:
        assert image.size == (120, 80)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo-0001.jpg", "small.jpg"]
    assert pictures.is_complete(target)
    target.write_bytes(target.read_bytes()[:500])
    assert not pictures.is_complete(target)


def test_what_is_no_picture_is_unreadable(tmp_path: Path) -> None:
    source = tmp_path / "broken.jpg"
    source.write_bytes(b"\xff\xd8\xff no image")
    with pytest.raises(pictures.Unreadable):
        pictures.shrink(source, tmp_path / "small.jpg", 100)
    assert list(tmp_path.iterdir()) == [source]


def test_a_film_that_is_cut_made_small_and_joined_has_all_its_frames(tmp_path: Path) -> None:
    film, joined = tmp_path / "film.mp4", tmp_path / "joined.mp4"
    video.make(film, seconds=3, height=72)
    segments = video.split(film, tmp_path, seconds=1)
    assert [path.name for path in segments] == [f"segment-{number:03}.ts" for number in range(3)]
    small = [path.with_name(f"small-{path.name}") for path in segments]
    for source, target in zip(segments, small, strict=True):
        video.shrink(source, target, 36)
    video.join(small, joined)
    assert video.frames(film) == video.frames(joined) == 3 * video.FRAMES_A_SECOND
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        p.name for p in [film, joined, *segments, *small]
    )


def test_what_ffmpeg_says_is_told(tmp_path: Path) -> None:
    with pytest.raises(video.FilmError, match="No such file"):
        video.shrink(tmp_path / "nowhere.mp4", tmp_path / "small.mp4", 36)


def turn(clones: int, pictures_s: float) -> Turn:
    done = [Done(f"{number}.ts", number % clones, float(number), number + 1.0) for number in range(4)]
    codes = {f"clone-{number}": 0 for number in range(clones)}
    return Turn(clones, pictures_s, film_s=1.0, done=done, frames=75, complete=8, segments=4, codes=codes)


def failed(turns: list[Turn], cores: int = 2) -> list[str]:
    return [e.text for e in judge(turns, photos=8, frames=75, cores=cores, least_gain=1.2) if not e.met]


def test_a_good_story_meets_all_expectations() -> None:
    assert failed([turn(1, 2.0), turn(2, 1.0)]) == []


@pytest.mark.parametrize(
    ("second", "expectation"),
    [
        (replace(turn(2, 1.0), complete=7), "every picture was made small"),
        (replace(turn(2, 1.0), frames=74), "the joined film has every frame"),
        (replace(turn(2, 1.0), done=turn(1, 1.0).done), "when there was more than one clone"),
        (replace(turn(2, 1.0), codes={"clone-0": 0, "clone-1": -9}), "every clone left in good order"),
        (replace(turn(2, 1.0), codes={"clone-0": 0}), "every clone left in good order"),
        (turn(2, 1.9), "more clones did at least 1.2 x"),
    ],
)
def test_what_does_not_hold_is_named(second: Turn, expectation: str) -> None:
    assert [text[: len(expectation)] for text in failed([turn(1, 2.0), second])] == [expectation]


def test_on_one_core_nothing_is_to_be_gained() -> None:
    assert failed([turn(1, 2.0), turn(2, 2.0)], cores=1) == []


@pytest.mark.parametrize("text", ["", "0", "1,1", "one", "2,-1"])
def test_numbers_of_clones_that_make_no_sense(text: str) -> None:
    with pytest.raises(ValueError):
        numbers(text)


def test_a_small_run_shows_all_of_it(tmp_path: Path) -> None:
    options = ["--pictures", "6", "--size", "600", "--seconds", "8", "--height", "216", "--segment", "1"]
    ended = run_example("resize", tmp_path, "--workers", "1,2", "--least-gain", "0", *options)
    assert_held(ended, "resize")
    assert "clones at the film" in ended.output


def test_what_cannot_work_is_said_at_once(tmp_path: Path) -> None:
    ended = run_example("resize", tmp_path, "--pictures", "0")
    assert ended.code == 2
    assert "1 or more" in ended.errors
