"""What must be known about a model before its vectors mean anything."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, Literal

from fastface.errors import InvalidInputError, ModelError

__all__ = ["ModelSpec", "PackagedWeights"]

_METRICS = ("euclidean", "cosine")
_MAX_SIDE = 1024


@dataclass(frozen=True)
class PackagedWeights:
    """A weights file that an installed distribution carries.

    Attributes
    ----------
    distribution : str
        Name on the package index.
    file : str
        The file's path inside the installation.
    sha256 : str
        What its bytes must hash to.
    """

    distribution: str
    file: str
    sha256: str


@dataclass(frozen=True)
class ModelSpec:
    """How to feed an embedding model and how to read what comes out.

    Attributes
    ----------
    name : str
        Short name, as in ``Embedder("dlib-resnet")``.
    licence, licence_url : str
        Terms of the weights, and where they are written.
    input_size : (int, int)
        Height and width of a crop, in pixels.
    color_order : {"rgb", "bgr"}
        What the network itself wants.  Crops given to fastface are always RGB.
    mean, std : (float, float, float)
        The network sees ``(pixel - mean) / std`` for each channel, in `color_order`, on the scale
        0 to 255.
    template : str
        Name of the alignment template its crops are cut by.
    embedding_size : int
        Length of a vector.
    metric : {"euclidean", "cosine"}
        How two vectors are compared.
    same_person_distance : float
        On that metric, the distance below which two faces are usually one person: a place to
        start, not a promise.
    typical_norm : float or None
        Length to which vectors are scaled before they are grouped by euclidean distance.
    linkage_cutoff : float or None
        On vectors so scaled, the distance beyond which two faces say nothing for each other; None
        where it has to be estimated from the data.
    output_name : str or None
        Which output holds the vectors; needed only where a file has several.
    weights : PackagedWeights or None
        Where the weights come from; None for a preset, which describes a file of yours.

    Raises
    ------
    InvalidInputError
        If a value is of the wrong kind or outside what makes sense.
    """

    name: str
    licence: str
    licence_url: str
    input_size: tuple[int, int]
    color_order: Literal["rgb", "bgr"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    template: str
    embedding_size: int
    metric: Literal["euclidean", "cosine"]
    same_person_distance: float
    typical_norm: float | None = None
    linkage_cutoff: float | None = None
    output_name: str | None = None
    weights: PackagedWeights | None = None

    def __post_init__(self) -> None:
        for field in ("name", "licence", "licence_url", "template"):
            self._require(isinstance(getattr(self, field), str), field, "a string")
        self._require(bool(self.name), "name", "not empty")
        self._require(
            _are_numbers(self.input_size, 2, integer=True)
            and all(1 <= side <= _MAX_SIDE for side in self.input_size),
            "input_size",
            f"(height, width), each 1 to {_MAX_SIDE}",
        )
        self._require(self.color_order in ("rgb", "bgr"), "color_order", "'rgb' or 'bgr'")
        self._require(_are_numbers(self.mean, 3), "mean", "three finite numbers")
        self._require(
            _are_numbers(self.std, 3) and all(value > 0 for value in self.std),
            "std",
            "three finite numbers above 0",
        )
        self._require(
            _are_numbers((self.embedding_size,), 1, integer=True)
            and 1 <= self.embedding_size <= 65536,
            "embedding_size",
            "an integer from 1 to 65536",
        )
        self._require(self.metric in _METRICS, "metric", f"one of {', '.join(_METRICS)}")
        for field in ("same_person_distance", "typical_norm", "linkage_cutoff"):
            value = getattr(self, field)
            optional = field != "same_person_distance"
            self._require(
                (optional and value is None) or (_are_numbers((value,), 1) and value > 0),
                field,
                "a finite number above 0" + (" or None" if optional else ""),
            )

        self._require(
            self.output_name is None or isinstance(self.output_name, str),
            "output_name",
            "a string or None",
        )

    def _require(self, holds: bool, field: str, allowed: str) -> None:
        if not holds:
            raise InvalidInputError(
                f"ModelSpec: {field} must be {allowed}, got {getattr(self, field)!r}"
            )

    def to_json(self) -> str:
        """Return the spec as text for a model file to carry, without where its weights lay."""
        fields = dataclasses.asdict(self)
        del fields["weights"]
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Return the spec that `to_json` wrote.

        Parameters
        ----------
        text : str
            From a model file's metadata; it may be anything.

        Returns
        -------
        ModelSpec
            Without `weights`.

        Parameters
        ----------
        text : str
            JSON.

        Raises
        ------
        ModelError
            If the text is anything else.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            for field in ("input_size", "mean", "std"):
                fields[field] = tuple(fields[field])
            return cls(**fields)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ModelError(f"not a model description that fastface wrote: {error}") from error


def _are_numbers(values: object, count: int, *, integer: bool = False) -> bool:
    allowed = int if integer else (int, float)
    return (
        isinstance(values, tuple)
        and len(values) == count
        and all(
            isinstance(value, allowed) and not isinstance(value, bool) and math.isfinite(value)
            for value in values
        )
    )
