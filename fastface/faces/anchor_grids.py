"""What the outputs of three families of face detectors mean: boxes, scores and five landmarks.

All three look at a photo through grids with steps of 8, 16 and 32 pixels; they differ in how they
want their pixels and in how a cell's numbers are turned into a face.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["FAMILIES", "Candidates", "Family", "find_family", "suppress_candidates"]

_STRIDES = (8, 16, 32)
Outputs = dict[str, NDArray[Any]]


class Candidates(NamedTuple):
    """What a network gives before overlapping boxes are dropped, one row a candidate."""

    scores: NDArray[np.floating]  # (n,), a probability
    boxes: NDArray[np.floating]  # (n, 4): left, top, right, bottom
    landmarks: NDArray[np.floating]  # (n, 5, 2)


@dataclass(frozen=True)
class Family:
    """Detectors that were published together and are read alike.

    Attributes
    ----------
    name : str
    bgr : bool
        Whether blue comes first.
    mean, std : sequence of float
        The network sees ``(pixel - mean) / std``, in its own order of colors.
    threshold : float
        Least score of a face, unless the user says otherwise.
    overlap : float
        Largest intersection over union of two faces.
    decode : callable
        From outputs without their batch dimension, and the input's height and width.
    """

    name: str
    bgr: bool
    mean: Sequence[float]
    std: float
    threshold: float
    overlap: float
    decode: Callable[[Outputs, int, int], Candidates]


def find_family(outputs: Outputs) -> Family | None:
    """Tell by the names and widths of the outputs which family a network is of."""
    if all(f"{part}_{stride}" in outputs for part in _YUNET_PARTS for stride in _STRIDES):
        return FAMILIES["yunet"]
    widths = Counter(output.shape[-1] if output.ndim == 2 else 0 for output in outputs.values())
    if widths == {1: 3, 4: 3, 10: 3}:
        return FAMILIES["scrfd"]
    if widths == {2: 1, 4: 1, 10: 1}:
        return FAMILIES["retinaface"]
    return None


def _cells(height: int, width: int, stride: int, repeat: int = 1) -> NDArray[np.float32]:
    """Return x and y of the upper left corner of each cell, row after row, in pixels."""
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)
    y, x = np.mgrid[:rows, :columns]
    return np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), repeat, axis=0).astype(
        np.float32
    ) * np.float32(stride)


_YUNET_PARTS = ("cls", "obj", "bbox", "kps")


def _decode_yunet(outputs: Outputs, height: int, width: int) -> Candidates:
    """Wu, Peng & Yu, "YuNet: A Tiny Millisecond-level Face Detector", MIR 2023."""
    parts = []
    for stride in _STRIDES:
        face, sure, box, points = (outputs[f"{part}_{stride}"] for part in _YUNET_PARTS)
        corners = _cells(height, width, stride)
        scores = np.sqrt(face[:, 0].clip(0, 1) * sure[:, 0].clip(0, 1))
        centers = corners + box[:, :2] * stride
        half = np.exp(box[:, 2:]) * (stride / 2)
        boxes = np.hstack([centers - half, centers + half])
        parts.append(
            Candidates(scores, boxes, corners[:, None] + points.reshape(-1, 5, 2) * stride)
        )
    return _join(parts)


def _decode_scrfd(outputs: Outputs, height: int, width: int) -> Candidates:
    """Guo et al., "Sample and Computation Redistribution for Efficient Face Detection", 2021."""
    # The file names outputs by numbers; the finer the grid, the more rows.
    by_width = {
        columns: sorted(
            (output for output in outputs.values() if output.shape[-1] == columns),
            key=len,
            reverse=True,
        )
        for columns in (1, 4, 10)
    }
    parts = []
    for level, stride in enumerate(_STRIDES):
        scores, box, points = (by_width[columns][level] for columns in (1, 4, 10))
        anchors = _cells(height, width, stride, repeat=2)
        boxes = np.hstack([anchors - box[:, :2] * stride, anchors + box[:, 2:] * stride])
        landmarks = anchors[:, None] + points.reshape(-1, 5, 2) * stride
        parts.append(Candidates(scores[:, 0], boxes, landmarks))
    return _join(parts)


_RETINAFACE_SIDES = ((16, 32), (64, 128), (256, 512))
_RETINAFACE_VARIANCES = (0.1, 0.2)


def _decode_retinaface(outputs: Outputs, height: int, width: int) -> Candidates:
    """Deng et al., "RetinaFace", CVPR 2020, as in its PyTorch version."""
    by_width = {output.shape[-1]: output for output in outputs.values()}
    centers, sides = [], []
    for stride, level_sides in zip(_STRIDES, _RETINAFACE_SIDES, strict=True):
        corners = _cells(height, width, stride, repeat=2)
        centers.append(corners + stride / 2)
        sides.append(np.tile(np.array(level_sides, dtype=np.float32), len(corners) // 2))
    center, side = np.concatenate(centers), np.concatenate(sides)[:, None]
    move, stretch = _RETINAFACE_VARIANCES
    box = by_width[4]
    middle = center + box[:, :2] * move * side
    half = side * np.exp(box[:, 2:] * stretch) / 2
    landmarks = center[:, None] + by_width[10].reshape(-1, 5, 2) * move * side[:, None]
    boxes = np.hstack([middle - half, middle + half])
    return _join([Candidates(by_width[2][:, 1], boxes, landmarks)])


def _join(parts: Sequence[Candidates]) -> Candidates:
    scores, boxes, landmarks = (
        np.concatenate(column).astype(np.float32) for column in zip(*parts, strict=True)
    )
    return Candidates(scores, boxes, landmarks)


FAMILIES = {
    family.name: family
    for family in (
        Family("yunet", True, (0.0, 0.0, 0.0), 1.0, 0.8, 0.3, _decode_yunet),
        Family("scrfd", False, (127.5, 127.5, 127.5), 128.0, 0.5, 0.4, _decode_scrfd),
        Family("retinaface", True, (104.0, 117.0, 123.0), 1.0, 0.8, 0.4, _decode_retinaface),
    )
}


def suppress_candidates(found: Candidates, threshold: float, overlap: float) -> Candidates:
    """Keep what scores enough and, of boxes that overlap, the best; best first.

    Parameters
    ----------
    found : Candidates
    threshold : float
        Least score.
    overlap : float
        Largest intersection over union of two kept boxes.
    """
    good = np.flatnonzero(found.scores >= threshold)
    order = good[np.argsort(-found.scores[good], kind="stable")]
    boxes = found.boxes[order].astype(np.float64)
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    alive = np.ones(len(order), dtype=bool)
    kept = []
    for i in range(len(order)):
        if not alive[i]:
            continue
        kept.append(order[i])
        low = np.maximum(boxes[i, :2], boxes[i + 1 :, :2])
        high = np.minimum(boxes[i, 2:], boxes[i + 1 :, 2:])
        inner = np.prod(np.maximum(high - low, 0), axis=1)
        alive[i + 1 :] &= inner <= overlap * (areas[i] + areas[i + 1 :] - inner)
    index = np.array(kept, dtype=np.intp)
    return Candidates(found.scores[index], found.boxes[index], found.landmarks[index])
