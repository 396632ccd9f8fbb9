"""Does a model of one's own tell people apart?  Three photos say whether its preset is right."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastface.embedder import Embedder
from fastface.errors import FastfaceError, NoFacesError
from fastface.faces import FaceExtractor
from fastface.models import ModelSpec, list_specs

__all__ = ["SelfTest", "self_test"]

PathLike = str | os.PathLike[str]
# Another preset that parts the photos by so much more is named.
_CLEARLY_BETTER = 0.15


@dataclass(frozen=True)
class SelfTest:
    """What three photos say about a model.

    Attributes
    ----------
    spec : str
        Name of the spec that was tried.
    same, other : float
        Distance between two photos of one person, and of the first to another person, on the
        spec's metric.
    threshold : float
        The spec's distance between one person and two.
    warnings : tuple of str
        Empty where all is as it should be.
    """

    spec: str
    same: float
    other: float
    threshold: float
    warnings: tuple[str, ...]


def self_test(
    model: PathLike,
    same: tuple[PathLike, PathLike],
    other: PathLike,
    *,
    spec: ModelSpec | str | None = None,
    detector: str = "dlib-hog",
) -> SelfTest:
    """Embed two photos of one person and one of another, and judge the distances.

    A preset of the wrong colors, scale or alignment makes a model see noise: people then lie
    closer together than they should, or one person farther apart.

    Parameters
    ----------
    model : str or path
        A name, or an ONNX file.
    same : (path, path)
        Two photos of one person; the largest face of each counts.
    other : path
        A photo of somebody else.
    spec : ModelSpec or str, optional
        For a file: what it is.
    detector : str
        See `fastface.faces.create_detector`.

    Returns
    -------
    SelfTest

    Raises
    ------
    NoFacesError
        If a photo shows no face.
    FastfaceError
        If the model or a photo cannot be used.
    """
    photos = [*same, other]
    embedder = Embedder(model, spec=spec)
    near, far = _distances(embedder, photos, detector)
    used = embedder.spec
    warnings = []
    if near >= far:
        warnings.append("the two photos of one person are no closer than the other person's")
    if near > used.same_person_distance:
        warnings.append(
            f"one person's photos are {near:.3f} apart, beyond the {used.same_person_distance:g} "
            "at which two people begin"
        )
    if far < used.same_person_distance:
        warnings.append(
            f"two people are {far:.3f} apart, within the {used.same_person_distance:g} of one"
        )
    if warnings and used.weights is None:
        warnings += _look_for_better(model, used, photos, detector, _margin(near, far))
    return SelfTest(used.name, near, far, used.same_person_distance, tuple(warnings))


def _look_for_better(
    model: PathLike, used: ModelSpec, photos: list[PathLike], detector: str, margin: float
) -> list[str]:
    """Try the presets that also fit the file, and name the one that is clearly better."""
    best, best_rank = "", (False, margin + _CLEARLY_BETTER)
    for preset in list_specs():
        if preset.weights is not None or preset == used:
            continue
        try:
            near, far = _distances(Embedder(model, spec=preset), photos, detector)
        except FastfaceError:  # another size, another length: not this one
            continue
        # One that puts its own threshold between the two distances comes before any other.
        rank = near < preset.same_person_distance < far, _margin(near, far)
        if rank > best_rank:
            best, best_rank = preset.name, rank
    return [f"the preset {best!r} parts them better: try spec={best!r}"] if best else []


def _margin(near: float, far: float) -> float:
    """Return how far apart the two distances are, from -1 to 1."""
    return (far - near) / max(far + near, 1e-12)


def _distances(embedder: Embedder, photos: list[PathLike], detector: str) -> tuple[float, float]:
    extractor = FaceExtractor(embedder.spec.template, detector)
    crops = [_largest_face(extractor, photo) for photo in photos]
    first, second, other = embedder.embed(crops, normalize=embedder.spec.metric == "cosine")

    def distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
        if embedder.spec.metric == "cosine":
            return float(1 - a @ b)
        return float(np.linalg.norm(a - b))

    return distance(first, second), distance(first, other)


def _largest_face(extractor: FaceExtractor, photo: PathLike) -> NDArray[np.uint8]:
    faces = extractor.extract(photo)
    if not faces:
        raise NoFacesError(f"no face in {os.fspath(photo)}: give another photo")
    return max(faces, key=lambda face: face.quality.size).crop
