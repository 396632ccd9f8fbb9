"""Photos to aligned, graded faces: safe decoding, detection, alignment, quality."""

from __future__ import annotations

from fastface.faces.align import align_face
from fastface.faces.detect import create_detector, list_detectors
from fastface.faces.dlib_cnn import DlibCnnDetector
from fastface.faces.dlib_hog import DlibHogDetector
from fastface.faces.extract import FaceExtractor
from fastface.faces.images import DEFAULT_MAX_PIXELS, load_image
from fastface.faces.onnx_detector import OnnxDetector
from fastface.faces.photos import PhotoListing, SkippedFile, find_photos
from fastface.faces.quality import grade_face, measure_sharpness
from fastface.faces.search import DEFAULT_MAX_SIDE
from fastface.faces.templates import AlignmentTemplate, get_template, list_templates
from fastface.faces.types import Detection, Detector, Face, Quality

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "DEFAULT_MAX_SIDE",
    "AlignmentTemplate",
    "Detection",
    "Detector",
    "DlibCnnDetector",
    "DlibHogDetector",
    "Face",
    "FaceExtractor",
    "OnnxDetector",
    "PhotoListing",
    "Quality",
    "SkippedFile",
    "align_face",
    "create_detector",
    "find_photos",
    "get_template",
    "grade_face",
    "list_detectors",
    "list_templates",
    "load_image",
    "measure_sharpness",
]
