"""Splits and their names on disk: one .npz file of plain arrays and text, never a pickle."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.attributes.splits import Split
from fastface.attributes.tree import SplitNode
from fastface.attributes.within import Whitening
from fastface.errors import CorruptFileError
from fastface.storage import read_arrays, write_arrays

__all__ = ["Names", "load_model", "save_model"]

_FORMAT = "fastface-attributes-2"
_SCALARS = ("threshold", "spread", "strength", "share", "separation")


@dataclass(frozen=True)
class Names:
    """What a split is called.

    Attributes
    ----------
    name : str
        What it tells apart.
    sides : tuple of str
        What sides 0 and 1 are.
    """

    name: str
    sides: tuple[str, str] = ("0", "1")


def save_model(path: str | os.PathLike[str], model: Any) -> None:
    """Write the fitted state of an `AttributeDiscovery`, whole or not at all."""
    target = Path(path)
    nodes = list(model.tree_.walk())
    arrays: dict[str, NDArray[Any]] = {
        **_pack("between", model.hyperplanes_, model.n_features_in_),
        **_pack("within", model.within_hyperplanes_, model.n_features_in_),
        **_pack("tree", [n.split for n in nodes if n.split is not None], model.n_features_in_),
    }
    if model.whitening_ is not None:
        arrays["covariance"] = model.whitening_.covariance
    about = {
        "format": _FORMAT,
        "parameters": model.get_params(),
        "n_people": model.n_people_,
        "n_features": model.n_features_in_,
        "names": [asdict(names) for names in model.names_],
        "nodes": [[node.path, node.n_samples, node.split is not None] for node in nodes],
    }
    write_arrays(target, about, arrays)


def load_model(path: str | os.PathLike[str], model: Any) -> None:
    """Fill an `AttributeDiscovery` from a file of `save_model`."""
    source = Path(path)
    try:
        about, arrays = read_arrays(source, mmap=False)
        if about["format"] != _FORMAT:
            raise ValueError(f"its format is {about['format']!r}, not {_FORMAT!r}")
        _fill(model, about, arrays)
    except (CorruptFileError, ValueError, KeyError, TypeError, IndexError, StopIteration) as error:
        raise CorruptFileError(
            f"{source} holds no splits of AttributeDiscovery ({error}): fit and save again"
        ) from error


def _fill(model: Any, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    model.set_params(**about["parameters"])
    model.n_features_in_ = int(about["n_features"])
    model.n_people_ = int(about["n_people"])
    model.hyperplanes_ = _unpack("between", arrays, model.n_features_in_)
    model.within_hyperplanes_ = _unpack("within", arrays, model.n_features_in_)
    model.names_ = [
        Names(str(n["name"]), (str(n["sides"][0]), str(n["sides"][1]))) for n in about["names"]
    ]
    if len(model.names_) != len(model.hyperplanes_):
        raise ValueError("it has not as many names as splits")
    splits = iter(_unpack("tree", arrays, model.n_features_in_))
    rows = {path: (n, next(splits) if divided else None) for path, n, divided in about["nodes"]}
    model.tree_ = _grow("", rows)
    model.whitening_ = (
        Whitening.from_covariance(arrays["covariance"]) if "covariance" in arrays else None
    )
    # The rows themselves are not kept.
    model.splits_, model.within_splits_, model._people = [], [], None


def _names(name: str, sides: Sequence[str]) -> Names:
    zero, one = sides
    return Names(str(name), (str(zero), str(one)))


def _grow(path: str, rows: dict[str, tuple[int, Split | None]]) -> SplitNode:
    n, split = rows[path]
    children = () if split is None else (_grow(f"{path}0", rows), _grow(f"{path}1", rows))
    return SplitNode(path, int(n), split, children)


def _pack(kind: str, splits: Sequence[Split], width: int) -> dict[str, NDArray[np.float64]]:
    return {
        f"{kind}_directions": np.array([s.direction for s in splits]).reshape(-1, width),
        f"{kind}_scalars": np.array(
            [[getattr(s, name) for name in _SCALARS] for s in splits]
        ).reshape(-1, len(_SCALARS)),
    }


def _unpack(kind: str, arrays: dict[str, NDArray[Any]], width: int) -> list[Split]:
    directions, scalars = arrays[f"{kind}_directions"], arrays[f"{kind}_scalars"]
    if directions.shape != (len(scalars), width) or scalars.shape[1:] != (len(_SCALARS),):
        raise ValueError(f"the splits {kind} have shape {directions.shape}")
    return [
        Split(direction, **dict(zip(_SCALARS, map(float, row), strict=True)))
        for direction, row in zip(directions, scalars, strict=True)
    ]
