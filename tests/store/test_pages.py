"""What pages promise, whatever they are kept on."""

from __future__ import annotations

from pathlib import Path

import pytest

from leveret.errors import Damaged, StoreError
from leveret.store.pages import FilePages
from tests.store.simdisk import SimDisk
from tests.store.stores import KINDS, Place


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request.param, tmp_path)


PAGES: list[tuple[int, int, list[bytes]]] = [
    (0, 0, []),
    (1, 4_096, [b"one", b"", b"two"]),
    (1, 0, [b"x"] * 2_000),
    ((1 << 63) - 1, (1 << 63) - 1, [bytes(100_000)]),
]


@pytest.mark.parametrize("sync", [True, False])
def test_pages_come_back_as_they_were(place: Place, sync: bool) -> None:
    pages = place.pages()
    assert pages.list() == []
    for queue, base, parts in PAGES:
        pages.put(queue, base, parts, sync)
    pages.sync_directories()
    for again in (pages, place.pages()):
        assert again.list() == sorted((queue, base) for queue, base, _ in PAGES)
        for queue, base, parts in PAGES:
            assert again.get(queue, base) == b"".join(parts)


def test_a_page_put_again_replaces_the_first(place: Place) -> None:
    pages = place.pages()
    pages.put(1, 1, [bytes(1_000)], True)
    pages.put(1, 1, [b"short"], True)
    assert pages.get(1, 1) == b"short"
    assert pages.list() == [(1, 1)]


def test_deleting(place: Place) -> None:
    pages = place.pages()
    for queue, base in ((1, 1), (1, 2), (2, 1), (2, 2)):
        pages.put(queue, base, [b"x"], True)
    pages.delete(1, 1)
    pages.delete(1, 1)
    pages.delete(9, 9)
    pages.delete_queue(2)
    pages.delete_queue(2)
    assert pages.list() == [(1, 2)]
    with pytest.raises(StoreError):
        pages.get(1, 1)
    pages.put(2, 5, [b"again"], True)
    assert place.pages().list() == [(1, 2), (2, 5)]


def test_files_that_are_not_pages_are_left_alone() -> None:
    disk = SimDisk()
    pages = FilePages(disk)
    pages.put(1, 1, [b"x"], True)
    disk.make_directory("pages/lost+found")
    for name in (
        "pages/notes",
        "pages/0000000000000001/1.page",
        "pages/0000000000000001/000000000000000G.page",
    ):
        disk.create(name)
    assert pages.list() == [(1, 1)]


@pytest.mark.parametrize("size", [0, 1, 40])
def test_every_flipped_bit_and_every_cut_of_a_page_is_found(size: int) -> None:
    disk = SimDisk()
    pages = FilePages(disk)
    pages.put(3, 5, [bytes(range(size))], True)
    name = "pages/0000000000000003/0000000000000005.page"
    data = disk.read(name)
    for bit in range(len(data) * 8):
        disk.flip(name, bit)
        with pytest.raises(StoreError) as caught:
            pages.get(3, 5)
        assert caught.value.path == name
        disk.flip(name, bit)
    for length in range(len(data)):
        del disk.file(name).cache[length:]
        with pytest.raises(Damaged, match=name):
            pages.get(3, 5)
        disk.file(name).cache[:] = data
    disk.file(name).cache.append(0)
    with pytest.raises(Damaged, match=name):
        pages.get(3, 5)


def test_a_page_in_anothers_place_is_found() -> None:
    disk = SimDisk()
    pages = FilePages(disk)
    pages.put(3, 5, [b"x"], True)
    pages.put(3, 6, [b"y"], True)
    disk.rename(
        "pages/0000000000000003/0000000000000005.page", "pages/0000000000000003/0000000000000006.page"
    )
    with pytest.raises(Damaged, match="holds page 5 of lane 3"):
        pages.get(3, 6)
