"""A preset that is wrong is noticed, with a real network behind it."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from fastface import models
from fastface.cli.main import main
from fastface.errors import NoFacesError
from fastface.pipeline import self_test as room
from fastface.pipeline.self_test import self_test


@pytest.fixture(scope="module")
def photos(shared_faces: Path) -> tuple[Path, Path, Path]:
    """Two photos of one person and one of another."""
    people = defaultdict(list)
    with (shared_faces / "wild" / "photos.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if "lfw" in row["photo"]:
                people[row["identity"]].append(shared_faces / "wild" / row["photo"])
    several = sorted(name for name, files in people.items() if len(files) >= 2)
    return (*people[several[0]][:2], people[several[1]][0])


@pytest.fixture(scope="module")
def own_file(tmp_path_factory) -> tuple[Path, models.ModelSpec]:
    """The default network as somebody else would bring it: planes of scaled pixels."""
    proto = onnx.load(models.load("dlib-resnet").onnx_path)
    cast, transpose, *_ = proto.graph.node
    assert (cast.op_type, transpose.op_type) == ("Cast", "Transpose")
    planes = transpose.output[0]
    # The first convolution takes raw pixels; here they arrive scaled to -1 … 1.
    scale = onnx.numpy_helper.from_array(np.float32(127.5), "scale")
    nodes = [
        onnx.helper.make_node("Mul", ["images", "scale"], ["scaled"]),
        onnx.helper.make_node("Add", ["scaled", "scale"], [planes]),
        *proto.graph.node[2:],
    ]
    del proto.graph.node[:], proto.graph.input[:], proto.graph.value_info[:]
    del proto.metadata_props[:]
    proto.graph.node.extend(nodes)
    proto.graph.initializer.append(scale)
    proto.graph.input.append(
        onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["n", 3, 150, 150])
    )
    path = tmp_path_factory.mktemp("own") / "own.onnx"
    onnx.save(proto, path)
    spec = replace(
        models.get_spec("dlib-resnet"),
        name="own",
        mean=(127.5, 127.5, 127.5),
        std=(127.5, 127.5, 127.5),
        weights=None,
    )
    return path, spec


def test_the_default_model_passes(photos) -> None:
    found = self_test("dlib-resnet", photos[:2], photos[2])
    assert found.warnings == ()
    assert found.same < found.threshold < found.other


def test_the_right_preset_passes_and_a_wrong_one_is_named(photos, own_file, monkeypatch) -> None:
    path, right = own_file
    assert self_test(path, photos[:2], photos[2], spec=right).warnings == ()
    # Pixels from 0 to 1, where the network wants -1 to 1: half as bright, without contrast.
    wrong = replace(right, name="wrong", mean=(0.0, 0.0, 0.0), std=(25500.0, 25500.0, 25500.0))
    monkeypatch.setattr(room, "list_specs", lambda: [wrong, right])
    found = self_test(path, photos[:2], photos[2], spec=wrong)
    assert any("two people are" in warning for warning in found.warnings)
    assert found.warnings[-1] == "the preset 'own' parts them better: try spec='own'"


def test_one_person_given_for_two_is_noticed(photos, capsys) -> None:
    first, second, other = map(str, photos)
    command = ["models", "test", "dlib-resnet"]
    assert main([*command, "--same", first, second, "--other", other]) == 0
    assert "one person 0." in capsys.readouterr().out
    assert main([*command, "--same", first, other, "--other", second, "--json"]) == 1
    assert "no closer" in capsys.readouterr().out


def test_a_photo_without_a_face(photos, tmp_path: Path) -> None:
    Image.new("RGB", (200, 200), (90, 90, 90)).save(tmp_path / "grey.png")
    with pytest.raises(NoFacesError, match=r"grey\.png: give another photo"):
        self_test("dlib-resnet", (photos[0], tmp_path / "grey.png"), photos[2])
