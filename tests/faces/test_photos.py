"""Listing a folder: order, links, odd names, and what is passed over."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastface.errors import InvalidInputError
from fastface.faces import find_photos


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def skips(root: Path) -> list[tuple[str, str]]:
    return [(entry.file, entry.reason) for entry in find_photos(root).skipped]


def test_sorted_relative_posix_paths(tmp_path):
    names = ["b.jpg", "a/z.JPG", "a/b/c.Png", "B.jpeg", "a.webp", "a b/ü ñ 顔.heic", "z.tiff"]
    random.Random(0).shuffle(names)
    touch(tmp_path, *names)
    listing = find_photos(tmp_path)
    assert listing.photos == sorted(names)
    assert listing.skipped == []
    assert listing.root == tmp_path


@given(st.lists(st.text("ab/ .é", min_size=1, max_size=6), max_size=8))
def test_every_listed_name_opens(tmp_path_factory, stems):
    root = tmp_path_factory.mktemp("tree")
    for stem in stems:
        name = "/".join(part for part in stem.split("/") if part.strip(". "))
        if name and not (root / name).exists():
            touch(root, f"{name}.jpg")
    photos = find_photos(root).photos
    assert photos == sorted(photos)
    assert all((root / photo).is_file() for photo in photos)
    hidden = [p for p in root.rglob("*.jpg") if "/." in f"/{p.relative_to(root)}"]
    assert len(photos) == sum(1 for p in root.rglob("*.jpg") if p.is_file()) - len(hidden)


def test_hidden_other_and_preview_files_are_ignored(tmp_path):
    touch(tmp_path, ".hidden.jpg", ".git/x.jpg", "notes.txt", "jpg", "@eaDir/p.jpg")
    touch(tmp_path, "__MACOSX/p.jpg", "a.jpg.part", "keep.jpg")
    listing = find_photos(tmp_path)
    assert listing.photos == ["keep.jpg"]
    assert listing.skipped == []


def test_empty_folder(tmp_path):
    assert find_photos(tmp_path).photos == []


def test_folder_named_like_a_photo_is_walked(tmp_path):
    touch(tmp_path, "album.jpg/a.png")
    assert find_photos(tmp_path).photos == ["album.jpg/a.png"]


def test_link_loops_end_and_keep_plain_names(tmp_path):
    touch(tmp_path, "z/deep/a.jpg")
    (tmp_path / "a_link").symlink_to("z")  # sorts before the folder it leads to
    (tmp_path / "z" / "up").symlink_to("..")
    (tmp_path / "z" / "deep" / "self").symlink_to(".")
    (tmp_path / "nowhere").symlink_to("nowhere")
    listing = find_photos(tmp_path)
    assert listing.photos == ["z/deep/a.jpg"]
    assert listing.skipped == []


def test_linked_folder_outside_is_walked_once(tmp_path):
    outside, root = tmp_path / "outside", tmp_path / "root"
    touch(outside, "b.jpg", "sub/c.jpg")
    root.mkdir()
    (root / "two").symlink_to(outside)
    (root / "one").symlink_to(outside)
    (outside / "back").symlink_to(root)
    assert find_photos(root).photos == ["one/b.jpg", "one/sub/c.jpg"]


def test_linked_photos(tmp_path):
    root = tmp_path / "root"
    touch(root, "plain.jpg")
    touch(tmp_path, "elsewhere.jpg", "data")
    (root / "again.jpg").symlink_to("plain.jpg")  # listed as plain.jpg already
    (root / "x.jpg").symlink_to("../elsewhere.jpg")
    (root / "y.jpg").symlink_to("../elsewhere.jpg")  # x.jpg is the same photo
    (root / "named.png").symlink_to("../data")
    (root / "gone.jpg").symlink_to("../gone.jpg")
    (root / "loop.jpg").symlink_to("loop.jpg")
    assert find_photos(root).photos == ["named.png", "plain.jpg", "x.jpg"]
    assert skips(root) == [("gone.jpg", "unreadable"), ("loop.jpg", "unreadable")]


def test_a_link_to_a_hidden_photo_is_listed(tmp_path):
    touch(tmp_path, ".store.jpg")
    (tmp_path / "shown.jpg").symlink_to(".store.jpg")
    assert find_photos(tmp_path).photos == ["shown.jpg"]


@pytest.mark.timeout(20)
def test_pipes_are_skipped_with_a_reason(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "other.fifo")
    (tmp_path / "link.jpg").symlink_to("pipe.jpg")
    (tmp_path / "null.jpg").symlink_to("/dev/null")
    assert [name for name, _ in skips(tmp_path)] == ["link.jpg", "null.jpg", "pipe.jpg"]
    assert {reason for _, reason in skips(tmp_path)} == {"not_a_file"}


def test_names_that_are_not_utf8(tmp_path):
    raw = os.fsencode(tmp_path)
    with open(raw + b"/bad\xff.jpg", "wb"):
        pass
    os.mkdir(raw + b"/dir\xfe")
    with open(raw + b"/dir\xfe/a.jpg", "wb"):
        pass
    with open(raw + b"/notes\xff.txt", "wb"):
        pass
    touch(tmp_path, "good.jpg")
    listing = find_photos(tmp_path)
    assert listing.photos == ["good.jpg"]
    assert skips(tmp_path) == [("bad\\udcff.jpg", "bad_name"), ("dir\\udcfe", "bad_name")]
    for entry in listing.skipped:
        entry.file.encode("utf-8")
    assert find_photos(os.fsdecode(raw + b"/bad\xff.jpg")).skipped[0].reason == "bad_name"


def test_unreadable_subfolder_is_recorded(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg", "locked/b.jpg")
    scandir = os.scandir

    def refuse(path: str | os.PathLike[str]) -> object:  # root is stopped by no mode bits
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert find_photos(tmp_path).photos == ["a.jpg"]
    assert skips(tmp_path) == [("locked", "unreadable")]


def test_single_file(tmp_path):
    touch(tmp_path, "photo", "other.jpg")
    listing = find_photos(tmp_path / "photo")
    assert (listing.root, listing.photos) == (tmp_path, ["photo"])


def test_exclude(tmp_path):
    touch(tmp_path, "a.jpg", "out/crop.jpg", "keep/out/b.jpg")
    (tmp_path / "link").symlink_to("out")
    excluded = [tmp_path / "keep" / ".." / "out", tmp_path / "not there"]
    assert find_photos(tmp_path, exclude=excluded).photos == ["a.jpg", "keep/out/b.jpg"]


def test_excluding_the_photos_themselves(tmp_path):
    with pytest.raises(InvalidInputError, match="another output folder"):
        find_photos(tmp_path, exclude=[tmp_path])


def test_missing_folder(tmp_path):
    with pytest.raises(InvalidInputError, match="No such file"):
        find_photos(tmp_path / "gone")
    with pytest.raises(InvalidInputError, match="null"):
        find_photos("a\0b")


def test_neither_folder_nor_file(tmp_path):
    with pytest.raises(InvalidInputError, match="neither a folder nor a file"):
        find_photos("/dev/null")


def test_no_permission(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InvalidInputError, match="no permission"):
        find_photos(tmp_path)
