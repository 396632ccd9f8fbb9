"""``fastface models``: what there is, and what another precision costs."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastface.cli.calibrating import CALIBRATION_CROPS
from fastface.cli.licence import show_licence_once
from fastface.cli.output import print_json, printable
from fastface.errors import MissingDependencyError

if TYPE_CHECKING:
    from fastface.pipeline.drift import Drift

_ALL = ("int8", "fp16", "bf16")


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("models", help="list models; check what a precision costs")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", parents=[common], help="models and presets by name")
    listing.set_defaults(call=call_list)
    check = actions.add_parser(
        "check",
        parents=[common],
        help="compare a precision or runtime with the reference on labelled crops",
        description="Embed labelled crops twice, by the reference (fp32, ONNX Runtime) and as"
        " asked, and say how vectors, verification and grouping differ.",
    )
    check.add_argument("model", metavar="MODEL", nargs="?", default="dlib-resnet")
    check.add_argument(
        "--faces",
        required=True,
        metavar="FOLDER",
        help="aligned crops: a subfolder a person, or manifest.csv with path and identity",
    )
    check.add_argument("--spec", help="for an ONNX file: its preset, such as arcface-112")
    check.add_argument(
        "--precision",
        default="all",
        help="fp32, int8, fp16 or bf16; all: the last three, one after the other (%(default)s)",
    )
    check.add_argument(
        "--runtime", default="auto", help="auto, onnxruntime, openvino, tensorrt or tensorrt-rtx"
    )
    check.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1 (%(default)s)")
    check.add_argument("--calibrate", metavar="FOLDER", help="for int8 and a file: other crops")
    check.add_argument("--limit", type=int, metavar="N", help="only so many crops")
    check.add_argument("--threads", type=int, metavar="N")
    check.set_defaults(call=call_check)
    test = actions.add_parser(
        "test",
        parents=[common],
        help="is the preset of a model of yours right? three photos say",
        description="Compare two photos of one person and one of somebody else. Exit code 1 if"
        " the distances are not as they should be.",
    )
    test.add_argument("model", metavar="MODEL", help="registered model or ONNX file")
    test.add_argument("--spec", help="for an ONNX file: its preset, such as arcface-112")
    test.add_argument("--same", nargs=2, required=True, metavar="PHOTO", help="of one person")
    test.add_argument("--other", required=True, metavar="PHOTO", help="of somebody else")
    test.add_argument("--detector", default="dlib-hog", metavar="NAME|FILE")
    test.set_defaults(call=call_test)


def call_list(options: argparse.Namespace) -> int:
    """Print every model and preset."""
    from fastface.models import list_specs

    rows = [
        {
            "name": spec.name,
            "kind": "model" if spec.weights else "preset for a file of yours",
            "input": f"{spec.input_size[1]}×{spec.input_size[0]}",
            "embedding_size": spec.embedding_size,
            "metric": spec.metric,
            "licence": spec.licence,
        }
        for spec in list_specs()
    ]
    if options.json:
        print_json(rows)
    else:
        for row in rows:
            print("  ".join(f"{value!s:<12}" for value in row.values()).rstrip())
    return 0


def call_check(options: argparse.Namespace) -> int:
    """Measure and print the drift."""
    try:
        from fastface import Embedder
        from fastface.pipeline.drift import measure_drift
        from fastface.pipeline.labelled import read_labelled_crops
    except ModuleNotFoundError as error:
        raise MissingDependencyError.for_package(
            error.name or "a package", extra="faces", purpose="Checking a model"
        ) from error
    reference = Embedder(options.model, spec=options.spec, n_threads=options.threads)
    size = reference.spec.input_size
    calibration = None
    if options.calibrate:
        calibration = read_labelled_crops(
            Path(options.calibrate), size, limit=CALIBRATION_CROPS
        ).crops
    several = options.precision == "all"
    precisions = _ALL if several else (options.precision,)
    # All are opened before the first is measured: what cannot be is said at once.
    changed = {
        precision: Embedder(
            options.model,
            spec=options.spec,
            n_threads=options.threads,
            precision=precision,
            runtime=options.runtime,
            device=options.device,
            calibration=calibration if precision == "int8" else None,
        )
        for precision in precisions
    }
    crops, people = read_labelled_crops(Path(options.faces), size, limit=options.limit)
    expected = reference.embed(crops)
    name = reference.spec.name
    found = []
    for precision, embedder in changed.items():
        drift = measure_drift(expected, embedder.embed(crops), people, reference.spec)
        found.append({"model": name, "precision": precision, "runtime": embedder.runtime_,
                      **_plain(drift)})  # fmt: skip
        if not options.json:
            what = f"{name}, {precision} on {embedder.runtime_}"
            print(f"{printable(what)}, beside fp32 on {reference.runtime_}:")
            print(_describe(drift))
    show_licence_once(options)
    if options.json:
        print_json(found if several else found[0])
    return 0


def call_test(options: argparse.Namespace) -> int:
    """Try a model on three photos; 1 if something looks wrong."""
    try:
        from fastface.pipeline.self_test import self_test
    except ModuleNotFoundError as error:
        raise MissingDependencyError.for_package(
            error.name or "a package", extra="faces", purpose="Testing a model"
        ) from error
    first, second = options.same
    found = self_test(
        options.model,
        (first, second),
        options.other,
        spec=options.spec,
        detector=options.detector,
    )
    show_licence_once(options)
    if options.json:
        print_json(dataclasses.asdict(found))
    else:
        print(
            f"{printable(found.spec)}: one person {found.same:.3f}, two people {found.other:.3f},"
            f" threshold {found.threshold:g}"
        )
        for warning in found.warnings:
            print(f"warning: {printable(warning)}")
    return 1 if found.warnings else 0


def _plain(drift: Drift) -> dict[str, Any]:
    fields = {name: getattr(drift, name) for name in type(drift).__dataclass_fields__}
    for name in ("accept_rates", "reference_accept_rates"):
        fields[name] = {f"{rate:g}": value for rate, value in fields[name].items()}
    return fields


def _describe(drift: Drift) -> str:
    lines = [
        f"  {drift.n_faces} faces of {drift.n_people} people",
        f"  cosine to the reference   mean {drift.mean:.6f}, 1st percentile"
        f" {drift.percentile_1:.6f}, worst {drift.worst:.6f}",
    ]
    for rate, value in drift.accept_rates.items():
        before = drift.reference_accept_rates[rate]
        lines.append(
            f"  accepted at FAR {rate:<8g}  {value:.4f}, reference {before:.4f}"
            f" ({value - before:+.4f})"
        )
    change = drift.f - drift.reference_f
    lines.append(
        f"  grouping, BCubed F        {drift.f:.4f}, reference {drift.reference_f:.4f}"
        f" ({change:+.4f})"
    )
    return "\n".join(lines)
