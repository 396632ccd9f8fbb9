"""Options of the commands that work on photos, and their call of the job."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fastface.cli.licence import show_licence_once
from fastface.cli.output import choose_progress

if TYPE_CHECKING:
    from fastface.pipeline import RunResult

__all__ = ["add_job_options", "call_job"]

# fastface.faces.DEFAULT_MAX_SIDE, which is not imported to print a help text.
_MAX_SIDE = 1600


def add_job_options(parser: argparse.ArgumentParser) -> None:
    """Add what `run` and `embed` have in common."""
    parser.set_defaults(resumes=True)
    parser.add_argument("photos", metavar="PHOTOS", help="folder of photos, or one photo")
    parser.add_argument(
        "--crops", action="store_true", help="PHOTOS are aligned crops already, one face each"
    )
    parser.add_argument("--out", "-o", required=True, metavar="FOLDER", help="the run folder")
    parser.add_argument(
        "--model", default="dlib-resnet", help="registered model or ONNX file (%(default)s)"
    )
    parser.add_argument("--spec", help="for an ONNX file: its preset, such as arcface-112")
    parser.add_argument(
        "--detector",
        default="dlib-hog",
        metavar="NAME|FILE",
        help="dlib-hog, dlib-cnn, or the ONNX file of a YuNet, SCRFD or RetinaFace (%(default)s)",
    )
    parser.add_argument(
        "--upsample", type=int, default=0, metavar="N", help="double photos N times: smaller faces"
    )
    parser.add_argument(
        "--max-side",
        type=int,
        default=_MAX_SIDE,
        metavar="PIXELS",
        help="search larger photos in a shrunk copy (%(default)s)",
    )
    parser.add_argument(
        "--runtime",
        default="auto",
        help="auto, onnxruntime, openvino, tensorrt or tensorrt-rtx (on the GPU)",
    )
    parser.add_argument(
        "--precision",
        default="fp32",
        help="fp32; int8: twice as fast; fp16 or bf16: on the GPU (%(default)s)",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes that find faces")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of model and kernels")
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="find and embed on the workers of a Dask cluster, such as tcp://host:8786",
    )
    parser.add_argument(
        "--force", action="store_true", help="replace a run made with other parameters or photos"
    )
    parser.add_argument(
        "--encrypt",
        action="store_true",
        help="encrypt a new run folder by FASTFACE_KEY_FILE or FASTFACE_PASSPHRASE",
    )
    parser.add_argument(
        "--include-forgotten",
        action="store_true",
        help="with --force: take in again what `fastface forget` removed",
    )


def call_job(
    options: argparse.Namespace,
    *,
    method: str = "auto",
    group: bool = True,
    report: bool | None = None,
) -> RunResult:
    """Run the main job as the options say."""
    from fastface.errors import MissingDependencyError

    try:
        from fastface.pipeline import run
    except ModuleNotFoundError as error:
        raise MissingDependencyError.for_package(
            error.name or "a package", extra="faces,report", purpose="Working on photos"
        ) from error
    result = run(
        options.photos,
        options.out,
        model=options.model,
        spec=options.spec,
        detector=options.detector,
        upsample=options.upsample,
        max_side=options.max_side,
        runtime=options.runtime,
        precision=options.precision,
        method=method,
        group=group,
        report=report,
        force=options.force,
        include_forgotten=options.include_forgotten,
        encrypt=options.encrypt,
        workers=options.workers,
        crops=options.crops,
        n_threads=options.threads,
        scheduler=options.scheduler,
        progress=choose_progress(options),
    )
    show_licence_once(options)
    return result
