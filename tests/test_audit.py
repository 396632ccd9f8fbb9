"""``scripts/audit.py`` tells "nothing is known" from "nobody could be asked"."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "audit.py"


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_judgement(audit: ModuleType) -> None:
    unknown = {"name": "a", "skip_reason": "Dependency not found on PyPI"}
    fine = {"name": "b", "version": "1", "vulns": []}
    bad = {"name": "c", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
    assert audit.judge([], "no network") == (
        0, ["nothing audited: no vulnerability service answers (no network)"],
    )  # fmt: skip
    assert audit.judge([unknown], "")[0] == 0
    assert "not found on PyPI" in audit.judge([unknown], "")[1][0]
    assert audit.judge([unknown, fine], "") == (0, ["1 of 2 packages audited"])
    assert audit.judge([fine, bad], "") == (
        1, ["2 of 2 packages audited", "c 2: CVE-1, fixed in 3"],
    )  # fmt: skip


def test_without_the_command(audit: ModuleType) -> None:
    import sys

    dependencies, words = audit.ask("/nowhere/pip-audit", sys.executable)
    assert dependencies == []
    assert "nowhere" in words
