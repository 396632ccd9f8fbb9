"""``fastface export``: a model as one ONNX file that takes photos' pixels as they are."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fastface.cli.calibrating import measure_crops
from fastface.cli.output import print_json, printable
from fastface.errors import InvalidInputError, MissingDependencyError, StorageError


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "export",
        parents=[common],
        help="write a model as one ONNX file, in the precision of choice",
        description="Write a model as one ONNX file that takes uint8 RGB crops (n, height, width,"
        " 3), any n, with its preprocessing inside. The same command writes the same bytes.",
    )
    parser.add_argument("model", metavar="MODEL", help="registered model or ONNX file")
    parser.add_argument("--out", "-o", required=True, metavar="FILE", help="what to write: .onnx")
    parser.add_argument("--spec", help="for an ONNX file: its preset, such as arcface-112")
    parser.add_argument(
        "--precision", default="fp32", help="fp32, fp16, bf16 or int8 (%(default)s)"
    )
    parser.add_argument(
        "--calibrate", metavar="FOLDER", help="for int8: aligned crops, a subfolder a person"
    )
    parser.add_argument(
        "--symmetric", action="store_true", help="int8 around 0, which TensorRT asks for"
    )
    parser.add_argument(
        "--normalize", action="store_true", help="scale every vector to length 1, in the graph"
    )
    parser.add_argument("--force", action="store_true", help="replace an existing FILE")
    parser.set_defaults(call=call)


def call(options: argparse.Namespace) -> int:
    """Convert and write."""
    try:
        from fastface import models
    except ModuleNotFoundError as error:
        raise MissingDependencyError.for_package(
            error.name or "a package", extra="faces", purpose="Exporting a model"
        ) from error
    target = Path(options.out)
    if target.suffix != ".onnx":
        raise InvalidInputError(f"--out {target} must end in .onnx")
    if target.exists() and not options.force:
        raise StorageError(f"{target} is there already: give another --out, or --force")
    ranges = None
    if options.calibrate:
        model = models.load(options.model, options.spec)
        ranges = measure_crops(model, Path(options.calibrate), precision=options.precision)
    written = models.export(
        options.model,
        target,
        spec=options.spec,
        precision=options.precision,
        ranges=ranges,
        symmetric=options.symmetric,
        normalize=options.normalize,
    )
    spec = written.spec
    if options.json:
        print_json({"file": str(target), "model": spec.name, "precision": written.precision,
                    "sha256": written.sha256, "licence": spec.licence})  # fmt: skip
    else:
        print(f"{printable(str(target))}: {spec.name} in {written.precision}")
        print(f"SHA-256 {written.sha256}")
        print(f"licence of the weights: {spec.licence} {spec.licence_url}".rstrip())
    return 0
