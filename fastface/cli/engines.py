"""``fastface engines``: build, list, verify and clean engines for GPUs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastface.cli.calibrating import measure_crops
from fastface.cli.licence import show_licence_once
from fastface.cli.output import print_json, printable
from fastface.errors import MissingDependencyError, StorageError

if TYPE_CHECKING:
    from fastface.runtimes.engines import CachedEngine


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("engines", help="build, list, verify and clean engines for GPUs")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = actions.add_parser(
        "build",
        parents=[common],
        help="build an engine ahead of time",
        description="Build an engine; tensorrt-rtx does so for any of its GPUs without one.",
    )
    build.add_argument("model", metavar="MODEL", help="registered model or ONNX file")
    build.add_argument("--spec", help="for an ONNX file: its preset, such as arcface-112")
    build.add_argument("--runtime", default="tensorrt-rtx", help="or tensorrt (%(default)s)")
    build.add_argument(
        "--arch", default="native", help="such as sm_89; by default that of the GPU that is there"
    )
    build.add_argument("--precision", default="fp16", help="fp32, fp16, bf16, int8 (%(default)s)")
    build.add_argument("--max-batch", type=int, default=64, metavar="N", help="(%(default)s)")
    build.add_argument(
        "--calibrate", metavar="FOLDER", help="for int8 and a file of yours: aligned crops"
    )
    build.add_argument("--out", "-o", metavar="FILE", help="write it there too")
    build.add_argument("--force", action="store_true", help="replace an existing FILE")
    build.set_defaults(call=call_build)
    listing = actions.add_parser("list", parents=[common], help="engines in the cache")
    listing.set_defaults(call=call_list)
    verify = actions.add_parser(
        "verify", parents=[common], help="check every byte, and the runtime's version"
    )
    verify.add_argument("files", metavar="FILE", nargs="*", help="all in the cache by default")
    verify.set_defaults(call=call_verify)
    clean = actions.add_parser("clean", parents=[common], help="remove damaged and stale engines")
    clean.add_argument("--all", action="store_true", help="remove good ones too")
    clean.set_defaults(call=call_clean)


def call_build(options: argparse.Namespace) -> int:
    """Build one engine."""
    try:
        from fastface import models
        from fastface.models.cache import write_file
        from fastface.runtimes.engines import build_engine, list_engines
    except ModuleNotFoundError as error:
        raise MissingDependencyError.for_package(
            error.name or "a package", extra="faces", purpose="Building an engine"
        ) from error

    target = Path(options.out) if options.out else None
    if target is not None and target.exists() and not options.force:
        raise StorageError(f"{target} is there already: give another --out, or --force")
    model = models.load(options.model, options.spec)
    ranges = None
    if options.calibrate:
        ranges = measure_crops(model, Path(options.calibrate), precision=options.precision)
    path = build_engine(
        model,
        runtime=options.runtime,
        arch=options.arch,
        precision=options.precision,
        max_batch=options.max_batch,
        ranges=ranges,
    )
    show_licence_once(options)
    if target is not None:
        write_file(target, path.read_bytes())
    _print(list_engines([target or path]), options.json)
    return 0


def call_list(options: argparse.Namespace) -> int:
    """List the cache."""
    from fastface.runtimes.engines import list_engines

    _print(list_engines(), options.json)
    return 0


def call_verify(options: argparse.Namespace) -> int:
    """Check engines; 1 if one of them will not be used."""
    from fastface.runtimes.engines import list_engines

    engines = list_engines([Path(file) for file in options.files] or None)
    _print(engines, options.json)
    return 1 if any(engine.problem for engine in engines) else 0


def call_clean(options: argparse.Namespace) -> int:
    """Remove engines."""
    from fastface.runtimes.engines import clean_engines

    removed = [str(path) for path in clean_engines(everything=options.all)]
    if options.json:
        print_json({"removed": removed})
    else:
        for path in removed:
            print(f"removed {printable(path)}")
        print(f"{len(removed)} engines removed")
    return 0


def _print(engines: list[CachedEngine], as_json: bool) -> None:
    if as_json:
        print_json([_plain(engine) for engine in engines])
        return
    for engine in engines:
        print(printable(str(engine.path)))
        if engine.info is not None:
            info = engine.info
            print(
                f"  {printable(info.model)} {info.precision} for {info.arch}, 1 to"
                f" {info.max_batch} crops, {info.runtime} {info.runtime_version},"
                f" {engine.size / 2**20:.1f} MiB"
            )
        print(f"  {printable(engine.problem) or 'good'}")
    if not engines:
        print("no engines")


def _plain(engine: CachedEngine) -> dict[str, Any]:
    info = engine.info
    fields = {} if info is None else {
        name: getattr(info, name)
        for name in ("model", "model_sha256", "precision", "runtime", "runtime_version", "arch",
                     "max_batch")
    }  # fmt: skip
    return {"file": str(engine.path), "bytes": engine.size, "problem": engine.problem, **fields}
