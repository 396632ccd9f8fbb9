"""The models fastface knows by name."""

from __future__ import annotations

from dataclasses import replace

from fastface.errors import InvalidInputError
from fastface.models.spec import ModelSpec, PackagedWeights

__all__ = ["get_spec", "list_specs"]

_YOURS = "that of the file you bring"

_DLIB_RESNET = ModelSpec(
    name="dlib-resnet",
    licence="CC0-1.0",
    licence_url="https://github.com/davisking/dlib-models#dlib_face_recognition_resnet_model_v1datbz2",
    input_size=(150, 150),
    color_order="rgb",
    # The values the weights file itself carries; they are float32 there.
    mean=(122.78199768066406, 117.0009994506836, 104.2979965209961),
    std=(256.0, 256.0, 256.0),
    template="dlib-150",
    embedding_size=128,
    metric="euclidean",
    same_person_distance=0.6,
    typical_norm=1.43,
    linkage_cutoff=0.55,
    weights=PackagedWeights(
        distribution="face-recognition-models",
        file="face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
        sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    ),
)

# InsightFace's ONNX recognition models (w600k_r50, glint360k, …).  The distance is the one
# deepface uses for its ArcFace.
_ARCFACE = ModelSpec(
    name="arcface-112",
    licence=_YOURS,
    licence_url="",
    input_size=(112, 112),
    color_order="rgb",
    mean=(127.5, 127.5, 127.5),
    std=(127.5, 127.5, 127.5),
    template="arcface-112",
    embedding_size=512,
    metric="cosine",
    same_person_distance=0.68,
)

_PRESETS = (
    _ARCFACE,
    # AdaFace is trained like ArcFace, on BGR.
    replace(_ARCFACE, name="adaface-112", color_order="bgr"),
    # facenet-pytorch's fixed_image_standardization; the distance is deepface's.
    replace(
        _ARCFACE,
        name="facenet-160",
        input_size=(160, 160),
        std=(128.0, 128.0, 128.0),
        template="facenet-160",
        same_person_distance=0.40,
    ),
    # OpenCV Zoo's SFace normalises inside its own graph; OpenCV's threshold is a cosine of 0.363.
    replace(
        _ARCFACE,
        name="sface-112",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        embedding_size=128,
        same_person_distance=0.637,
    ),
)

_SPECS = {spec.name: spec for spec in (_DLIB_RESNET, *_PRESETS)}


def get_spec(name: str) -> ModelSpec:
    """Look up a model or preset by name.

    Parameters
    ----------
    name : str
        One of `list_specs`.

    Returns
    -------
    ModelSpec

    Raises
    ------
    InvalidInputError
        If there is none of that name.
    """
    spec = _SPECS.get(name)
    if spec is None:
        raise InvalidInputError(f"no model is called {name!r}; there are: {', '.join(_SPECS)}")
    return spec


def list_specs() -> list[ModelSpec]:
    """Return every model and preset that has a name, the default model first."""
    return list(_SPECS.values())
