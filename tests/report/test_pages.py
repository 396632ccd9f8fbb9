"""What the pages hold: links, counts, escapes, bounds."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastface.errors import InvalidInputError
from fastface.report import write_report
from fastface.report.figures import size_histogram
from fastface.report.pages import CONTENT_SECURITY_POLICY, FACES_PER_PAGE, PEOPLE_PER_PAGE
from fastface.report.text import duration, given_name, visible
from fastface.report.views import page_links, spread

BOX = (100, 60, 200, 160)


@dataclass
class Document(HTMLParser):
    """A page as its tags, ids, addresses and text."""

    path: Path
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"doubled attribute in {self.path}: {attrs}"
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data + " "

    def attributes(self, name, tag=None):
        return [a[name] or "" for t, a in self.tags if name in a and tag in (None, t)]

    @property
    def ids(self):
        return self.attributes("id")


def read_all(index: Path) -> dict[Path, Document]:
    return {path: Document(path) for path in sorted(index.parent.rglob("*.html"))}


def assert_sound(index: Path) -> dict[Path, Document]:
    """Check every page: no network, no script, no dead link, no doubled id."""
    pages = read_all(index)
    for page in pages.values():
        assert len(set(page.ids)) == len(page.ids), page.path
        policies = [a["content"] for _, a in page.tags if a.get("http-equiv")]
        assert policies == [CONTENT_SECURITY_POLICY]
        assert not {"script", "style", "iframe", "object", "form", "base"} & {
            t for t, _ in page.tags
        }
        for tag, attributes in page.tags:
            assert not [name for name in attributes if name.startswith("on") or name == "style"]
            if tag == "img":
                assert "alt" in attributes
        for address in page.attributes("href") + page.attributes("src"):
            parts = urlsplit(address)
            assert parts.scheme in ("", "file"), address
            assert not parts.netloc, address
            if parts.scheme == "file":
                target = Path(unquote(parts.path))
            else:
                target = page.path if not parts.path else page.path.parent / unquote(parts.path)
            assert target.exists(), f"{page.path} leads to {address}, which is not there"
            if parts.fragment:
                assert parts.fragment in pages[target.resolve()].ids, f"{page.path}: {address}"
    return pages


def test_every_link_leads_somewhere_and_nothing_touches_the_network(small_run):
    index = write_report(small_run.folder)
    assert index == small_run.folder / "report" / "index.html"
    pages = assert_sound(index)
    # Front, people, questions, seen once, photos, skipped.
    assert len(pages) == 1 + 3 + 1 + 1 + 1 + 1


def test_front_page_has_the_numbers(small_run):
    front = Document(write_report(small_run.folder))
    words = re.sub(r"\s+", " ", front.text)
    assert "5 people in 13 photos" in words
    for expected in (
        "13 photos with faces",
        "14 faces",
        "3 people seen again",
        "2 people seen once",
        "4 files skipped",
        "7 faces in 7 photos",
        "Ada Lovelace",
        "toy-net",
        "ab" * 32,
        "CC0-1.0",
        "n neighbors 80",
        "9.8.7",
        "1 min 15 s",
        "the whole job 1 min 20 s",
        "cores busy 87%",
        "Busy side by side",
        "detect 87%",
        "embed 40%",
    ):
        assert expected in words, expected
    # All are as sure: the largest first.
    assert [h for h in front.attributes("href", "a") if h.startswith("people/")] == [
        "people/0.html",
        "people/1.html",
        "people/2.html",
    ]


@pytest.mark.parametrize(
    ("order", "expected", "words"),
    [
        ("doubt", [2, 0, 1], "Most doubtful first"),
        ("size", [0, 1, 2], "Largest first"),
        ("name", [1, 0, 2], "By name"),
    ],
)
def test_people_come_in_the_order_that_was_asked_for(small_run, order, expected, words):
    path = small_run.folder / "people.parquet"
    table = pq.read_table(path)
    doubt = {0: 0.8, 1: 0.9, 2: 0.4}
    sure = [doubt.get(person, 0.5) for person in table["person_id"].to_pylist()]
    place = table.schema.get_field_index("confidence")
    pq.write_table(table.set_column(place, "confidence", pa.array(sure, pa.float32())), path)
    front = Document(write_report(small_run.folder, order=order))
    shown = [h for h in front.attributes("href", "a") if h.startswith("people/")]
    assert shown == [f"people/{person}.html" for person in expected]
    assert words in front.text


def test_an_unknown_order_is_refused(small_run):
    with pytest.raises(InvalidInputError, match="unknown order 'mood'"):
        write_report(small_run.folder, order="mood")


def test_person_page_shows_every_face_surest_first(small_run):
    index = write_report(small_run.folder)
    page = Document(index.parent / "people" / "0.html")
    own = [face for face in small_run.faces if face["person_id"] == 0]
    expected = sorted(own, key=lambda face: (-face["confidence"], face["face_id"]))
    assert [i for i in page.ids if i.startswith("face-")] == [
        f"face-{face['face_id']}" for face in expected
    ]
    for face in own:
        assert f"{face['confidence']:.2f}" in page.text
        assert f"../photos/1.html#face-{face['face_id']}" in page.attributes("href", "a")


def test_boxes_lie_where_the_faces_are(small_run):
    index = write_report(small_run.folder)
    page = Document(index.parent / "photos" / "1.html")
    boxes = {}
    for tag, attributes in page.tags:
        if tag == "a" and attributes.get("class") == "box":
            current = attributes["id"]
        if tag == "rect" and attributes.get("class") == "line":
            boxes[current] = tuple(int(attributes[k]) for k in ("x", "y", "width", "height"))
    assert boxes == {
        f"face-{f['face_id']}": (
            f["left"],
            f["top"],
            f["right"] - f["left"],
            f["bottom"] - f["top"],
        )
        for f in small_run.faces
    }
    assert set(page.attributes("viewbox", "svg")) >= {"0 0 400 300"}


def test_crops_are_copied_byte_for_byte(small_run):
    import pyarrow.parquet as pq

    index = write_report(small_run.folder)
    stored = pq.read_table(small_run.folder / "crops.parquet")["jpeg"].to_pylist()
    for face_id, data in enumerate(stored):
        assert (index.parent / f"crops/0000/{face_id}.jpg").read_bytes() == data
    assert len(list(index.parent.rglob("*.jpg"))) == len(stored)


def test_skipped_files_are_grouped_by_reason(small_run):
    page = Document(write_report(small_run.folder).parent / "skipped.html")
    words = re.sub(r"\s+", " ", page.text)
    assert "No face found 2" in words
    assert "Cut off or damaged 1" in words
    assert "novel_reason 1" in words
    assert "row 3 of 9" in words
    assert "why not" in words


HOSTILE = [
    "<script>alert(1)</script>.jpg",
    "a\"onerror='alert(1)'.jpg",
    "line\nbreak & tab\t.jpg",
    "\u202egpj.exe.jpg",
    "javascript:alert(1).jpg",
    "100% #1?.jpg",
    "räksmörgås 写真 😀.jpg",
    "back\\slash;{{ 7*7 }}.jpg",
]


def test_hostile_names_are_only_text(make_run):
    seen = [(name, i % 3, BOX) for i, name in enumerate(HOSTILE)]
    names = {0: "</title><script>alert(2)</script>", 1: '\u202e"><img src=x onerror=y>', 2: "{{x}}"}
    skipped = [(name + ".txt", "<b>reason</b>", "<i>message</i>") for name in HOSTILE]
    run = make_run(
        seen, names=names, skipped=skipped, info={"parameters": {"<u>key": ["<u>", {"a": None}]}}
    )
    index = write_report(run.folder)
    pages = assert_sound(index)
    for page in pages.values():
        assert not {"b", "i", "u"} & {tag for tag, _ in page.tags}
        raw = page.path.read_text(encoding="utf-8")
        assert "\u202e" not in raw
        assert "line\nbreak" not in raw
    album = Document(index.parent / "photos" / "1.html")
    assert "<script>alert(1)</script>.jpg" in album.text
    assert "line\\nbreak & tab\\t.jpg" in album.text
    assert "\\u202egpj.exe.jpg" in album.text
    assert "{{ 7*7 }}" in album.text
    shown = {
        (album.path.parent / unquote(src)).resolve()
        for src in album.attributes("src", "img")
        if "crops/" not in src and "icon" not in src
    }
    assert shown == {(run.photos / name).resolve() for name in HOSTILE}


def test_names_that_leave_the_photo_folder_are_not_linked(make_run, tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    outside = ["../secret.jpg", str(tmp_path / "secret.jpg"), "a/../../secret.jpg"]
    run = make_run(
        [(name, 0, BOX) for name in outside], skipped=[(name, "no_face", "") for name in outside]
    )
    for page in assert_sound(write_report(run.folder)).values():
        assert not [a for a in page.attributes("href") + page.attributes("src") if "secret" in a]
    album = Document(run.folder / "report" / "photos" / "1.html")
    assert album.text.count("points out of the photo folder") == 3


def test_a_missing_photo_still_shows_its_crop(small_run):
    (small_run.photos / "z.jpg").unlink()
    index = write_report(small_run.folder)
    assert_sound(index)
    album = Document(index.parent / "photos" / "1.html")
    assert "not where it was" in album.text
    face = next(f["face_id"] for f in small_run.faces if f["photo"] == "z.jpg")
    assert f"../crops/0000/{face}.jpg" in album.attributes("src", "img")
    assert f"face-{face}" in album.ids


def test_photos_elsewhere_are_absolute_and_nothing_is_copied(small_run, tmp_path, monkeypatch):
    from fastface.report import photos

    links = photos.PhotoLinks(Path("/srv/pic tures"), Path("/home/me/run/report"))
    assert links.url("a b#.jpg", to_report="../") == "file:///srv/pic%20tures/a%20b%23.jpg"
    near = photos.PhotoLinks(Path("/home/me/pic tures"), Path("/home/me/run/report"))
    assert near.url("a b#.jpg", to_report="../") == "../../../pic%20tures/a%20b%23.jpg"
    inside = photos.PhotoLinks(Path("/home/me/run"), Path("/home/me/run/report"))
    assert inside.url("x:y.jpg", to_report="") == "../x%3Ay.jpg"


def test_photo_root_can_be_given_anew(small_run, tmp_path):
    moved = tmp_path / "moved"
    small_run.photos.rename(moved)
    album = write_report(small_run.folder, photo_root=moved).parent / "photos" / "1.html"
    assert "../../../moved/z.jpg" in Document(album).attributes("src", "img")


def test_large_runs_are_paged_and_no_page_is_unbounded(make_run):
    assert FACES_PER_PAGE <= 200
    seen = [(f"big{i:04d}.jpg", 0, BOX) for i in range(2 * FACES_PER_PAGE + 1)]
    seen += [(f"lone{i:04d}.jpg", 10_000 + i, BOX) for i in range(FACES_PER_PAGE + 1)]
    pairs = 2 * PEOPLE_PER_PAGE + 1
    seen += [(f"pair{i:04d}-{j}.jpg", 1 + i, BOX) for i in range(pairs) for j in range(2)]
    skipped = [(f"s{i:04d}.jpg", "no_face", "") for i in range(1203)]
    run = make_run(seen, skipped=skipped)
    index = write_report(run.folder)
    pages = assert_sound(index)
    report = index.parent
    for name in ("people/0-3", "singletons-2", "people-3", "skipped/1-3", "photos/20"):
        assert report / f"{name}.html" in pages, name
    shown: Counter[str] = Counter()
    for path, page in pages.items():
        crops = [src for src in page.attributes("src", "img") if "crops/" in src]
        assert len(crops) <= FACES_PER_PAGE + 1
        assert path.stat().st_size < 250_000
        if path.parent.name == "people" or path.name.startswith("singletons"):
            shown.update(i for i in page.ids if i.startswith("face-"))
    assert shown == Counter(f"face-{i}" for i in range(len(seen)))


def test_nobody_twice_and_nothing_skipped(make_run):
    run = make_run([(f"{i}.jpg", i, BOX) for i in range(3)])
    index = write_report(run.folder)
    assert_sound(index)
    assert "Nobody appears twice" in Document(index).text
    assert "Nothing was skipped" in Document(index.parent / "skipped.html").text


def test_everybody_twice(make_run):
    index = write_report(make_run([(f"{i}.jpg", 0, BOX) for i in range(3)]).folder)
    pages = assert_sound(index)
    assert "Everybody appears at least twice" in Document(index.parent / "singletons.html").text
    assert index.parent / "people" / "0.html" in pages


@given(st.integers(1, 60), st.integers(1, 60))
def test_page_links_reach_both_ends_and_mark_one(page, last):
    page = min(page, last)
    links = page_links(page, last, str)
    if last == 1:
        assert links == []
        return
    labels = [link.label for link in links]
    assert labels[0] == "1"
    assert labels[-1] == str(last)
    assert [link.label for link in links if link.is_current] == [str(page)]
    assert all((link.href is None) == (link.is_current or link.label == "…") for link in links)


@given(st.lists(st.integers(1, 5000), min_size=1))
def test_histogram_counts_everybody_once(sizes):
    rows = size_histogram(sizes)
    assert sum(int(row.value.replace(",", "")) for row in rows) == len(sizes)
    assert max(row.length for row in rows) == 100


def test_histogram_classes_double():
    assert [row.label for row in size_histogram([1, 2, 3, 4, 5, 9, 1500])][:5] == [
        "1",
        "2",
        "3–4",
        "5–8",
        "9–16",
    ]
    assert size_histogram([1500])[-1].label == "1,025–2,048"


@given(st.integers(2, 40), st.integers(2, 6))
def test_contact_sheets_start_with_the_cover_and_repeat_nobody(n_faces, n):
    faces = list(range(100, 100 + n_faces))
    chosen = spread(faces, 101, n)
    assert chosen[0] == 101
    assert len(set(chosen)) == len(chosen) == min(n, n_faces)
    assert set(chosen) <= set(faces)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("Ada", "Ada"), (" Ada\n", "Ada"), (7, "7"), (None, None), (float("nan"), None), (" ", None)],
)
def test_names_that_users_give(value, expected):
    assert given_name(value) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.25, "0.25 s"), (12.34, "12.3 s"), (75, "1 min 15 s"), (7300, "2 h 1 min"), (-1, "–")],
)
def test_durations(seconds, expected):
    assert duration(seconds) == expected


@given(st.text())
def test_visible_text_has_no_control_or_direction_mark(text):
    shown = visible(text)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", shown)
    assert visible(shown) == shown
