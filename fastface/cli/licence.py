"""The terms of a model's weights, said once, when a model is first used."""

from __future__ import annotations

import argparse
import hashlib
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fastface.cli.output import printable

if TYPE_CHECKING:
    from fastface.models import ModelSpec

__all__ = ["show_licence_once"]


def show_licence_once(options: argparse.Namespace) -> None:
    """Print the licence of ``options.model`` on stderr, unless it has been before."""
    from fastface.models.cache import cache_directory

    name = str(options.model)
    if Path(name).is_file():
        name = str(Path(name).absolute())
    marker = cache_directory() / "licences" / hashlib.sha256(name.encode()).hexdigest()[:32]
    if marker.exists():
        return
    spec = _spec(options)
    if not options.quiet:
        where = f", {spec.licence_url}" if spec.licence_url else ": check that you may use it"
        text = f"model {spec.name}: its licence is {spec.licence}{where}"
        print(printable(text), file=sys.stderr)
    with suppress(OSError):  # said once more next time
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(f"{name}\n", encoding="utf-8")


def _spec(options: argparse.Namespace) -> ModelSpec:
    from fastface import models
    from fastface.runtimes.engine_file import is_engine, read_engine

    path = Path(options.model)
    if is_engine(path):
        return models.ModelSpec.from_json(read_engine(path)[0].spec)
    return models.load(options.model, options.spec).spec
