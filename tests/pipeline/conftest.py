from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = str(Path(__file__).parent)


@pytest.fixture(autouse=True)
def _fakes_in_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spawned workers import the fakes by name, so their folder must be on the path."""
    monkeypatch.setenv("PYTHONPATH", HERE)
    if HERE not in sys.path:
        monkeypatch.syspath_prepend(HERE)
