"""Columns of the tables in a run folder."""

from __future__ import annotations

import pyarrow as pa

__all__ = [
    "CROPS",
    "EMBEDDINGS_SHA256",
    "FACES",
    "NAMES",
    "PEOPLE",
    "PHOTOS",
    "QUESTIONS",
    "SHARD_FACES",
    "SKIPPED",
]

_BOX = [(side, pa.int32()) for side in ("left", "top", "right", "bottom")]
_FOUND = [
    ("face_id", pa.int64()),
    ("photo", pa.string()),
    ("photo_id", pa.int64()),
    *_BOX,
    ("landmarks", pa.list_(pa.float32(), 10)),
    ("detector_score", pa.float32()),
    ("size", pa.float32()),
    ("sharpness", pa.float32()),
    ("quality", pa.float32()),
]

# Before anybody is grouped, and with the crop in place.
SHARD_FACES = pa.schema([*_FOUND, ("jpeg", pa.binary())])
FACES = pa.schema([*_FOUND, ("person_id", pa.int64()), ("confidence", pa.float32())])
CROPS = pa.schema([("face_id", pa.int64()), ("jpeg", pa.binary())])
NAMES = pa.schema([("photo", pa.string()), *_BOX, ("person_id", pa.int64()), ("name", pa.string())])
SKIPPED = pa.schema([("file", pa.string()), ("reason", pa.string()), ("message", pa.string())])
PEOPLE = pa.schema(
    [
        ("person_id", pa.int64()),
        ("name", pa.string()),
        ("n_faces", pa.int64()),
        ("n_photos", pa.int64()),
        ("cover_face_id", pa.int64()),
        ("confidence", pa.float32()),
    ]
)
# In the metadata of ``faces.parquet``: what the file beside it was when both were written.
EMBEDDINGS_SHA256 = b"embeddings_sha256"
PHOTOS = pa.schema([("photo", pa.string()), ("size", pa.int64()), ("mtime_ns", pa.int64())])
QUESTIONS = pa.schema(
    [
        ("face_id", pa.int64()),
        ("other_face_id", pa.int64()),
        ("same_person", pa.bool_()),
        ("n_faces", pa.int64()),
        ("doubt", pa.float32()),
    ]
)
