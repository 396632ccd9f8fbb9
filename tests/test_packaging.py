"""What an installation carries beside its Python files."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

import fastface

PACKAGE = Path(fastface.__file__).parent
REPO = Path(__file__).resolve().parent.parent


def test_version_is_the_installed_one() -> None:
    assert importlib.metadata.version("fastface") == fastface.__version__


def test_types_are_announced() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_stub_names_what_the_extension_has() -> None:
    """A name in only one of the two would pass type checking and fail at run time, or hide."""
    import fastface._kernels as kernels

    stub = ast.parse((PACKAGE / "_kernels.pyi").read_text(encoding="utf-8"))
    declared = {
        node.name for node in stub.body if isinstance(node, ast.FunctionDef | ast.ClassDef)
    } | {
        node.target.id
        for node in stub.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    assert {name for name in declared if not name.startswith("_")} == {
        name for name in dir(kernels) if not name.startswith("_")
    }


def test_command_is_installed() -> None:
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="fastface")
    assert callable(entry.load())


def test_command_runs_as_a_module_too() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-m", "fastface", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert fastface.__version__ in done.stdout


def test_every_dependency_has_tried_bounds() -> None:
    """A lower bound, and an upper one above what is installed and tested here."""
    known = importlib.metadata.requires("fastface") or []
    requirements = [Requirement(text) for text in known]
    assert len(requirements) > 30
    for requirement in requirements:
        if requirement.name == "fastface":
            continue
        operators = {clause.operator for clause in requirement.specifier}
        assert operators >= {">=", "<"} or operators == {"=="}, str(requirement)
        try:
            installed = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of an extra that is not for tests
        assert requirement.specifier.contains(installed, prereleases=True), (
            f"{requirement}: {installed} is installed"
        )
