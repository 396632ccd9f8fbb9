from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)  # fakes are imported by name, by worker processes too


@pytest.fixture(autouse=True)
def _fakes_in_subprocesses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", HERE)


@pytest.fixture(scope="session")
def fakes() -> ModuleType:
    import fakes

    return fakes
