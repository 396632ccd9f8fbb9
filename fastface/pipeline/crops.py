"""Photos that are aligned crops already: one face each, nothing to search for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from fastface.errors import ImageError
from fastface.faces import Detection, Face, get_template, load_image
from fastface.faces.quality import grade_face

if TYPE_CHECKING:
    from fastface.faces import AlignmentTemplate

__all__ = ["CropReader"]


class CropReader:
    """Takes the place of `fastface.faces.FaceExtractor` where faces are cut out already.

    Parameters
    ----------
    template : str
        Name of the alignment template that the crops were cut by; it says their size and where
        the landmarks are.
    """

    def __init__(self, template: str) -> None:
        self.template: AlignmentTemplate = get_template(template)

    def extract(self, path: str | os.PathLike[str], /) -> list[Face]:
        """Return the one face of a crop.

        Raises
        ------
        ImageError
            If the file gives no image, or one of another size.
        """
        crop = load_image(path)
        height, width = crop.shape[:2]
        size = self.template.size
        if (height, width) != (size, size):
            raise ImageError(
                f"it has {width} × {height} pixels, and a crop by {self.template.name!r} has"
                f" {size} × {size}",
                reason="not_a_crop",
            )
        landmarks = self.template.points_for("eye-corners-nose").astype(np.float32)
        detection = Detection((0, 0, size, size), 0.0, landmarks)
        return [Face(detection, crop, grade_face(detection, crop))]
