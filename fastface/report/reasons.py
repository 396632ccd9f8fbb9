"""Why a file gave no face, for people: code, title, explanation."""

from __future__ import annotations

__all__ = ["REASONS"]

REASONS = {
    "no_face": ("No face found", "The photo was read, and the detector saw no face in it."),
    "empty": ("Empty file", "The file has no bytes."),
    "not_an_image": ("Not an image", "The content is no image, whatever the name says."),
    "truncated": ("Cut off or damaged", "The image is cut off or damaged."),
    "too_large": ("Too many pixels", "The image is larger than the limit on pixels."),
    "unreadable": ("Unreadable", "The file could not be opened or decoded."),
    "bad_name": ("Name not in Unicode", "The name cannot be stored in the result tables."),
    "not_a_file": ("Not a file", "A folder, a pipe or a device stands where a photo should."),
    "crashed": ("Crashed", "Reading this file ended the process that read it."),
    "not_a_crop": ("Not a crop", "With --crops, every image must have the size of a crop."),
    "forgotten": ("Forgotten", "All faces on it were removed on request."),
    "unsupported_format": ("Unsupported format", "The kind of image is not one that is read."),
}
