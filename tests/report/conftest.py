"""Run folders and photos drawn for the report's tests."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

# Skin colors of the drawn faces, one a person: far from every color of the style sheet.
COLORS = [(214, 60, 50), (60, 80, 220), (230, 190, 20), (150, 60, 190), (240, 120, 30)]

BACKGROUND = (20, 160, 170)

Seen = tuple[str, int, tuple[int, int, int, int]]


def draw_face(color: tuple[int, int, int], size: int = 150) -> Image.Image:
    image = Image.new("RGB", (size, size), color)
    draw = ImageDraw.Draw(image)
    for x in (0.35, 0.65):
        draw.ellipse([size * (x - 0.06), size * 0.35, size * (x + 0.06), size * 0.45], fill="black")
    draw.arc([size * 0.3, size * 0.45, size * 0.7, size * 0.75], 20, 160, fill="black", width=5)
    return image


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


@dataclass
class Run:
    folder: Path
    photos: Path
    faces: list[dict[str, Any]]
    people: list[dict[str, Any]]
    skipped: list[tuple[str, str, str]]


MakeRun = Callable[..., Run]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Write a run folder for ``seen``: (photo, person, box) of each face."""

    def make(
        seen: Sequence[Seen],
        *,
        names: dict[int, str] | None = None,
        skipped: Sequence[tuple[str, str, str]] = (),
        info: dict[str, Any] | None = None,
        photo_size: tuple[int, int] = (400, 300),
    ) -> Run:
        folder, photos = tmp_path / "run", tmp_path / "my photos"
        folder.mkdir(exist_ok=True)
        photos.mkdir(exist_ok=True)
        names = names or {}
        seen = sorted(seen)
        order = list(dict.fromkeys(photo for photo, _, _ in seen))
        faces = [
            {
                "face_id": face_id,
                "photo": photo,
                "photo_id": order.index(photo) if len(order) < 1000 else 0,
                **dict(zip(("left", "top", "right", "bottom"), box, strict=True)),
                "landmarks": [0.0] * 10,
                "detector_score": 1.25,
                "size": 100.0,
                "sharpness": 0.5,
                "quality": 0.5,
                "person_id": person,
                "confidence": 1 - (face_id % 50) / 100,
            }
            for face_id, (photo, person, box) in enumerate(seen)
        ]
        members: dict[int, list[dict[str, Any]]] = {}
        for face in faces:
            members.setdefault(face["person_id"], []).append(face)
        people = [
            {
                "person_id": person,
                "name": names.get(person),
                "n_faces": len(own),
                "n_photos": len({face["photo"] for face in own}),
                "cover_face_id": own[0]["face_id"],
                "confidence": 0.75,
            }
            for person, own in sorted(members.items(), key=lambda item: -len(item[1]))
        ]
        integers = ["person_id", "n_faces", "n_photos", "cover_face_id"]
        people_schema = pa.schema(
            [
                *((name, pa.int64()) for name in integers),
                ("name", pa.string()),
                ("confidence", pa.float32()),
            ]
        )
        pq.write_table(pa.Table.from_pylist(faces), folder / "faces.parquet")
        pq.write_table(pa.Table.from_pylist(people, people_schema), folder / "people.parquet")
        columns = list(zip(*skipped, strict=True)) or [[], [], []]
        pq.write_table(
            pa.table(
                {
                    name: pa.array(list(column), pa.string())
                    for name, column in zip(("file", "reason", "message"), columns, strict=True)
                }
            ),
            folder / "skipped.parquet",
        )
        crops = [jpeg(draw_face(COLORS[i % len(COLORS)])) for i in range(len(COLORS))]
        pq.write_table(
            pa.table(
                {
                    "face_id": [face["face_id"] for face in faces],
                    "jpeg": [crops[face["person_id"] % len(COLORS)] for face in faces],
                }
            ),
            folder / "crops.parquet",
            row_group_size=64,
        )
        contents = {
            "versions": {"fastface": "9.8.7", "numpy": "2.0"},
            "model": {"name": "toy-net", "sha256": "ab" * 32, "licence": "CC0-1.0"},
            "parameters": {"n_neighbors": 80, "method": "overlap-linkage"},
            "photo_root": str(photos),
            "counts": {"photos": len(order)},
            "timings": {"detect": 75.0, "group": 0.5},
            "stages": {
                "detect": {"busy_seconds": 130.0, "lanes": 2, "utilization": 0.867},
                "embed": {"busy_seconds": 30.0, "lanes": 1, "utilization": 0.4},
            },
            "wall_seconds": 80.2,
            "share_of_cores_busy": 0.874,
        }
        (folder / "run.json").write_text(json.dumps(contents | (info or {})), encoding="utf-8")
        if len(order) < 100:
            _draw_photos(photos, faces, photo_size)
        for file, reason, _ in skipped:
            if reason == "no_face" and _is_inside(file):
                (photos / file).touch()
        return Run(folder, photos, faces, people, list(skipped))

    return make


def _draw_photos(folder: Path, faces: list[dict[str, Any]], size: tuple[int, int]) -> None:
    """Draw photos in which a box of its person's color marks each face."""
    by_photo: dict[str, list[dict[str, Any]]] = {}
    for face in faces:
        by_photo.setdefault(face["photo"], []).append(face)
    for photo, own in by_photo.items():
        if not _is_inside(photo):
            continue
        picture = Image.new("RGB", size, BACKGROUND)
        for face in own:
            color = COLORS[face["person_id"] % len(COLORS)]
            picture.paste(color, (face["left"], face["top"], face["right"], face["bottom"]))
        path = folder / photo
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, "JPEG", quality=95)


def _is_inside(photo: str) -> bool:
    return ".." not in Path(photo).parts and not Path(photo).is_absolute()


BOX = (100, 60, 200, 160)


@pytest.fixture
def small_run(make_run: MakeRun) -> Run:
    """Three people with several faces, two with one, one photo of two, four skipped files."""
    seen = [(f"a/p{i:02d}.jpg", 0, BOX) for i in range(7)]
    seen += [(f"b/q{i}.jpg", 1, BOX) for i in range(3)] + [(f"c{i}.jpg", 2, BOX) for i in range(2)]
    seen += [("a/p00.jpg", 3, (250, 60, 350, 160)), ("z.jpg", 4, BOX)]
    skipped = [("no.jpg", "no_face", "nobody"), ("no2.jpg", "no_face", "nobody")]
    skipped += [("cut.jpg", "truncated", "row 3 of 9"), ("odd.xyz", "novel_reason", "why not")]
    return make_run(seen, names={1: "Ada Lovelace"}, skipped=skipped)
