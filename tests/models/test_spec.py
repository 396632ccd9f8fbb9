"""Specs refuse nonsense and survive being written into a file."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from fastface import models
from fastface.errors import InvalidInputError, ModelError
from fastface.faces.templates import get_template

ALL = models.list_specs()


def test_the_default_comes_first_and_is_the_only_one_with_weights() -> None:
    assert ALL[0].name == "dlib-resnet"
    assert [spec.name for spec in ALL if spec.weights] == ["dlib-resnet"]
    assert len({spec.name for spec in ALL}) == len(ALL)


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_every_spec(spec: models.ModelSpec) -> None:
    assert models.get_spec(spec.name) is spec
    template = get_template(spec.template)
    assert (template.size, template.size) == spec.input_size
    restored = models.ModelSpec.from_json(spec.to_json())
    assert restored == dataclasses.replace(spec, weights=None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "other"  # type: ignore[misc]


def test_unknown_name() -> None:
    with pytest.raises(InvalidInputError, match=r"no model is called 'vgg'.*dlib-resnet, arcface"):
        models.get_spec("vgg")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", 3),
        ("input_size", (112,)),
        ("input_size", (112, 0)),
        ("input_size", (112.0, 112)),
        ("input_size", [112, 112]),
        ("color_order", "rgba"),
        ("mean", (0, 0, float("nan"))),
        ("std", (1, 1, 0)),
        ("std", 127.5),
        ("embedding_size", 0),
        ("embedding_size", True),
        ("metric", "manhattan"),
        ("same_person_distance", -1),
        ("same_person_distance", None),
        ("typical_norm", 0),
        ("linkage_cutoff", float("inf")),
        ("output_name", 5),
    ],
)
def test_nonsense_is_refused(field: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"ModelSpec: {field} must be"):
        dataclasses.replace(ALL[0], **{field: value})


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"name": 1}', "[" * 100_000])
def test_text_that_is_no_spec(text: str) -> None:
    with pytest.raises(ModelError, match="not a model description"):
        models.ModelSpec.from_json(text)
