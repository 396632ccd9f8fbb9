"""The terms of a model's weights, said once, when a model is first used."""

from __future__ import annotations

import argparse
import hashlib
import sys
from contextlib import suppress
from pathlib import Path

from fastface.cli.output import printable

__all__ = ["show_licence_once"]


def show_licence_once(options: argparse.Namespace) -> None:
    """Print the licence of ``options.model`` on stderr, unless it has been before."""
    from fastface import models
    from fastface.models.cache import cache_directory

    name = str(options.model)
    if Path(name).is_file():
        name = str(Path(name).absolute())
    marker = cache_directory() / "licences" / hashlib.sha256(name.encode()).hexdigest()[:32]
    if marker.exists():
        return
    spec = models.load(options.model, options.spec).spec
    if not options.quiet:
        where = f", {spec.licence_url}" if spec.licence_url else ": check that you may use it"
        text = f"model {spec.name}: its licence is {spec.licence}{where}"
        print(printable(text), file=sys.stderr)
    with suppress(OSError):  # said once more next time
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(f"{name}\n", encoding="utf-8")
