"""Turn a run into pages, one at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fastface.errors import MissingDependencyError

from . import text
from .figures import bars, size_histogram, stage_bars, timing_bars
from .photos import Frame, PhotoLinks
from .questions import QuestionView, ask
from .reasons import REASONS
from .run_data import ORDERS, Person, Question, RunData, Skipped
from .views import (
    Card,
    FaceTile,
    FileView,
    PhotoFace,
    PhotoView,
    crop_address,
    n_pages,
    numbered,
    page_links,
    person_label,
    spread,
)

FACES_PER_PAGE = 200
FACES_PER_CARD = 5
PEOPLE_PER_PAGE = FACES_PER_PAGE // FACES_PER_CARD
PHOTOS_PER_PAGE = 40
QUESTIONS_PER_PAGE = 40
QUESTIONS_IN_FRONT = 3
FILES_PER_PAGE = 500
FILES_PER_REASON = 12

# Nothing from the network, no script, no inline style.  Browsers differ in whether 'self' covers
# pages opened from disk, so file: stands beside it.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self' file:; style-src 'self' file:; "
    "base-uri 'none'; form-action 'none'"
)

# Key, address and label of the entries at the top of every page.
NAVIGATION = (
    ("people", "index.html", "People"),
    ("questions", "questions.html", "Questions"),
    ("singletons", "singletons.html", "Seen once"),
    ("photos", "photos/1.html", "Photos"),
    ("skipped", "skipped.html", "Skipped"),
    ("run", "index.html#run", "About"),
)

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page:
    """A finished page: where it goes in the report, its text, and how many faces it shows."""

    name: str
    html: str
    n_faces: int = 0


class Pages:
    """All pages of one report.

    Parameters
    ----------
    data : RunData
    links : PhotoLinks
    order : str
        In which `data` has its people: one of `ORDERS`.
    """

    def __init__(self, data: RunData, links: PhotoLinks, order: str = "doubt") -> None:
        self.data = data
        self.links = links
        self.groups = [person for person in data.people if len(person.faces) > 1]
        self.singletons = [person for person in data.people if len(person.faces) == 1]
        self._singleton_row = {int(p.faces[0]): row for row, p in enumerate(self.singletons)}
        self._environment = _environment()
        self._environment.globals["policy"] = CONTENT_SECURITY_POLICY
        self._environment.globals["site"] = {
            "collection": text.visible(links.root.name or "Photos"),
            "n_faces": len(data.faces),
            "n_photos": len(data.faces.photos),
            "n_people": len(data.people),
            "n_groups": len(self.groups),
            "n_singletons": len(self.singletons),
            "n_skipped": len(data.skipped),
            "n_questions": len(data.questions),
            "order": ORDERS[order],
            "navigation": NAVIGATION,
            "version": text.visible(_mapping(data.info, "versions").get("fastface", "")),
        }

    def __iter__(self) -> Iterator[Page]:
        yield from self._people_pages()
        yield from self._question_pages()
        for position in range(len(self.groups)):
            yield from self._person_pages(position)
        yield from self._singleton_pages()
        yield from self._photo_pages()
        yield from self._skipped_pages()

    # Addresses, from the report's folder

    def _photo_address(self, index: int) -> str:
        return f"photos/{index // PHOTOS_PER_PAGE + 1}.html"

    def _person_address(self, person: Person) -> str:
        if len(person.faces) > 1:
            return f"people/{person.person_id}.html"
        face = int(person.faces[0])
        page = self._singleton_row[face] // FACES_PER_PAGE + 1
        return f"{numbered('singletons', page)}#face-{face}"

    def _tile(self, face: int) -> FaceTile:
        photo = int(self.data.faces.photo[face])
        return FaceTile(
            face_id=face,
            crop=crop_address(face),
            view=f"{self._photo_address(photo)}#face-{face}",
            photo=self.data.faces.photos[photo],
            confidence=float(self.data.faces.confidence[face]),
        )

    # Pages

    def _people_pages(self) -> Iterator[Page]:
        last = n_pages(len(self.groups), PEOPLE_PER_PAGE)

        def address(page: int) -> str:
            return "index.html" if page == 1 else numbered("people", page)

        for page, people in _paged(self.groups, PEOPLE_PER_PAGE):
            context: dict[str, Any] = {
                "cards": [self._card(person) for person in people],
                "page": page,
                "pager": page_links(page, last, address),
            }
            if page == 1:
                yield self._render("index.html", "index.html", **context, **self._overview())
            else:
                yield self._render(address(page), "people.html", **context)

    def _card(self, person: Person) -> Card:
        n_crops = FACES_PER_CARD if len(person.faces) >= FACES_PER_CARD else 2
        chosen = spread(person.faces.tolist(), person.cover, n_crops)
        return Card(
            label=person_label(person),
            href=self._person_address(person),
            n_faces=len(person.faces),
            n_photos=person.n_photos,
            confidence=person.confidence,
            crops=[crop_address(face) for face in chosen],
        )

    def _overview(self) -> dict[str, Any]:
        info = self.data.info
        timings = {
            stage: float(seconds)
            for stage, seconds in _mapping(info, "timings").items()
            if isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
        }
        return {
            "questions": self._asked(self.data.questions[:QUESTIONS_IN_FRONT]),
            "histogram": size_histogram(len(person.faces) for person in self.data.people),
            "timings": timing_bars(timings),
            "stages": stage_bars(_mapping(info, "stages")),
            "whole": _whole_job(info),
            "model": _rows(_mapping(info, "model")),
            "parameters": _rows(_mapping(info, "parameters")),
            "versions": _rows(_mapping(info, "versions")),
            "counts": _rows(_mapping(info, "counts")),
            "photo_root": str(self.links.root),
        }

    def _asked(self, questions: Sequence[Question]) -> list[QuestionView]:
        return [
            ask(question, self.data, self._tile, self._person_address) for question in questions
        ]

    def _question_pages(self) -> Iterator[Page]:
        last = n_pages(len(self.data.questions), QUESTIONS_PER_PAGE)
        for page, questions in _paged(self.data.questions, QUESTIONS_PER_PAGE):
            yield self._render(
                numbered("questions", page),
                "questions.html",
                questions=self._asked(questions),
                pager=page_links(page, last, lambda number: numbered("questions", number)),
                page=page,
            )

    def _person_pages(self, position: int) -> Iterator[Page]:
        person = self.groups[position]
        name = f"people/{person.person_id}"
        last = n_pages(len(person.faces), FACES_PER_PAGE)
        around = {
            "previous": self.groups[position - 1] if position else None,
            "following": self.groups[position + 1] if position + 1 < len(self.groups) else None,
        }
        back = position // PEOPLE_PER_PAGE + 1
        for page, faces in _paged(person.faces.tolist(), FACES_PER_PAGE):
            yield self._render(
                numbered(name, page),
                "person.html",
                n_faces=len(faces),
                label=person_label(person),
                person=person,
                cover=crop_address(person.cover),
                tiles=[self._tile(face) for face in faces],
                pager=page_links(page, last, lambda number: numbered(name, number)),
                page=page,
                back="index.html#people" if back == 1 else numbered("people", back),
                around={
                    side: other and (person_label(other), self._person_address(other))
                    for side, other in around.items()
                },
            )

    def _singleton_pages(self) -> Iterator[Page]:
        last = n_pages(len(self.singletons), FACES_PER_PAGE)
        for page, people in _paged(self.singletons, FACES_PER_PAGE):
            yield self._render(
                numbered("singletons", page),
                "singletons.html",
                n_faces=len(people),
                tiles=[(self._tile(int(p.faces[0])), p.name, p.person_id) for p in people],
                pager=page_links(page, last, lambda number: numbered("singletons", number)),
                page=page,
            )

    def _photo_pages(self) -> Iterator[Page]:
        faces = self.data.faces
        by_photo = np.argsort(faces.photo, kind="stable")
        ends = np.cumsum(np.bincount(faces.photo, minlength=len(faces.photos)))
        faces_of = np.split(by_photo, ends[:-1])
        last = n_pages(len(faces.photos), PHOTOS_PER_PAGE)
        for page, indices in _paged(range(len(faces.photos)), PHOTOS_PER_PAGE):
            views = [self._photo_view(index, faces_of[index].tolist()) for index in indices]
            yield self._render(
                f"photos/{page}.html",
                "photos.html",
                n_faces=sum(len(view.faces) for view in views),
                photos=views,
                pager=page_links(page, last, lambda number: f"photos/{number}.html"),
                page=page,
            )

    def _photo_view(self, index: int, members: list[int]) -> PhotoView:
        def neighbor(other: int) -> str | None:
            exists = 0 <= other < len(self.data.faces.photos)
            return f"{self._photo_address(other)}#photo-{other}" if exists else None

        name = self.data.faces.photos[index]
        state, frame = self.links.look(name)
        return PhotoView(
            index=index,
            name=name,
            url=self.links.url(name, to_report="../"),
            state=state,
            frame=frame,
            faces=[self._photo_face(face, frame) for face in members],
            previous=neighbor(index - 1),
            following=neighbor(index + 1),
        )

    def _photo_face(self, face: int, frame: Frame | None) -> PhotoFace:
        person = self.data.people[self.data.person_of[face]]
        left, top, right, bottom = self.data.faces.boxes[face].tolist()
        box = None
        if frame is not None:
            x0, y0, x1, y1 = frame.place((left, top, right, bottom))
            box = (x0, y0, x1 - x0, y1 - y0)
        return PhotoFace(
            tile=self._tile(face),
            person=person_label(person),
            href=self._person_address(person),
            box=box,
            corners=(left, top, right, bottom),
            detector_score=float(self.data.faces.detector_score[face]),
        )

    def _skipped_pages(self) -> Iterator[Page]:
        groups: dict[str, list[Skipped]] = {}
        for skipped in self.data.skipped:
            groups.setdefault(skipped.reason, []).append(skipped)
        largest_first = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
        titles = [REASONS.get(reason, (reason, "")) for reason, _ in largest_first]
        chart = bars(
            (title, len(files), text.count(len(files)))
            for (title, _), (_, files) in zip(titles, largest_first, strict=True)
        )
        sections = []
        for number, ((reason, files), (title, explanation)) in enumerate(
            zip(largest_first, titles, strict=True), start=1
        ):
            section = {
                "title": title,
                "explanation": explanation,
                "code": reason,
                "n_files": len(files),
                "files": [self._file(file, "") for file in files[:FILES_PER_REASON]],
                "more": f"skipped/{number}.html" if len(files) > FILES_PER_REASON else None,
            }
            sections.append(section)
            if section["more"]:
                yield from self._reason_pages(f"skipped/{number}", section, files)
        yield self._render("skipped.html", "skipped.html", sections=sections, chart=chart)

    def _reason_pages(
        self, name: str, section: Mapping[str, Any], files: list[Skipped]
    ) -> Iterator[Page]:
        last = n_pages(len(files), FILES_PER_PAGE)
        for page, shown in _paged(files, FILES_PER_PAGE):
            yield self._render(
                numbered(name, page),
                "skipped_files.html",
                section=section,
                files=[self._file(file, "../") for file in shown],
                pager=page_links(page, last, lambda number: numbered(name, number)),
                page=page,
            )

    def _file(self, skipped: Skipped, to_report: str) -> FileView:
        # Only what was read as a photo is worth a look; anything else may be anything.
        url = self.links.url(skipped.file, to_report=to_report)
        is_photo = skipped.reason == "no_face"
        return FileView(skipped.file, skipped.message, url if is_photo else None)

    def _render(self, name: str, template: str, n_faces: int = 0, **context: Any) -> Page:
        to_report = "../" * name.count("/")
        html = self._environment.get_template(template).render(to_report=to_report, **context)
        return Page(name, html, n_faces)


def _paged(items: Sequence[Item], per_page: int) -> Iterator[tuple[int, Sequence[Item]]]:
    for page in range(1, n_pages(len(items), per_page) + 1):
        yield page, items[(page - 1) * per_page : page * per_page]


def _mapping(info: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = info.get(key)
    return value if isinstance(value, dict) else {}


def _rows(mapping: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(str(key).replace("_", " "), _plain(value)) for key, value in mapping.items()]


def _whole_job(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    wall, busy = info.get("wall_seconds"), info.get("share_of_cores_busy")
    rows = []
    if isinstance(wall, (int, float)):
        rows.append(("the whole job", text.duration(wall)))
    if isinstance(busy, (int, float)):
        rows.append(("cores busy", f"{busy:.0%}"))
    return rows


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _environment() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise MissingDependencyError.for_package(
            "Jinja2", extra="report", purpose="Writing the report"
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    for used in (text.visible, text.count, text.plural, text.decimal, text.unit_interval):
        environment.filters[used.__name__] = used
    return environment
